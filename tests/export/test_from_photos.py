"""Avatars from photos by the method that fits: the shipped network, outlines, projection; and what is refused."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.export import from_photos
from dinar_live.export.completion import renderers, score, weights
from dinar_live.export.completion.outline import frame_of, refined
from dinar_live.export.completion.predict import Completer
from dinar_live.export.from_photos import avatar_from_photos, choose_method
from dinar_live.export.inputs import View
from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.open()


@pytest.fixture(scope="module")
def ada(shared):
    return shared / "people" / "ada"


def command(folder, sides=("",)):
    return [
        str(part)
        for s in sides
        for part in (
            "--photo",
            folder / "photo" / f"photo{s}.png",
            "--mask",
            folder / "photo" / f"mask{s}.png",
            "--smplx",
            folder / "photo" / f"smplx{s}.npz",
        )
    ]


@pytest.fixture(scope="module")
def whole(ada, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "me"
    assert main(["export", *command(ada), "--texture-size", "256", "--threads", "1", "--out", str(out)]) == 0
    return Avatar.load(out)


def test_a_photo_makes_a_whole_person_by_default(whole, ada, body, capsys):
    assert whole.provenance["method"] == "completion" and whole.checks is not None
    bare, _ = avatar_from_photos([score.photo(ada)], body, name="bare", method="projection", texture_size=256)
    chosen = score.frames([ada])[::8]
    better = score.scores(whole, chosen).mean(0) - score.scores(bare, chosen).mean(0)
    assert better[0] > 3 and better[1] > 0.04 and better[2] > 0.04, better  # dB, MS-SSIM, IoU


def test_renderers_for_everybody_come_along(whole, ada):
    names = list(renderers.read_renderers())
    assert names and list(whole.renderers) == [*names, "texture"]
    assert sum(f.stat().st_size for f in renderers.FOLDER.glob("l*")) < 1.5e6
    chosen = score.frames([ada])[::12]
    plain = score.scores(whole, chosen).mean(0)
    for name in names:
        soft = score.scores(whole, chosen, name).mean(0)
        assert soft[0] > plain[0] + 0.1 and soft[2] > plain[2] - 0.005, (name, soft, plain)


def test_outlines_alone_are_better_than_the_bare_body(ada, body):
    view = score.photo(ada)
    own = [
        score.photo_score(avatar_from_photos([view], body, name=m, method=m, texture_size=256)[0], view)
        for m in ("outline", "projection")
    ]
    assert own[0][0] > own[1][0] + 3


def test_a_photo_that_cuts_the_legs_off_keeps_their_shape(ada, body):
    """What lies beyond the picture is not carved away."""
    view = score.photo(ada)
    rows = int(0.6 * len(view.rgb))
    cut = View(view.name, view.rgb[:rows], view.mask[:rows], view.pose, view.camera, view.betas)
    completer = Completer(weights.read_weights(), body, threads=1)
    rig = body.rig(view.betas)
    offset = np.zeros_like(rig.model.vertices, np.float64)
    shins = np.isin(completer.field.joint, [4, 5, 7, 8]) & completer.atlas.skin_vertex
    offset[shins] = (0, 0, 0.05)
    kept = refined(completer.field, rig, offset, [frame_of(cut)])
    assert np.median(kept[shins, 2]) > 0.045
    avatar, figures = completer.complete([cut], name="cut", texture_size=128)
    assert 0.1 < figures["seen"] < 0.35 and np.isfinite(avatar.rig.model.vertices).all()


def test_several_photos(ada, body, tmp_path, capsys):
    out = tmp_path / "me.zip"
    arguments = ["export", *command(ada, ("", "_back")), "--texture-size", "128", "--threads", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "seen by photo: " in said and "seen by photo_back: " in said
    assert Avatar.load(out).provenance["photos"] == ["photo", "photo_back"]


def test_the_card_names_the_weights():
    data = weights.read_weights()
    assert 4e6 < len(data) < 8e6
    card = json.loads((weights.FOLDER / weights.CARD).read_text())
    assert card["licence"] == "Apache-2.0" and "CC0" in card["made"]


def test_damaged_weights_are_refused(tmp_path, monkeypatch, ada, body):
    shutil.copytree(weights.FOLDER, tmp_path / "w")
    file = tmp_path / "w" / weights.MODEL
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="damaged or replaced"):
        weights.read_weights(tmp_path / "w")
    file.unlink()
    with pytest.raises(InputError, match="not in this installation"):
        weights.read_weights(tmp_path / "w")
    monkeypatch.setattr(from_photos.weights, "shipped", lambda: False)
    assert choose_method(body)[0] == "outline" and "weights" in choose_method(body)[1]


def test_other_bodies_get_outlines(body, ada):
    other = replace(body, kind="smplx")
    method, why = choose_method(other)
    assert method == "outline" and "'smplx'" in why
    with pytest.raises(InputError, match="open body only"):
        avatar_from_photos([score.photo(ada)], other, name="a", method="completion")


@pytest.mark.parametrize(
    "more, says",
    [
        (["--method", "dinar"], "--method dinar needs --checkpoint"),
        (["--checkpoint", "x.ckpt", "--method", "outline"], "--method outline: takes no --checkpoint"),
        (["--method", "outline", "--weights", "x.onnx"], "--weights: means nothing for --method outline"),
        (["--weights", "x.onnx"], "--weights x.onnx: no such file"),
        (["--weights", "{mask}"], "not the ONNX file of a completion network"),
        (["--texture-size", "9000"], "texture size: got 9000, expected 64..4096"),
        (["--threads", "-1"], "--threads: got -1"),
    ],
)
def test_wrong_options_are_named(ada, tmp_path, capsys, more, says):
    more = [m.format(mask=ada / "photo" / "mask.png") for m in more]
    assert main(["export", *command(ada), *more, "--out", str(tmp_path / "me")]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1, said
    assert not list(tmp_path.iterdir())


def test_an_onnx_of_something_else_is_refused(body):
    demo = next(s for s in Avatar.demo().renderers.values() if s.model is not None)
    with pytest.raises(InputError, match="not the ONNX file of a completion network"):
        Completer(demo.model, body, threads=1)


def test_a_fit_that_does_not_meet_the_mask_is_an_error(ada, body, tmp_path):
    view = score.photo(ada)
    away = Camera(view.camera.K, view.camera.world_to_camera @ np.array(
        [[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32))  # fmt: skip
    lost = View("lost", view.rgb, view.mask, view.pose, away, view.betas)
    for method in from_photos.METHODS:
        with pytest.raises(InputError):
            avatar_from_photos([lost], body, name="a", method=method, texture_size=128)
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.zeros(view.mask.shape, np.uint8))
    with pytest.raises(InputError, match="is empty"):
        from dinar_live.export.inputs import read_view

        folder = ada / "photo"
        read_view(folder / "photo.png", blank, folder / "smplx.npz")
