"""dinar pose: a picture becomes a fit, a video a motion, anything else one sentence."""

from argparse import Namespace

import cv2
import numpy as np
import pytest

from dinar_live.cli.live import _smooth
from dinar_live.cli.main import main
from dinar_live.runtime.motion import load_motion


@pytest.fixture
def refused(capsys):
    """refused(arguments...): the one sentence that the command ends with."""

    def run(*arguments):
        assert main(["pose", *map(str, arguments)]) == 2
        err = capsys.readouterr().err.strip()
        assert len(err.splitlines()) == 1 and err.startswith("dinar pose: ")
        return err

    return run


@pytest.fixture
def networks(landmarker, monkeypatch):
    """The command with networks that are read already."""
    monkeypatch.setattr("dinar_live.cli.pose._landmarker", lambda args: landmarker)


def test_a_picture(people_photos, vision_models, tmp_path, capsys):
    photo, out = tmp_path / "ada.png", tmp_path / "fit.npz"
    small = cv2.resize(people_photos["ada"][0], (512, 512), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(photo), small[..., ::-1])
    assert main(["pose", str(photo), "-o", str(out), "--height", "1.7"]) == 0
    said = capsys.readouterr().out
    assert "saw 1 person: whole" in said and "(good)" in said
    fit = np.load(out)
    assert {"betas", "transl"} <= set(fit.files)
    mask = cv2.imread(str(tmp_path / "fit_mask.png"), cv2.IMREAD_GRAYSCALE)
    true = cv2.resize(people_photos["ada"][1], (512, 512), interpolation=cv2.INTER_AREA) > 0.5
    assert (true & (mask > 127)).sum() / (true | (mask > 127)).sum() > 0.97
    assert (tmp_path / "fit_overlay.jpg").is_file()


def test_a_video(walk, networks, tmp_path, capsys):
    out = tmp_path / "walk.bvh"
    assert main(["pose", str(walk), "-o", str(out), "--smooth", "0"]) == 0
    assert "walk.bvh: 9 frames, 0.60 s at 15 fps" in capsys.readouterr().out
    assert load_motion(out).frames == 9


def test_a_video_of_one_frame_and_one_of_nobody(people_photos, write_video, networks, tmp_path, refused):
    rgb = cv2.resize(people_photos["ada"][0], (256, 256), interpolation=cv2.INTER_AREA)
    one = write_video(tmp_path / "one.avi", [rgb])
    assert main(["pose", str(one), "-o", str(tmp_path / "one.npz")]) == 0
    assert load_motion(tmp_path / "one.npz").frames == 1
    nobody = write_video(tmp_path / "nobody.avi", [np.full((96, 96, 3), 90, np.uint8)] * 2)
    assert "nobody.avi: no person found in 2 frames" in refused(nobody, "-o", tmp_path / "nobody.npz")
    assert not (tmp_path / "nobody.npz").exists()


def test_a_picture_of_nobody(networks, tmp_path, refused):
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((200, 200, 3), 90, np.uint8))
    assert "no person found" in refused(grey, "-o", tmp_path / "fit.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["grey.png"]


def test_bad_input_is_said_before_any_network_is_read(walk, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("dinar_live.cli.pose._landmarker", lambda args: pytest.fail("networks read"))
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(walk.read_bytes()[:200])
    (tmp_path / "there.npz").touch()
    npz = tmp_path / "new.npz"
    for arguments, words in (
        ((tmp_path / "none.png", "-o", npz), "none.png: no such picture or video"),
        ((photo, "-o", tmp_path / "a.bvh"), "got '.bvh', expected .npz for a picture"),
        ((walk, "-o", tmp_path / "a.txt"), "got '.txt', expected .bvh, .npz, .dmot for a video"),
        ((photo, "-o", tmp_path / "there.npz"), "already there; --overwrite"),
        ((photo, "-o", tmp_path / "no" / "a.npz"), "there is no folder"),
        ((photo, "-o", npz, "--smooth", "2"), "--smooth: is for videos"),
        ((walk, "-o", npz, "--smooth", "-1"), "--smooth: got -1, expected 0 to 100 Hz"),
        ((walk, "-o", npz, "--height", "174"), "height: got 174 m"),
        ((photo, "-o", npz), "photo.png"),
        ((cut, "-o", npz), "cut.mp4: a video that cannot be opened"),
    ):
        assert words in refused(*arguments)
    assert not npz.exists()


def test_other_verbs_know_videos(tmp_path, capsys):
    assert main(["record", "dance.mp4", "-o", str(tmp_path / "take.dmot")]) == 2
    assert "dinar pose dance.mp4 -o" in capsys.readouterr().err
    for smooth, expected in ((None, 1.5), (0.0, None), (3.0, 3.0)):
        assert _smooth(Namespace(smooth=smooth), ["camera:1"]) == expected
    assert _smooth(Namespace(smooth=None), ["vmc"]) is None
