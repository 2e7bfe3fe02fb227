"""Photos as somebody has them: read upright, or refused in one sentence."""

import struct

import cv2
import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision import pictures
from dinar_live.runtime.vision.exif import read_exif
from dinar_live.runtime.vision.pictures import MAX_SIDE, decode_picture, read_picture

HEIGHT, WIDTH = 90, 70


def photo(height=HEIGHT, width=WIDTH):
    """Smooth colours, no two corners alike: u8[H,W,3] RGB."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 9)], axis=-1)
    return rgb.astype(np.uint8)


def encoded(image, suffix=".png", *options):
    rgb = image if image.ndim == 2 else image[..., [2, 1, 0, *range(3, image.shape[2])]]
    ok, data = cv2.imencode(suffix, rgb, options)
    assert ok
    return data.tobytes()


def exif_block(orientation, focal=None, order="<"):
    """A TIFF block with the orientation, and the focal length in a directory of its own."""

    def entry(tag, kind, value):
        return struct.pack(order + ("HHIHxx" if kind == 3 else "HHII"), tag, kind, 1, value)

    start = 8 + 2 + 2 * 12 + 4
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 8)
    main = struct.pack(order + "H", 2) + entry(0x0112, 3, orientation) + entry(0x8769, 4, start)
    more = struct.pack(order + "H", 1) + entry(0xA405, 3, focal or 0)
    return head + main + b"\x00" * 4 + more + b"\x00" * 4


def with_exif(jpeg, block):
    body = b"Exif\x00\x00" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("suffix, off", [(".png", 0), (".bmp", 0), (".jpg", 6), (".webp", 12)])
def test_kinds(suffix, off):
    got = decode_picture(encoded(photo(), suffix), "x")
    assert got.rgb.dtype == np.uint8 and got.size == (HEIGHT, WIDTH) and got.alpha is None
    assert np.abs(got.rgb.astype(int) - photo()).mean() <= off


def test_grey_16_bit_and_both():
    wide = photo().astype(np.uint16) * 257
    assert np.array_equal(decode_picture(encoded(wide), "x").rgb, photo())
    for grey in (photo()[..., 0], wide[..., 0]):
        got = decode_picture(encoded(grey), "x").rgb
        assert all(np.array_equal(got[..., i], photo()[..., 0]) for i in range(3))


def test_transparent_parts_are_white():
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, 20:] = 255
    got = decode_picture(encoded(np.dstack([photo(), alpha])), "x")
    assert got.alpha is not None and np.array_equal(got.alpha, alpha)
    assert (got.rgb[:, :20] == 255).all() and np.array_equal(got.rgb[:, 20:], photo()[:, 20:])
    opaque = decode_picture(encoded(np.dstack([photo(), np.full_like(alpha, 255)])), "x")
    assert opaque.alpha is None


def test_cmyk(data):
    got = read_picture(data / "pictures" / "cmyk.jpg")
    assert got.name == "cmyk" and got.size == (80, 64)
    assert np.abs(got.rgb[:, :24].reshape(-1, 3).mean(0) - [200, 30, 30]).max() < 12
    assert np.abs(got.rgb[:, 40:].reshape(-1, 3).mean(0) - [20, 40, 220]).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_a_photo_is_turned_as_exif_says(orientation, order):
    jpeg = with_exif(encoded(photo(), ".jpg"), exif_block(orientation, 26, order))
    got = decode_picture(jpeg, "x")
    ours = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]  # OpenCV turns it itself
    assert np.array_equal(got.rgb, ours)
    assert got.size == ((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH))
    assert got.focal_35mm == 26


def test_focal_length():
    jpeg = with_exif(encoded(photo(), ".jpg"), exif_block(1, 50))
    focal = decode_picture(jpeg, "x").focal_pixels
    # 50 mm on film of 43.27 mm across
    assert focal == pytest.approx(50 / 43.267 * np.hypot(HEIGHT, WIDTH), rel=1e-4)
    assert decode_picture(encoded(photo()), "x").focal_pixels is None


@pytest.mark.parametrize("end", range(0, 52, 3))
def test_a_damaged_note_counts_as_not_said(end):
    block = exif_block(6, 26)
    assert read_exif(block[:end]).focal_35mm is None
    read_exif(np.random.default_rng(end).bytes(end))
    read_exif(block[:4] + np.random.default_rng(end).bytes(60))
    assert read_exif(exif_block(77)).orientation == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.95])
def test_a_truncated_picture_is_refused(suffix, part):
    whole = encoded(photo(), suffix)
    with pytest.raises(InputError, match="me: .*(too early|something else)"):
        decode_picture(whole[: int(part * len(whole))], "me")


def test_a_progressive_jpeg_is_whole_at_its_end_and_a_phone_may_add_to_it():
    jpeg = encoded(photo(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode_picture(jpeg + b"a short video, say", "x").size == (HEIGHT, WIDTH)
    thumbnail = with_exif(jpeg, exif_block(1) + encoded(photo(64, 64), ".jpg"))
    assert decode_picture(thumbnail, "x").size == (HEIGHT, WIDTH)
    with pytest.raises(InputError, match="too early"):
        decode_picture(thumbnail[:-30], "x")


@pytest.mark.parametrize(
    "data, text",
    [
        (b"", "an empty file"),
        (b"GIF89a....", "GIF"),
        (b"II*\x00....", "TIFF or raw"),
        (b"\x00\x00\x00\x18ftypheic....", "HEIC pictures are not read: save it as JPEG"),
        (b"\x00\x00\x00\x18ftypisom....", "a video, not a picture"),
        (b"hello there", "expected a JPEG, PNG, WebP or BMP"),
    ],
)
def test_what_is_no_picture(data, text):
    with pytest.raises(InputError, match=text):
        decode_picture(data, "me")


def test_sizes(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="70x40 pixels, expected at least 64"):
        decode_picture(encoded(photo(40, 70)), "me")
    header = encoded(photo())
    bomb = header[:16] + struct.pack(">II", 60000, 60000) + header[24:]
    with pytest.raises(InputError, match="60000x60000 is 3600 megapixels, expected at most 100"):
        decode_picture(bomb, "me")
    large = decode_picture(encoded(np.zeros((100, 8000, 3), np.uint8)), "me")
    assert large.size == (51, MAX_SIDE) and large.stored == (100, 8000)
    monkeypatch.setattr(pictures, "MAX_BYTES", 1 << 20)
    (tmp_path / "x.jpg").write_bytes(b"\xff" * (1 << 21))
    with pytest.raises(InputError, match=r"x\.jpg: 2 MB, expected a picture of at most 1 MB"):
        read_picture(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="no such picture"):
        read_picture(tmp_path)


def test_damage_within_is_never_a_crash():
    rng = np.random.default_rng(3)
    for suffix in (".png", ".jpg", ".webp", ".bmp"):
        whole = encoded(photo(), suffix)
        for _ in range(40):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(256)
            try:
                decode_picture(bytes(data), "me")
            except InputError as e:
                assert str(e).startswith("me: ")
