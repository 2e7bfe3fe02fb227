"""Pixels through the encodings."""
import json
import zlib

import cv2
import numpy as np
import pytest

from dinar_live.runtime.errors import ProtocolError
from dinar_live.runtime.stream.codec import FrameEncoder, decode_view, jpeg_size
from dinar_live.runtime.stream.messages import (
    DEFLATE_PLANE,
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
from dinar_live.runtime.stream.protocol import decode, encode


def camera_of(rgba):
    return CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), rgba.shape[1], rgba.shape[0])


def through(rgba, format, depth=None, encoder=None):
    """Encoded, sent as bytes, decoded."""
    view = (encoder or FrameEncoder()).encode(camera_of(rgba), rgba, depth, format)
    message = decode(bytes(encode(FrameMessage(1, (view,), {}, straight=format.straight))))
    return decode_view(message.views[0], message.straight)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 48), (512, 512)])
@pytest.mark.parametrize("format", [Format(RAW, alpha=NO_PLANE), Format(RAW, alpha=NO_PLANE, depth=RAW_PLANE), Format(),
                                    Format(alpha=RAW_PLANE), Format(depth=DEFLATE_PLANE), Format(depth=RAW_PLANE)])
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
@pytest.mark.parametrize("box", [(0, 0, 0, 0), (0, 0, 1, 1), (99, 69, 1, 1), (30, 20, 5, 17), (0, 0, 100, 70)])
def test_only_the_part_that_is_not_empty_is_sent(box, format):
    x, y, w, h = box
    rgba = np.zeros((70, 100, 4), np.uint8)
    rgba[y:y + h, x:x + w] = 255
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
    assert back.rgba.shape == (values["views"][0]["camera"]["height"], values["views"][0]["camera"]["width"], 4)
    assert set(np.unique(back.depth)) == {0, 2.5}


def encoded(make_picture, size=(64, 64)):
    rgba = make_picture(*size)
    return FrameEncoder().encode(camera_of(rgba), rgba, np.ones(size, np.float32), Format(depth=DEFLATE_PLANE))


def test_planes_that_lie_about_their_size_are_refused(make_picture):
    view = encoded(make_picture)
    n = view.rect.width * view.rect.height
    bomb = Plane(DEFLATE_PLANE, zlib.compress(bytes(50_000_000)))
    cases = [view._replace(alpha=bomb), view._replace(depth=bomb), view._replace(alpha=Plane(DEFLATE_PLANE, zlib.compress(bytes(n - 1)))),
             view._replace(alpha=Plane(DEFLATE_PLANE, zlib.compress(bytes(n + 1)))), view._replace(alpha=Plane(DEFLATE_PLANE, b"")),
             view._replace(alpha=Plane(DEFLATE_PLANE, bytes(view.alpha.data) + b"more")),
             view._replace(alpha=Plane(DEFLATE_PLANE, bytes(view.alpha.data)[:-1])),
             view._replace(color=encoded(make_picture, (128, 128)).color), view._replace(color=Plane(JPEG, b"")),
             view._replace(color=Plane(JPEG, bytes(view.color.data)[:40]))]
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
            planes[name] = plane._replace(data=bytes(raw[:rng.integers(len(raw) // 2, len(raw) + 1)]) if rng.random() < 0.3 else bytes(raw))
        try:
            assert decode_view(view._replace(**planes)).rgba.shape == (64, 64, 4)
        except ProtocolError:
            refused += 1
    assert refused > 500


def test_jpeg_size_is_read_without_decoding(make_picture):
    for height, width, progressive in ((1, 1, 0), (33, 70, 0), (64, 48, 1)):
        _, raw = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8), (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive))
        assert jpeg_size(raw) == (width, height)
    for raw in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff\xe0\0\0" + bytes(40)):
        with pytest.raises(ProtocolError):
            jpeg_size(raw)


def test_raw_planes_of_a_whole_picture_are_not_copied():
    rgba = np.full((16, 16, 4), 9, np.uint8)
    view = EncodedView(camera_of(rgba), Rect(0, 0, 16, 16), Plane(RAW, rgba.tobytes()))
    raw = bytes(encode(FrameMessage(1, (view,), {})))
    assert np.shares_memory(decode_view(decode(raw).views[0]).rgba, np.frombuffer(raw, np.uint8))
