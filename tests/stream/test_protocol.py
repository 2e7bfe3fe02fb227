"""Bytes on the wire: golden messages, round trips, and what is refused."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinar_live.runtime.core.errors import InputError, ProtocolError
from dinar_live.runtime.stream.protocol.messages import (
    DEFLATE_PLANE,
    JPEG,
    MAX_JSON,
    NO_PLANE,
    RAW,
    RAW_PLANE,
    Bye,
    CameraView,
    Caps,
    Describe,
    EncodedView,
    ErrorMessage,
    Format,
    FrameMessage,
    Hello,
    OpenXRView,
    Plane,
    PoseValues,
    Rect,
    Rendered,
    RenderRequest,
    SourceChoice,
    Superseded,
    Time,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.stream.protocol.wire import (
    BLOCK,
    HEADER_SIZE,
    BlockType,
    ErrorCode,
    MessageType,
    WireError,
    pack,
)

SIMPLE = {
    "hello": Hello,
    "caps": Caps,
    "superseded": Superseded,
    "error": ErrorMessage,
    "bye": Bye,
    "time": Time,
    "describe": Describe,
}


def camera_of(v):
    if "fov" in v:
        return OpenXRView(
            np.float32(v["position"]),
            np.float32(v["orientation"]),
            np.float32(v["fov"]),
            v["width"],
            v["height"],
        )
    return CameraView(
        np.float32(v["K"]).reshape(3, 3),
        np.float32(v["world_to_camera"]).reshape(4, 4),
        v["width"],
        v["height"],
    )


def colour_of(v):
    return None if v is None else tuple(v)


def plane_of(v):
    return None if v is None else Plane(v["encoding"], bytes.fromhex(v["hex"]))


def message_of(kind: str, v: dict):
    """A message from the values in values.json."""
    v = dict(v)
    if kind == "render":
        p, f, source = v.pop("pose"), v.pop("format"), v.pop("source", None)
        f["background"] = colour_of(f.get("background"))
        pose = (
            None
            if p is None
            else PoseValues(
                np.float32(p["body"]).reshape(55, 3), np.float32(p["transl"]), np.float32(p["expression"])
            )
        )
        return RenderRequest(
            cameras=tuple(map(camera_of, v.pop("cameras"))),
            pose=pose,
            format=Format(**f),
            source=None if source is None else SourceChoice(**source),
            **v,
        )
    if kind == "frame":
        views = tuple(
            EncodedView(
                camera_of(w["camera"]),
                Rect(*w["rect"]),
                *(plane_of(w[p]) for p in ("color", "alpha", "depth")),
            )
            for w in v.pop("views")
        )
        rendered = v.pop("rendered", None)
        return FrameMessage(
            views=views,
            background=colour_of(v.pop("background", None)),
            rendered=None if rendered is None else Rendered(**rendered),
            **v,
        )
    return SIMPLE[kind](**v)


def same(a, b) -> bool:
    """Deep equality of messages, whatever holds their bytes and arrays; exact."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, (bytes, bytearray, memoryview)):
        return bytes(a) == bytes(b)
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    return type(a) is type(b) and a == b


def golden(data):
    folder = data / "golden_messages"
    for name, entry in json.loads((folder / "values.json").read_text()).items():
        yield name, (folder / f"{name}.bin").read_bytes(), message_of(entry["kind"], entry["values"])


def test_golden_messages_decode_to_their_values_and_encode_to_their_bytes(data):
    seen = set()
    for name, raw, message in golden(data):
        assert same(decode(raw), message), name
        assert bytes(encode(message)) == raw, name
        seen.add(type(message))
    assert seen == {RenderRequest, FrameMessage, *SIMPLE.values()}


def request(id=7, pose=True, cameras=1, expression=10, **more):
    rng = np.random.default_rng(5)
    matrices = [
        (rng.normal(size=(3, 3)).astype("f4"), rng.normal(size=(4, 4)).astype("f4")) for _ in range(cameras)
    ]
    views = tuple(CameraView(*m, 512, 256 + i) for i, m in enumerate(matrices))
    values = (
        PoseValues(*(rng.uniform(-1, 1, s).astype("f4") for s in ((55, 3), 3, expression))) if pose else None
    )
    return RenderRequest(id, views, values, **more)


U64 = st.integers(0, 2**64 - 1)


@settings(max_examples=150, deadline=None)
@given(
    id=st.integers(1, 2**64 - 1),
    time=U64,
    cameras=st.integers(1, 2),
    pose=st.booleans(),
    expression=st.integers(0, 100),
    color=st.sampled_from([JPEG, RAW]),
    quality=st.integers(1, 100),
    alpha=st.integers(0, 2),
    depth=st.integers(0, 2),
    straight=st.booleans(),
)
def test_render_round_trip(id, time, cameras, pose, expression, color, quality, alpha, depth, straight):
    message = request(
        id,
        pose,
        cameras,
        expression,
        pose_time_ns=time,
        format=Format(color, quality, alpha if color == JPEG else NO_PLANE, depth, straight),
    )
    assert same(decode(bytes(encode(message))), message)


@settings(max_examples=50, deadline=None)
@given(index=st.integers(0, 65535), time=st.floats(-1e7, 1e7), follow=st.booleans())
def test_source_round_trip(index, time, follow):
    message = request(pose=False, source=SourceChoice(index, time, follow))
    assert same(decode(bytes(encode(message))), message)


@pytest.mark.parametrize(
    "wrong",
    [
        request(source=SourceChoice()),
        request(pose=False, source=SourceChoice(65536)),
        request(pose=False, source=SourceChoice(1, 2e7)),
        request(pose=False, source=SourceChoice(1, np.nan)),
    ],
)
def test_sources_that_no_server_accepts_are_not_sent(wrong):
    with pytest.raises(InputError, match="source"):
        encode(wrong)


@settings(max_examples=100, deadline=None)
@given(
    id=U64,
    times=st.tuples(U64, U64, U64),
    views=st.integers(1, 2),
    rect=st.sampled_from([Rect(0, 0, 5, 3), Rect(2, 1, 3, 2)]),
    names=st.lists(st.text("abcxyz_0129", min_size=1, max_size=12), unique=True, max_size=32),
    ms=st.floats(0, 1e6, width=32),
)
def test_frame_round_trip(id, times, views, rect, names, ms):
    camera, n = CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), 5, 3), rect.width * rect.height
    view = EncodedView(
        camera,
        rect,
        Plane(RAW, bytes(range(4 * n))),
        Plane(DEFLATE_PLANE, b"anything"),
        Plane(RAW_PLANE, bytes(4 * n)),
    )
    message = FrameMessage(id, (view,) * views, dict.fromkeys(names, ms), *times, straight=True, session=9)
    assert same(decode(bytes(encode(message))), message)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=700), code=st.integers(0, 2**32 - 1))
def test_error_text_is_cut_to_whole_characters(text, code):
    back = decode(encode(ErrorMessage(3, code, text)))
    assert back.code == code and len(back.text.encode()) <= 500
    if text.isascii():
        assert back.text == text[:500]


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=20),
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.none(),
    )
)
def test_json_round_trip(info):
    assert decode(encode(Caps(info, 3))).info == info


def openxr_view(width=64, height=48):
    return OpenXRView(
        *(np.float32(v) for v in ((0.5, 1.5, 2), (0, 0.28125, 0, 0.9599609375), (-0.9, 0.7, 0.8, -0.75))),
        width,
        height,
    )


NAMES = st.text(st.characters(categories=("L", "N")), max_size=16)


@settings(max_examples=150, deadline=None)
@given(
    avatar=NAMES,
    alpha=st.integers(0, 4),
    depth=st.integers(0, 4),
    background=st.none() | st.tuples(*[st.integers(0, 255)] * 3),
    margin=st.integers(0, 65535),
    depth_range=st.sampled_from([(0.0, 0.0), (0.125, 64.0)]),
)
def test_what_a_request_may_ask_for_comes_through(avatar, alpha, depth, background, margin, depth_range):
    format = Format(
        JPEG, 70, NO_PLANE if background else alpha, depth, False, background, margin, *depth_range
    )
    message = RenderRequest(3, (openxr_view(), openxr_view(32, 31)), None, format, avatar=avatar)
    assert same(decode(bytes(encode(message))), message)


def test_requests_of_old_have_the_bytes_of_old():
    """A FORMAT that needs nothing new is written as it was before there was more."""
    for f in (Format(), Format(RAW, alpha=NO_PLANE, straight=True), Format(alpha=4, depth=3)):
        assert len(encode(request(format=f))) == len(encode(request()))
    assert len(encode(request(format=Format(margin=1)))) == len(encode(request())) + 16


@pytest.mark.parametrize(
    ("block", "words", "code"),
    [
        ((BlockType.CAMERA, 2, bytes(104)), "104 bytes, expected 48", 1),
        ((BlockType.CAMERA, 3, bytes(48)), "encoding 3", ErrorCode.ENCODING),
        (
            (BlockType.CAMERA, 2, struct.pack("<11fHH", *[0.0] * 10, np.inf, 5, 5)),
            "CAMERA: a value is NaN",
            1,
        ),
        ((BlockType.AVATAR, 1, b"x" * 65), "65 bytes", 1),
        ((BlockType.AVATAR, 1, b"\xff"), "not UTF-8", 1),
        ((BlockType.AVATAR, 1, b"a\x1b[2J"), "cannot be printed", 1),
        ((BlockType.AVATAR, 2, b"a"), "encoding 2", ErrorCode.ENCODING),
        ((BlockType.SOURCE, 2, bytes(16)), "encoding 2", ErrorCode.ENCODING),
        ((BlockType.FORMAT, 3, bytes(8)), "encoding 3", ErrorCode.ENCODING),
        ((BlockType.FORMAT, 2, bytes(8)), "expected 24", 1),
        (
            (BlockType.FORMAT, 2, struct.pack("<4BI4B2H2f", 1, 85, 2, 0, 2, *[0] * 6, 0, 0)),
            "opaque",
            ErrorCode.ENCODING,
        ),
        (
            (BlockType.FORMAT, 2, struct.pack("<4BI4B2H2f", 1, 85, 0, 0, 3, *[0] * 6, 0, 0)),
            "opaque",
            ErrorCode.ENCODING,
        ),
        (
            (BlockType.FORMAT, 2, struct.pack("<4BI4B2H2f", 1, 85, 2, 3, 0, *[0] * 6, 2, 1)),
            "near 2 and far 1",
            1,
        ),
        (
            (BlockType.FORMAT, 2, struct.pack("<4BI4B2H2f", 1, 85, 2, 3, 0, *[0] * 6, np.nan, 1)),
            "near nan",
            1,
        ),
        ((BlockType.FORMAT, 2, struct.pack("<4BI4B2H2f", 1, 85, 2, 3, 0, *[0] * 6, 1e-40, 1)), "near", 1),
    ],
)
def test_new_blocks_that_are_refused(block, words, code):
    with pytest.raises(WireError, match=words) as e:
        decode(bytes(pack(MessageType.RENDER, [camera_block(), block], id=1)))
    assert e.value.code == code


def test_names_that_cannot_be_sent():
    for name in ("x" * 65, "ü" * 33, "a\n", "\ud800"):
        with pytest.raises(InputError, match="avatar: got"):
            encode(Describe(1, name))


def test_arrays_are_views_of_the_message_and_read_only():
    raw = bytes(encode(request()))
    message = decode(raw)
    for array in (message.cameras[0].K, message.cameras[0].world_to_camera, *message.pose):
        assert not array.flags.writeable and np.shares_memory(array, np.frombuffer(raw, np.uint8))


def test_unknown_blocks_are_skipped():
    raw = encode(request())
    extra = BLOCK.pack(999, 5, 3) + b"abc\0\0\0\0\0"
    raw = raw + extra
    struct.pack_into("<H", raw, 14, struct.unpack_from("<H", raw, 14)[0] + 1)
    struct.pack_into("<I", raw, 48, len(raw) - HEADER_SIZE)
    assert same(decode(bytes(raw)), request())


def test_a_longer_header_is_skipped():
    raw = encode(request())
    raw[HEADER_SIZE:HEADER_SIZE] = b"futurist"
    struct.pack_into("<H", raw, 12, HEADER_SIZE + 8)
    assert same(decode(bytes(raw)), request())


def patched(offset: int, format: str, *values, message=None) -> bytes:
    raw = encode(message or request())
    struct.pack_into("<" + format, raw, offset, *values)
    return bytes(raw)


CAMERA, POSE = HEADER_SIZE + 8, HEADER_SIZE + 8 + 104 + 8
FORMAT = len(encode(request())) - 8


@pytest.mark.parametrize(
    ("raw", "words", "code"),
    [
        (b"", "0 bytes", 1),
        (bytes(63), "63 bytes", 1),
        (patched(0, "I", 0xDEAD), "magic", 1),
        (patched(4, "H", 2), "version 2, expected 1", ErrorCode.VERSION),
        (patched(6, "H", 77), "type 77", ErrorCode.UNEXPECTED),
        (patched(12, "H", 56), "header says", 1),
        (patched(12, "H", 68), "header says", 1),
        (patched(48, "I", 0xFFFFFFFF), "header says", 1),
        (patched(14, "H", 1), "after the last block", 1),
        (patched(14, "H", 6), "message ends", 1),
        (patched(14, "H", 999), "999 blocks", 1),
        (patched(16, "Q", 0), "id 0", ErrorCode.BAD_ID),
        (patched(HEADER_SIZE + 4, "I", 0xFFFFFFF9), "are left", 1),
        (patched(HEADER_SIZE + 2, "H", 9), "CAMERA: encoding 9", ErrorCode.ENCODING),
        (patched(CAMERA, "f", np.nan), "CAMERA: a value is NaN", 1),
        (patched(CAMERA + 60, "f", np.inf), "CAMERA", 1),
        (patched(CAMERA, "f", 1e7), "beyond 1e", 1),
        (patched(CAMERA + 100, "H", 0), "size 0x256", 1),
        (patched(POSE, "f", np.nan), "POSE", 1),
        (patched(POSE + 656, "f", -12.6), "POSE", 1),
        (patched(POSE + 4, "f", -np.inf), "POSE", 1),
        (patched(POSE + 660, "B", 1), "padding", 1),
        (patched(FORMAT, "B", 3), "colour encoding 3", ErrorCode.ENCODING),
        (patched(FORMAT + 1, "B", 0), "quality 0", ErrorCode.ENCODING),
        (patched(FORMAT + 2, "B", 5), "alpha 5", ErrorCode.ENCODING),
        (patched(FORMAT + 3, "B", 9), "depth 9", ErrorCode.ENCODING),
        (patched(FORMAT, "BBB", RAW, 0, 2), "raw RGBA", ErrorCode.ENCODING),
        (pack(MessageType.RENDER, [], id=1), "no CAMERA", 1),
        (pack(MessageType.HELLO, []), "no JSON", 1),
        (pack(MessageType.HELLO, [(BlockType.JSON, 1, b"[1]")]), "got a list", 1),
        (pack(MessageType.HELLO, [(BlockType.JSON, 1, b'{"a":NaN}')]), "JSON", 1),
        (pack(MessageType.HELLO, [(BlockType.JSON, 1, b'{"a":1e999}')]), "JSON", 1),
        (pack(MessageType.HELLO, [(BlockType.JSON, 1, b"\xff\xfe{}")]), "JSON", 1),
        (pack(MessageType.HELLO, [(BlockType.JSON, 1, b"[" * MAX_JSON)]), "JSON", 1),
        (pack(MessageType.HELLO, [(BlockType.JSON, 1, b"9" * MAX_JSON)]), "JSON", 1),
        (
            pack(MessageType.HELLO, [(BlockType.JSON, 1, b'"' + b" " * MAX_JSON + b'"')]),
            "at most 16384",
            ErrorCode.LIMIT,
        ),
        (pack(MessageType.ERROR, []), "no ERROR", 1),
        (pack(MessageType.ERROR, [(BlockType.ERROR, 1, b"abc")]), "3 bytes", 1),
        (pack(MessageType.FRAME, []), "without CAMERA", 1),
        (pack(MessageType.FRAME, [(BlockType.COLOR, 1, b"x")]), "COLOR without", 1),
        (
            pack(
                MessageType.FRAME, [(BlockType.TIMING, 1, b"total\0\0\0\0\0\0\0" + struct.pack("<f", np.nan))]
            ),
            "TIMING",
            1,
        ),
    ],
)
def test_what_is_refused(raw, words, code):
    with pytest.raises(WireError) as e:
        decode(bytes(raw))
    assert words in str(e.value) and e.value.code == code


def camera_block():
    return BlockType.CAMERA, 1, bytes(encode(request()))[CAMERA : CAMERA + 104]


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([camera_block()] * 3, "more than 2 cameras"),
        ([(BlockType.CAMERA, 1, bytes(96))], "96 bytes, expected 104"),
        ([camera_block(), (BlockType.TRANSL, 1, bytes(12))], "without POSE"),
        ([camera_block(), (BlockType.POSE, 1, bytes(660)), (BlockType.POSE, 1, bytes(660))], "two POSE"),
        (
            [camera_block(), (BlockType.POSE, 1, bytes(660)), (BlockType.EXPRESSION, 1, bytes(404))],
            "up to 400",
        ),
        (
            [camera_block(), (BlockType.POSE, 1, bytes(660)), (BlockType.EXPRESSION, 1, bytes(5))],
            "multiple of 4",
        ),
        (
            [camera_block(), (BlockType.POSE, 1, bytes(660)), (BlockType.SOURCE, 1, bytes(16))],
            "exclude each other",
        ),
        ([camera_block(), (BlockType.SOURCE, 1, bytes(12))], "12 bytes, expected 16"),
        ([camera_block(), (BlockType.SOURCE, 1, struct.pack("<HHId", 1, 0, 0, np.nan))], "SOURCE: time nan"),
        ([camera_block(), (BlockType.SOURCE, 1, struct.pack("<HHId", 1, 0, 0, 1.1e7))], "SOURCE: time"),
        (
            [
                camera_block(),
                (BlockType.POSE, 1, bytes(660)),
                (BlockType.TRANSL, 1, struct.pack("<3f", 0, 2e4, 0)),
            ],
            "TRANSL",
        ),
    ],
)
def test_render_blocks_that_are_refused(blocks, words):
    with pytest.raises(ProtocolError, match=words):
        decode(bytes(pack(MessageType.RENDER, blocks, id=1)))


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (
            [(BlockType.RECT, 1, struct.pack("<4H", 500, 0, 13, 1)), (BlockType.COLOR, 2, bytes(52))],
            "reaches out",
        ),
        ([(BlockType.RECT, 1, struct.pack("<4H", 0, 0, 0, 1)), (BlockType.COLOR, 2, b"")], "empty"),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.RECT, 1, struct.pack("<4H", 0, 0, 1, 1))], "after a plane"),
        ([(BlockType.COLOR, 2, bytes(16))], "16 bytes, expected 524288"),
        ([(BlockType.COLOR, 3, bytes(16))], "encoding 3"),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.COLOR, 1, b"j")], "twice"),
        ([(BlockType.ALPHA, 2, b"z")], "without CAMERA or COLOR"),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.ALPHA, 3, bytes(10))], "10 bytes, expected 32768"),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.ALPHA, 5, b"")], "encoding 5"),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.DEPTH, 3, bytes(8))], "8 bytes, expected 262152"),
        (
            [(BlockType.COLOR, 1, b"j"), (BlockType.ALPHA, 2, b"z"), (BlockType.BACKGROUND, 1, bytes(4))],
            "one of them",
        ),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.BACKGROUND, 1, bytes(3))], "3 bytes, expected 4"),
        ([(BlockType.COLOR, 1, b"j"), (BlockType.SOURCE_TIME, 1, bytes(4))], "4 bytes, expected 8"),
    ],
)
def test_frame_blocks_that_are_refused(blocks, words):
    with pytest.raises(ProtocolError, match=words):
        decode(bytes(pack(MessageType.FRAME, [camera_block(), *blocks], id=1)))


def test_every_truncation_is_refused(data):
    for name, raw, _ in golden(data):
        for n in range(len(raw)):
            with pytest.raises(ProtocolError):
                decode(raw[:n])
        with pytest.raises(ProtocolError):
            decode(raw + b"\0")
        assert name


def test_decoding_a_request_allocates_no_more_than_twice_its_size(data):
    raw = bytes(encode(request(cameras=2, expression=100)))
    for bad in (
        raw,
        patched(HEADER_SIZE + 4, "I", 0x7FFFFFFF),
        patched(48, "I", 0x7FFFFFF0),
        patched(CAMERA + 100, "HH", 65535, 65535),
    ):

        def attempt(bad=bad):
            try:
                decode(bad)
            except ProtocolError:
                pass

        attempt()
        tracemalloc.start()
        try:
            attempt()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Bookkeeping of Python objects (blocks, views, an exception) is a few kB whatever the message says.
        assert peak < 2 * len(bad) + 8192


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: request(expression=101), "101 coefficients"),
        (lambda: RenderRequest(1, (CameraView(np.eye(4), np.eye(4), 8, 8),)), "camera.K: got shape [4, 4]"),
        (lambda: RenderRequest(1, (CameraView(np.eye(3), np.eye(4), 70000, 8),)), "70000x8"),
        (lambda: RenderRequest(1, (CameraView("no", np.eye(4), 8, 8),)), "camera.K: not an array"),
        (lambda: Caps({"big": "x" * MAX_JSON}), "at most 16384"),
        (lambda: Caps({"nan": float("nan")}), "JSON"),
        (lambda: Caps({"array": np.zeros(3)}), "JSON"),
    ],
)
def test_what_cannot_be_sent(make, words):
    with pytest.raises(InputError) as e:
        encode(make())
    assert words in str(e.value)
