"""Pixels through the encodings."""

import json
import zlib

import cv2
import numpy as np
import pytest

from dinar_live.runtime.core.errors import ProtocolError
from dinar_live.runtime.stream.protocol.image_codec import (
    FrameEncoder,
    decode_view,
    inverse_depth,
    jpeg_size,
    metres,
)
from dinar_live.runtime.stream.protocol.messages import (
    DEFLATE_PLANE,
    HALF_DEFLATE,
    HALF_RAW,
    INVERSE_DEFLATE,
    INVERSE_RAW,
    JPEG,
    NO_PLANE,
    RAW,
    RAW_PLANE,
    CameraView,
    EncodedView,
    Format,
    FrameMessage,
    Plane,
    Rect,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode


def camera_of(rgba):
    return CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), rgba.shape[1], rgba.shape[0])


def through(rgba, format, depth=None, encoder=None):
    """Encoded, sent as bytes, decoded."""
    view = (encoder or FrameEncoder()).encode(camera_of(rgba), rgba, depth, format)
    message = decode(
        bytes(encode(FrameMessage(1, (view,), {}, straight=format.straight, background=format.background)))
    )
    return decode_view(message.views[0], message.straight, message.background)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 48), (512, 512)])
@pytest.mark.parametrize(
    "format",
    [
        Format(RAW, alpha=NO_PLANE),
        Format(RAW, alpha=NO_PLANE, depth=RAW_PLANE),
        Format(),
        Format(alpha=RAW_PLANE),
        Format(depth=DEFLATE_PLANE),
        Format(depth=RAW_PLANE),
    ],
)
def test_pictures_come_through(make_picture, size, format):
    rgba = make_picture(*size)
    depth = np.where(rgba[..., 3] > 0, np.float32(2.5), np.float32(0))
    back = through(rgba, format, depth)
    assert back.rgba.shape == rgba.shape and back.rgba.dtype == np.uint8
    assert np.array_equal(back.rgba[..., 3], rgba[..., 3])
    if format.color == RAW:
        assert np.array_equal(back.rgba, rgba)
    elif size[0] > 16:
        assert psnr(back.rgba[..., :3], rgba[..., :3]) > 30
    if format.depth == NO_PLANE:
        assert back.depth is None
    else:
        assert np.array_equal(back.depth, depth)


def test_premultiplied_colour_never_exceeds_alpha(make_picture):
    back = through(make_picture(64, 64), Format(quality=20)).rgba
    assert (back[..., :3] <= back[..., 3:]).all()


def test_straight_colour_is_not_clamped():
    rgba = np.full((32, 32, 4), 200, np.uint8)
    rgba[..., 3] = 10
    assert np.abs(through(rgba, Format(straight=True)).rgba[..., :3].astype(int) - 200).max() <= 3


def test_without_alpha_plane_the_picture_is_opaque(make_picture):
    assert (through(make_picture(64, 64), Format(alpha=NO_PLANE)).rgba[..., 3] == 255).all()


@pytest.mark.parametrize("format", [Format(), Format(RAW, alpha=NO_PLANE)])
@pytest.mark.parametrize(
    "box", [(0, 0, 0, 0), (0, 0, 1, 1), (99, 69, 1, 1), (30, 20, 5, 17), (0, 0, 100, 70)]
)
def test_only_the_part_that_is_not_empty_is_sent(box, format):
    x, y, w, h = box
    rgba = np.zeros((70, 100, 4), np.uint8)
    rgba[y : y + h, x : x + w] = 255
    rect = FrameEncoder().encode(camera_of(rgba), rgba, None, format).rect
    assert rect.x <= x and rect.y <= y and rect.x + rect.width >= x + w and rect.y + rect.height >= y + h
    assert rect.width <= w + 31 and rect.height <= h + 31
    back = through(rgba, format).rgba
    assert np.array_equal(back[..., 3], rgba[..., 3]) and np.abs(back.astype(int) - rgba).max() <= 40


def test_one_encoder_for_changing_sizes(make_picture):
    encoder = FrameEncoder()
    for size in ((64, 48), (16, 16), (200, 100), (64, 48)):
        rgba = make_picture(*size)
        assert np.array_equal(through(rgba, Format(RAW, alpha=NO_PLANE), encoder=encoder).rgba, rgba)
        assert np.array_equal(through(rgba, Format(), encoder=encoder).rgba[..., 3], rgba[..., 3])


def test_a_capture_at_the_default_quality(shared):
    bgra = cv2.imread(str(shared / "people/ada/images/000003.png"), cv2.IMREAD_UNCHANGED)
    rgba = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
    rgba[..., :3] = np.round(rgba[..., :3].astype(np.float32) * rgba[..., 3:] / 255)
    view = FrameEncoder().encode(camera_of(rgba), rgba, None, Format())
    back = decode_view(view).rgba
    assert np.array_equal(back[..., 3], rgba[..., 3])
    assert psnr(back[..., :3], rgba[..., :3]) > 34
    assert len(view.color.data) + len(view.alpha.data) < 60_000


def test_the_golden_frame_shows_the_stand_in_picture(data, make_picture):
    message = decode((data / "golden_messages" / "frame_jpeg.bin").read_bytes())
    values = json.loads((data / "golden_messages" / "values.json").read_text())["frame_jpeg"]["values"]
    back, picture = decode_view(message.views[0]), make_picture(36, 40)
    assert np.array_equal(back.rgba[..., 3], picture[..., 3]) and psnr(back.rgba, picture) > 30
    assert back.rgba.shape == (
        values["views"][0]["camera"]["height"],
        values["views"][0]["camera"]["width"],
        4,
    )
    assert set(np.unique(back.depth)) == {0, 2.5}


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 48), (36, 41)])
@pytest.mark.parametrize("code", [HALF_RAW, HALF_DEFLATE])
def test_half_alpha_is_close_and_colour_stays_within_it(make_picture, size, code):
    rgba = make_picture(*size)
    back = through(rgba, Format(alpha=code, quality=95)).rgba
    assert back.shape == rgba.shape and (back[..., :3] <= back[..., 3:]).all()
    difference = np.abs(back[..., 3].astype(int) - rgba[..., 3])
    assert difference.mean() < 18 and (size == (1, 1) or (difference == 0).mean() > 0.4)
    assert (
        len(FrameEncoder().encode(camera_of(rgba), rgba, None, Format(alpha=HALF_RAW)).alpha.data) * 2
        <= rgba.shape[0] + 1
    )


def test_half_alpha_of_a_flat_picture_is_exact():
    rgba = np.full((31, 17, 4), 77, np.uint8)
    assert (through(rgba, Format(alpha=HALF_DEFLATE)).rgba[..., 3] == 77).all()


@pytest.mark.parametrize("code", [INVERSE_RAW, INVERSE_DEFLATE])
@pytest.mark.parametrize("limits", [(0.0, 0.0), (0.25, 64.0)])
def test_inverse_depth_round_trip(make_picture, code, limits):
    rgba = make_picture(70, 90)
    z = np.random.default_rng(4).uniform(1.9, 4.5, (70, 90)).astype(np.float32)
    depth = np.where(rgba[..., 3] > 0, z, np.float32(0))
    back = through(rgba, Format(depth=code, near=limits[0], far=limits[1]), depth).depth
    assert back.dtype == np.float32 and np.array_equal(back == 0, depth == 0)
    near, far = limits if limits[0] else (1.9, 4.5)
    assert (
        np.abs(back - depth) <= 1.02 * depth**2 * (1 / near - 1 / far) / 65535 + 1e-6
    ).all()  # one step of 1/z


def test_inverse_depth_is_a_reversed_depth_buffer():
    near, far, values = inverse_depth(np.float32([[0, 1, 2, 4, 0.5, 9]]), 1.0, 4.0)
    assert (near, far) == (1, 4) and values.tolist() == [[0, 65535, round(65535 / 3), 1, 65535, 1]]
    assert np.allclose(metres(near, far, values), [[0, 1, 2, 4, 1, 4]], rtol=1e-4)
    for depth in (
        np.zeros((3, 3), np.float32),
        np.full((3, 3), 2.5, np.float32),
        np.full((3, 3), 1e-9, np.float32),
    ):
        near, far, values = inverse_depth(depth)
        back = metres(near, far, values)
        assert (
            near < far
            and np.array_equal(back > 0, depth > 0)
            and np.allclose(back, np.maximum(depth, 1e-3 * (depth > 0)), rtol=1e-5)
        )


def test_depth_with_an_impossible_range_is_refused(make_picture):
    view = encoded(make_picture)
    for head in (
        b"",
        bytes(8),
        np.float32([2, 1]).tobytes(),
        np.float32([1, np.inf]).tobytes(),
        np.float32([np.nan, 1]).tobytes(),
    ):
        with pytest.raises(ProtocolError, match="DEPTH"):
            decode_view(view._replace(depth=Plane(INVERSE_DEFLATE, head + zlib.compress(bytes(2 * 64 * 64)))))


@pytest.mark.parametrize("color", [JPEG, RAW])
def test_over_a_background(make_picture, color):
    rgba = make_picture(64, 80)
    rgba[:16] = 0
    back = through(rgba, Format(color, 95, NO_PLANE, background=(10, 200, 255))).rgba
    expected = rgba[..., :3] + (255 - rgba[..., 3:].astype(int)) * (10, 200, 255) / 255
    assert (back[..., 3] == 255).all() and (back[:16] == (10, 200, 255, 255)).all()
    difference = np.abs(back[..., :3] - np.minimum(expected, 255))
    assert difference.max() <= 1 if color == RAW else difference.mean() < 3


def test_a_margin_is_sent_too():
    rgba = np.zeros((200, 300, 4), np.uint8)
    rgba[90:100, 140:150] = 255
    rects = [
        FrameEncoder().encode(camera_of(rgba), rgba, None, Format(margin=m)).rect for m in (0, 20, 65535)
    ]
    assert rects == [Rect(128, 80, 32, 32), Rect(112, 64, 64, 64), Rect(0, 0, 300, 200)]
    empty = np.zeros((200, 300, 4), np.uint8)
    assert FrameEncoder().encode(camera_of(empty), empty, None, Format(margin=20)).rect.width == 16


def test_the_golden_planes_decode_to_their_pixels(data):
    entry = json.loads((data / "golden_messages" / "values.json").read_text())["frame_planes"]
    back = decode_view(decode((data / "golden_messages" / "frame_planes.bin").read_bytes()).views[0])
    assert np.abs(back.rgba[..., 3].ravel().astype(int) - entry["decoded"]["alpha"]).max() <= 1
    assert np.allclose(back.depth.ravel(), entry["decoded"]["depth"], atol=1e-5)


def encoded(make_picture, size=(64, 64)):
    rgba = make_picture(*size)
    return FrameEncoder().encode(
        camera_of(rgba), rgba, np.ones(size, np.float32), Format(depth=DEFLATE_PLANE)
    )


def test_planes_that_lie_about_their_size_are_refused(make_picture):
    view = encoded(make_picture)
    n = view.rect.width * view.rect.height
    bomb = Plane(DEFLATE_PLANE, zlib.compress(bytes(50_000_000)))
    cases = [
        view._replace(alpha=bomb),
        view._replace(depth=bomb),
        view._replace(alpha=Plane(DEFLATE_PLANE, zlib.compress(bytes(n - 1)))),
        view._replace(alpha=Plane(DEFLATE_PLANE, zlib.compress(bytes(n + 1)))),
        view._replace(alpha=Plane(DEFLATE_PLANE, b"")),
        view._replace(alpha=Plane(DEFLATE_PLANE, bytes(view.alpha.data) + b"more")),
        view._replace(alpha=Plane(DEFLATE_PLANE, bytes(view.alpha.data)[:-1])),
        view._replace(color=encoded(make_picture, (128, 128)).color),
        view._replace(color=Plane(JPEG, b"")),
        view._replace(color=Plane(JPEG, bytes(view.color.data)[:40])),
    ]
    for case in cases:
        with pytest.raises(ProtocolError):
            decode_view(case)


def test_damaged_planes_give_a_picture_or_a_protocol_error(make_picture):
    view, rng = encoded(make_picture), np.random.default_rng(3)
    refused = 0
    for _ in range(1500):
        planes = {}
        for name in ("color", "alpha", "depth"):
            plane = getattr(view, name)
            raw = bytearray(plane.data)
            raw[rng.integers(len(raw))] = rng.integers(256)
            planes[name] = plane._replace(
                data=bytes(raw[: rng.integers(len(raw) // 2, len(raw) + 1)])
                if rng.random() < 0.3
                else bytes(raw)
            )
        try:
            assert decode_view(view._replace(**planes)).rgba.shape == (64, 64, 4)
        except ProtocolError:
            refused += 1
    assert refused > 500


def test_jpeg_size_is_read_without_decoding(make_picture):
    for height, width, progressive in ((1, 1, 0), (33, 70, 0), (64, 48, 1)):
        _, raw = cv2.imencode(
            ".jpg", np.zeros((height, width, 3), np.uint8), (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
        )
        assert jpeg_size(raw) == (width, height)
    for raw in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff\xe0\0\0" + bytes(40)):
        with pytest.raises(ProtocolError):
            jpeg_size(raw)


def test_raw_planes_of_a_whole_picture_are_not_copied():
    rgba = np.full((16, 16, 4), 9, np.uint8)
    view = EncodedView(camera_of(rgba), Rect(0, 0, 16, 16), Plane(RAW, rgba.tobytes()))
    raw = bytes(encode(FrameMessage(1, (view,), {})))
    assert np.shares_memory(decode_view(decode(raw).views[0]).rgba, np.frombuffer(raw, np.uint8))
