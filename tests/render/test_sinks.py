"""Where frames go: complete, or not at all and with a word about it."""

import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.render.sinks import CODECS, PngSink, VideoSink, write_png
from dinar_live.runtime.render.video.opencv import frames_in

SIZE = (96, 64)
resource = pytest.importorskip("resource", reason="limits on the size of files are tried on Unix")


def pictures(count):
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (*SIZE, 4), np.uint8) for _ in range(count)]


def left(folder: pathlib.Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("fps", [1.0, 30.0, 240.0])
def test_every_frame_of_a_video_is_there(tmp_path, suffix, fps):
    out = tmp_path / f"a{suffix}"
    sink = VideoSink(out, SIZE, fps)
    for picture in pictures(21):
        sink.write(picture)
    assert not out.exists()
    sink.close()
    assert left(tmp_path) == [out.name] and frames_in(out) == 21


def test_a_video_that_is_given_up_leaves_nothing(tmp_path):
    sink = VideoSink(tmp_path / "a.mp4", SIZE, 30.0)
    sink.write(pictures(1)[0])
    sink.close(complete=False)
    assert left(tmp_path) == []


def test_a_damaged_video_is_noticed(tmp_path):
    out = tmp_path / "a.avi"
    out.write_bytes(b"the one before")
    sink = VideoSink(out, SIZE, 30.0)
    for picture in pictures(20):
        sink.write(picture)
    sink._queue.finish()
    sink._encoder.finish()
    os.truncate(sink._work, sink._work.stat().st_size // 2)
    with pytest.raises(DinarError, match=r"a\.avi: only 1?\d of 20 frames could be written.* are free there"):
        sink.close()
    assert left(tmp_path) == ["a.avi"] and out.read_bytes() == b"the one before"


def test_pngs_appear_when_all_are_there(tmp_path):
    sink = PngSink(tmp_path / "a")
    for picture in (some := pictures(3)):
        sink.write(picture)
    assert not (tmp_path / "a").exists()
    sink.close()
    assert left(tmp_path) == ["a", "a/000000.png", "a/000001.png", "a/000002.png"]
    found = cv2.imread(str(tmp_path / "a" / "000002.png"), cv2.IMREAD_UNCHANGED)
    assert found is not None and np.array_equal(cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA), some[2])
    again = PngSink(tmp_path / "a")
    again.write(some[0])
    again.close(complete=False)
    assert len(left(tmp_path)) == 4, "what was there before stays"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        PngSink(tmp_path / "file")


def test_a_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(DinarError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_png(tmp_path / "a.png", pictures(1)[0])
    assert left(tmp_path) == []


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from dinar_live.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("out", ["a.mp4", "a.webm", "a.avi", "pngs"])
def test_a_clip_that_does_not_fit_fails_and_leaves_nothing(tmp_path, out):
    """As on a full disk: the system takes no more than so many bytes of a file."""
    clip = ["--renderer", "texture", "--size", "256x256", "--seconds", "1"]
    render = ["render", "demo", "demo", "-o", str(tmp_path / "out" / out), *clip]
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, "8000", *render], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 2, run.stderr
    said = run.stderr.strip().splitlines()[-1]
    assert said.startswith("dinar render: ") and f"out/{out}" in said.replace(".pngs.part", "pngs"), said
    assert "are free there" in said
    assert left(tmp_path) == ["out"]
