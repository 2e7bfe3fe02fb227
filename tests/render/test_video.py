"""Video files, read back: what players need, colours, alpha, and failures that leave nothing."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.render.video import VideoSink, ffmpeg
from dinar_live.runtime.render.video.bleed import REACH, bled
from dinar_live.runtime.render.video.frame_queue import ROOM, FrameQueue
from dinar_live.runtime.render.video.opencv import frames_in

SIZE = (96, 128)


@pytest.fixture(scope="module")
def program():
    encoder, reason = ffmpeg.find_encoder(ffmpeg.H264)
    if encoder is None:
        pytest.skip(f"no H.264: {reason}")
    return encoder.program


def moving(count, size=SIZE, alpha=False):
    """Frames with flat colours, which a codec keeps: left to right a red, a green and a blue stripe, and a
    disc that moves down. With alpha nothing is around the disc."""
    y, x = np.mgrid[: size[0], : size[1]]
    colours = np.array([(200, 40, 30), (40, 180, 60), (30, 60, 210)], np.uint8)
    for i in range(count):
        rgba = np.full((*size, 4), 255, np.uint8)
        rgba[..., :3] = colours[x * 3 // size[1]]
        inside = (y - 20 - i) ** 2 + (x - size[1] // 2) ** 2 < 15**2
        rgba[inside, :3] = (240, 220, 60)
        if alpha:
            rgba[~inside] = 0
        yield rgba


def write(path, frames, fps=30.0, **options):
    frames = list(frames)
    with VideoSink(path, frames[0].shape[:2], fps, **options) as sink:
        for frame in frames:
            sink.write(frame)
    return frames, sink


def read_back(program, path, size, *decoder):
    """Frames of a file as RGBA, by its own tags."""
    done = subprocess.run(
        [program, "-v", "error", *decoder, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgba", "-"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, *size, 4)


def description(program, path):
    return subprocess.run(
        [program, "-hide_banner", "-i", str(path)], capture_output=True, text=True, timeout=60
    ).stderr


def left(folder: pathlib.Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("fps", [12.5, 30.0, 60.0, 1000.0])
def test_an_mp4_is_what_phones_and_quicktime_play(program, tmp_path, fps):
    frames, sink = write(tmp_path / "a.mp4", moving(25), fps)
    assert left(tmp_path) == ["a.mp4"] and sink.notes == [] and sink.label.startswith("H.264 (")
    text = description(program, tmp_path / "a.mp4")
    assert re.search(r"Video: h264 \((High|Main|Constrained Baseline)\) \(avc1", text), text
    assert "yuv420p(tv, bt709" in text and f"{SIZE[1]}x{SIZE[0]}" in text
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "the index comes first"
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3) and frames_in(tmp_path / "a.mp4") == 25
    found = read_back(program, tmp_path / "a.mp4", SIZE)
    assert len(found) == 25
    for i in (0, 12, 24):
        error = np.abs(found[i, ..., :3].astype(int) - frames[i][..., :3])
        assert error.mean() < 4, i
        for x in (10, SIZE[1] - 10):  # within the stripes: the matrix and the range are right
            assert error[8, x].max() <= 4
        assert error[20 + i, SIZE[1] // 2].max() <= 6


@pytest.mark.parametrize("size", [(95, 127), (96, 127), (2, 2), (1, 1)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sides_become_even_and_that_is_said(program, tmp_path, size, suffix):
    _, sink = write(tmp_path / f"a{suffix}", moving(3, size))
    even = tuple(side + side % 2 for side in size)
    assert read_back(program, tmp_path / f"a{suffix}", even).shape[0] == 3
    assert bool(sink.notes) == (even != size)
    assert not sink.notes or f"{even[1]}x{even[0]}" in sink.notes[0]


def test_a_webm_keeps_alpha_and_colours_up_to_the_rim(program, tmp_path):
    frames, sink = write(tmp_path / "a.webm", moving(12, alpha=True), alpha=True)
    assert "VP9" in sink.label and "alpha_mode" in description(program, tmp_path / "a.webm")
    found = read_back(program, tmp_path / "a.webm", SIZE, "-c:v", "libvpx-vp9")
    assert len(found) == 12
    for frame, true in zip(found, frames, strict=True):
        assert np.abs(frame[..., 3].astype(int) - true[..., 3]).mean() < 3
        opaque = true[..., 3] == 255
        assert np.abs(frame[opaque][:, 3].astype(int) - 255).mean() < 6
        colour = np.abs(frame[opaque][:, :3].astype(int) - (240, 220, 60))
        assert colour.mean() < 4 and colour.max() < 20, "no dark rim"


def test_a_webm_with_a_background_has_no_alpha(program, tmp_path):
    frames, _ = write(tmp_path / "a.webm", moving(5))
    text = description(program, tmp_path / "a.webm")
    assert "vp9" in text and "alpha_mode" not in text
    found = read_back(program, tmp_path / "a.webm", SIZE)
    assert np.abs(found[4, 8, 10, :3].astype(int) - frames[4][8, 10, :3]).max() <= 5


def test_colours_are_carried_beyond_the_rim_only():
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[10:20, 10:20] = (200, 100, 50, 255)
    rgba[10:20, 20] = (180, 90, 40, 60)
    out = bled(rgba)
    assert np.array_equal(out[..., 3], rgba[..., 3])
    assert np.array_equal(out[rgba[..., 3] > 0], rgba[rgba[..., 3] > 0])
    assert np.abs(out[15, 10 - REACH, :3].astype(int) - (200, 100, 50)).max() <= 1
    assert np.abs(out[39, 39, :3].astype(int) - (200, 100, 50)).max() <= 1, "the mean, far away"
    empty = np.zeros((4, 4, 4), np.uint8)
    assert bled(empty) is empty


def test_an_encoder_that_is_killed_is_told_and_leaves_nothing(program, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"the one before")
    sink = VideoSink(tmp_path / "a.mp4", SIZE, 30.0)
    frames = list(moving(3))
    sink.write(frames[0])
    os.kill(sink._encoder._process.pid, signal.SIGKILL)
    sink._encoder._process.wait()
    with pytest.raises(DinarError, match=r"a\.mp4: .*ffmpeg was ended by signal 9 .*file was removed"):
        for _ in range(3 * ROOM):
            sink.write(frames[1])
        sink.close()
    assert left(tmp_path) == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"the one before"
    with pytest.raises(DinarError, match=r"after close"):
        sink.write(frames[2])
    sink.close()


def test_an_encoder_that_cannot_end_is_told(program, tmp_path):
    """What it says last is in the message."""
    sink = VideoSink(tmp_path / "a.mp4", SIZE, 30.0)
    sink.write(next(moving(1)))
    sink._encoder._pipe.write(b"half a frame")  # no whole frame: a frame is lost
    sink._frames += 1
    with pytest.raises(DinarError, match=r"a\.mp4: .*(only 1 of 2 frames|exit code).*are free there"):
        sink.close()
    assert left(tmp_path) == []


@pytest.fixture
def no_ffmpeg(monkeypatch):
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def test_without_ffmpeg_opencv_writes_and_it_is_said(no_ffmpeg, tmp_path):
    _, sink = write(tmp_path / "a.mp4", moving(5))
    assert frames_in(tmp_path / "a.mp4") == 5 and "OpenCV" in sink.label
    (note,) = sink.notes
    assert "QuickTime" in note and "there is no ffmpeg" in note and "pip install imageio-ffmpeg" in note
    _, sink = write(tmp_path / "b.webm", moving(5))
    assert frames_in(tmp_path / "b.webm") == 5 and sink.notes == []
    with pytest.raises(DinarError, match=r"c\.webm: alpha in a WebM needs ffmpeg .*pip install"):
        VideoSink(tmp_path / "c.webm", SIZE, 30.0, alpha=True)
    assert left(tmp_path) == ["a.mp4", "b.webm"]


@pytest.mark.parametrize(
    "script, says",
    [
        ("#!/bin/sh\necho \"Unknown encoder '$1'\" >&2\nexit 1\n", "Unknown encoder"),
        ("not a program", "cannot be run"),
    ],
)
def test_an_ffmpeg_that_does_not_work_is_passed_over(monkeypatch, tmp_path, script, says):
    broken = tmp_path / "ffmpeg"
    broken.write_text(script)
    broken.chmod(0o755)
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: str(broken))
    found, _ = ffmpeg.find_encoder(ffmpeg.H264)
    assert found is None or found.program != str(broken)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    found, reason = ffmpeg.find_encoder(ffmpeg.H264)
    assert found is None and str(broken) in reason and says in reason


def test_openh264_does_where_x264_is_missing(program, monkeypatch, tmp_path):
    encoder, reason = ffmpeg.find_encoder(("libopenh264",))
    if encoder is None:
        pytest.skip(reason)
    monkeypatch.setattr(ffmpeg, "H264", ("no_such_encoder", "libopenh264"))
    frames, sink = write(tmp_path / "a.mp4", moving(25))
    assert "libopenh264" in sink.label
    found = read_back(program, tmp_path / "a.mp4", SIZE)
    assert len(found) == 25 and np.abs(found[20, 8, 10, :3].astype(int) - frames[20][8, 10, :3]).max() <= 6


@pytest.mark.parametrize(
    "name, size, fps, options, says",
    [
        ("a.mov", SIZE, 30.0, {}, r"a\.mov: got '\.mov', expected \.mp4"),
        ("a.mp4", SIZE, 30.0, {"alpha": True}, r"\.mp4 files have no alpha"),
        ("a.mp4", SIZE, float("nan"), {}, "fps nan: expected"),
        ("a.mp4", SIZE, 0.0, {}, "fps 0: expected"),
        ("a.mp4", (0, 4), 30.0, {}, "size 4x0"),
        ("a.mp4", (4, 20_000), 30.0, {}, "size 20000x4"),
        ("folder.mp4", SIZE, 30.0, {}, "is a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, name, size, fps, options, says):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=says):
        VideoSink(tmp_path / name, size, fps, **options)
    assert left(tmp_path) == ["folder.mp4"]


def test_a_frame_of_another_size_is_refused(tmp_path):
    with VideoSink(tmp_path / "a.avi", SIZE, 30.0) as sink:
        sink.write(next(moving(1)))
        with pytest.raises(InputError, match=r"got a frame of uint8\[4, 4, 4\]"):
            sink.write(np.zeros((4, 4, 4), np.uint8))
    assert frames_in(tmp_path / "a.avi") == 1


def test_frames_are_taken_in_order_while_more_are_put():
    """The renderer goes on while the writer works, up to the room that there is."""
    taken, go = [], threading.Event()

    def take(frame):
        assert go.wait(60)
        taken.append(int(frame[0]))

    frames = FrameQueue(take, "test")
    frame = np.zeros(1, np.uint8)
    for i in range(ROOM):
        frame[0] = i  # the queue has copies
        frames.put(frame)
    assert taken == []
    blocked = threading.Thread(target=frames.put, args=(np.full(1, ROOM, np.uint8),))
    blocked.start()
    time.sleep(0.05)
    assert blocked.is_alive(), "no room for one more"
    go.set()
    blocked.join(60)
    frames.finish()
    assert taken == list(range(ROOM + 1))


def test_an_error_of_the_taker_comes_out_and_no_frame_is_taken_after_it():
    taken = []

    def take(frame):
        taken.append(int(frame[0]))
        raise DinarError("no more")

    frames = FrameQueue(take, "test")
    with pytest.raises(DinarError, match="no more"):
        for i in range(100):
            frames.put(np.full(1, i, np.uint8))
    assert taken == [0]
    with pytest.raises(DinarError, match="no more"):
        frames.finish()
    frames.abandon()


def test_a_render_that_is_told_to_end_leaves_nothing(tmp_path):
    """SIGTERM, as a service manager or a time limit sends it."""
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "dinar_live.cli.main", "render", "demo", "demo"),
            *("-o", str(tmp_path / "a.mp4"), "--renderer", "texture", "--size", "256", "--fps", "1000"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while not left(tmp_path) and time.monotonic() < end:
            time.sleep(0.05)
        assert left(tmp_path) == ["a.part.mp4"]
        time.sleep(0.5)
        run.terminate()
        _, error = run.communicate(timeout=60)
        assert run.returncode == 130 and "Traceback" not in error, error
    finally:
        run.kill()
    assert left(tmp_path) == []
