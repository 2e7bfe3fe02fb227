"""`dinar capture`: what it reads, what it writes, what it refuses."""

import cv2
import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.export.capture import Capture
from dinar_live.export.filming.footage import Footage
from dinar_live.export.filming.make import Film, Options, Understood, write_capture
from dinar_live.export.filming.pictures import window_of
from dinar_live.export.filming.sheet import film_sheet
from dinar_live.export.filming.survey import survey
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.landmarks import Crop, Landmarks
from dinar_live.runtime.vision.solver.camera import Pinhole
from dinar_live.runtime.vision.solver.photo_fit import PhotoFit, open_solver_body
from dinar_live.runtime.vision.solver.score import FitScore

SIZE = (320, 180)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "wall.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE[::-1])
    for i in range(12):
        writer.write(np.full((*SIZE, 3), 10 * i, np.uint8))
    writer.release()
    return path


@pytest.fixture
def understood(film):
    """A film of 30 frames, of which one does not fit."""
    body = open_solver_body()
    rng = np.random.default_rng(0)
    frames = []
    for i, look in enumerate(film(30).looks):
        local = axis_angle_to_matrix(np.zeros((55, 3)))
        local[0] = axis_angle_to_matrix(np.array([0, 0.2 * i, 0]))
        fit = PhotoFit(
            local, np.array([0, 0, -4.0]) - body.joints[0], np.zeros(10), Pinhole(330, (90, 160)), SIZE, 0.0
        )
        mask = np.zeros(SIZE, np.float32)
        mask[80:240, 60 + i % 3 : 120] = 1
        xy = fit.pinhole.pixels(fit.posed(body).joints[:33])[0]
        marks = Landmarks(SIZE, xy, np.ones(33), np.zeros((33, 3)), 0.9, Crop(90, 160, 200), mask=mask)
        rgb = rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
        frames.append(
            Understood(look, rgb, marks, fit, FitScore(0.9, 0.01, 0.9), "far off" if i == 7 else "")
        )
    kept = [f.landmarks.mask for f in frames if not f.why and f.landmarks.mask is not None]
    return Film("me.mp4", frames, window_of(kept, 128), [])


def test_a_capture_is_what_fit_reads(understood, tmp_path):
    write_capture(understood, tmp_path / "capture")
    capture = Capture.open(tmp_path / "capture")
    assert len(capture) == 29 and capture.estimated and capture.size == understood.window.size
    assert len(capture.frames("validation")) == 5
    assert capture.time is not None
    np.testing.assert_allclose(capture.time, [f.look.time for f in understood.kept], atol=1e-5)
    rgba = capture.image(0)
    assert set(np.unique(rgba[..., 3])) >= {0, 255}
    first = understood.kept[0]
    x = first.fit.posed(open_solver_body()).joints[0]
    in_film = first.fit.pinhole.pixels(x[None])[0][0]
    h = capture.camera(0).matrix @ [*x, 1]
    scale = np.array(capture.size[::-1]) / understood.window.taken[::-1]
    np.testing.assert_allclose(
        h[:2] / h[2], (in_film - [understood.window.x, understood.window.y]) * scale, atol=0.5
    )
    assert not (tmp_path / "capture.part").exists()


def test_pictures_have_no_times(understood, tmp_path):
    write_capture(Film("x", understood.frames, understood.window, [], timed=False), tmp_path / "c")
    assert Capture.open(tmp_path / "c").time is None


def test_the_sheet_shows_what_was_dropped(understood):
    sheet = film_sheet(understood)
    red = (np.abs(sheet.astype(int) - (220, 60, 60)).max(-1) < 8).sum()
    assert sheet.shape[1] > 2000 and red > 3000


def test_times_that_do_not_ascend_are_refused(understood, tmp_path):
    write_capture(understood, tmp_path / "capture")
    file = tmp_path / "capture" / "capture.npz"
    arrays = dict(np.load(file))
    np.savez(file, **(arrays | {"time": arrays["time"][::-1]}))
    with pytest.raises(InputError, match="time: does not ascend"):
        Capture.open(tmp_path / "capture")


def test_a_video_is_read_twice(video):
    footage = Footage.open([video])
    assert footage.video and [s.number for s in footage.shots(every=3)] == [0, 3, 6, 9]
    few = list(footage.shots(wanted={2, 5}))
    assert [s.number for s in few] == [2, 5] and few[0].rgb.shape == (*SIZE, 3)
    assert abs(int(few[1].rgb.mean()) - 50) < 4 and 0.39 < few[1].time < 0.6


def test_pictures_of_two_sizes_are_refused(tmp_path):
    for name, side in (("a.png", 100), ("b.png", 120)):
        cv2.imwrite(str(tmp_path / name), np.zeros((side, 100, 3), np.uint8))
    footage = Footage.open([tmp_path])
    assert not footage.video
    with pytest.raises(InputError, match="100x120 pixels, the others 100x100"):
        list(footage.shots())


def test_a_film_of_nobody_is_refused(video, landmarker):
    with pytest.raises(InputError, match="nobody was found"):
        survey(Footage.open([video]), landmarker)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.mp4", "--out", "c"], "no such video"),
        (["empty", "--out", "c"], "holds no pictures"),
        (["wall.avi", "wall.avi", "--out", "c"], "expected one video"),
        (["wall.avi", "--out", "there"], "exists and is no capture"),
        (["wall.avi", "--out", "c", "--frames", "5"], "frames: got 5, expected 40..120"),
        (["wall.avi", "--out", "c", "--focal", "2"], "focal: got 2"),
    ],
)
def test_refusals(video, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").mkdir()
    assert main(["capture", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "c").exists()


def test_options_name_the_field():
    with pytest.raises(InputError, match="size: got 10"):
        Options(size=10)
