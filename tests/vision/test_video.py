"""Video files: upright frames and their rate, and one sentence for what is none."""

import struct

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.video import VideoFile, looks_like_video


@pytest.fixture
def halves(write_video, tmp_path):
    """Six frames, 64 wide and 96 tall, white above and black below."""
    frame = np.zeros((96, 64, 3), np.uint8)
    frame[:48] = 255
    return write_video(tmp_path / "halves.mp4", [frame] * 6, 25.0)


def turned(path):
    """The file with a flag that says: turn by a quarter, clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 96 * one, 0, 1 << 30)
    path.write_bytes(data)
    return path


def test_frames_and_rate(halves):
    with VideoFile(halves) as video:
        frames = list(video)
        assert len(frames) == video.expected == 6 and video.rate == pytest.approx(25)
    assert frames[0].shape == (96, 64, 3) and frames[0][:40].min() > 200 and frames[0][56:].max() < 60
    assert looks_like_video(halves)


def test_a_rotation_flag_is_obeyed(halves):
    with VideoFile(turned(halves)) as video:
        frame = next(iter(video))
    assert frame.shape == (64, 96, 3)
    assert frame[:, 56:].min() > 200 and frame[:, :40].max() < 60  # what was above is on the right


def test_one_frame(write_video, tmp_path):
    with VideoFile(write_video(tmp_path / "one.avi", [np.zeros((64, 64, 3), np.uint8)])) as video:
        assert len(list(video)) == 1 and video.rate == 30


def test_bad_files(halves, tmp_path, capfd):
    whole = halves.read_bytes()
    cases = {
        "cut.mp4": (whole[: len(whole) // 2], "cannot be opened|not one frame"),
        "text.mp4": (b"#EXTM3U\nhttp://example.org/a.ts\n", "not a video that is read here"),
        "empty.mp4": (b"", "not a video that is read here"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=words), VideoFile(path) as video:
            list(video)
    with pytest.raises(InputError, match="no such video"):
        VideoFile(tmp_path / "none.mp4")
    assert capfd.readouterr().err == ""
