"""`dinar fit` on a small capture: a better avatar than the bare body, a report, clear refusals."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("scipy")

from dinar_live.cli.main import main
from dinar_live.export.evaluate import evaluate
from dinar_live.export.fit import offsets
from dinar_live.export.fit.pipeline import FitSettings, fit_capture
from dinar_live.runtime import Avatar, Pose, Renderer
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.framing import whole_body_camera


@pytest.fixture(scope="module")
def fitted(person, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "me"
    blur, offsets.BLUR = offsets.BLUR, (1.5,)
    try:
        code = main(["fit", str(person.capture.path), "--no-compile", "--out", str(out),
                     "--steps", "40", "--texture-size", "128", "--width", "16",
                     "--channels", "5", "--licence", "CC0"])  # fmt: skip
    finally:
        offsets.BLUR = blur
    assert code == 0
    return out


def test_fit_writes_an_avatar_that_looks_like_the_person(fitted, person):
    avatar = Avatar.load(fitted)
    assert list(avatar.renderers) == ["light", "lite", "texture"] and avatar.licence == "CC0"
    light, lite = (avatar.renderers[name] for name in ("light", "lite"))
    assert light.texture.shape == (128, 128, 3) and light.neural.shape == (64, 64, 5)
    assert lite.neural.shape == (64, 64, 8) and len(lite.network) < len(light.network) * 2
    assert avatar.provenance["method"] == "fit" and avatar.provenance["frames"] == 20
    assert not fitted.with_name("me.work").exists()
    held = person.capture.frames("validation")
    both = [
        evaluate(avatar, person.capture, held, n, options={"precision": "f32"}).scores
        for n in ("light", "lite")
    ]
    bare = fit_capture(person.capture, person.body, FitSettings(texture=128, neural=0, width=16, steps=0, offsets=False), name="bare",
                       report=lambda _: None)  # fmt: skip
    before = evaluate(bare, person.capture, held, "texture").scores
    for scores in both:
        assert scores["alpha_iou"].mean() > max(0.96, before["alpha_iou"].mean() + 0.02)
        assert scores["psnr"].mean() > before["psnr"].mean() + 1


def test_report_lies_beside_the_avatar(fitted):
    report = json.loads(fitted.with_name("me_report.json").read_text())
    assert [r["renderer"] for r in report["renderers"]] == ["light", "lite", "texture"]
    assert fitted.with_name("me_report.png").stat().st_size > 10_000


def test_crop_of_a_fitted_avatar_is_the_full_frame(fitted):
    avatar = Avatar.load(fitted)
    pose, camera = Pose(), whole_body_camera(avatar.rig, avatar.rig.joints[0], (320, 256), fill=0.5)
    pictures = []
    for crop in (True, False):
        with Renderer(avatar, (320, 256), crop=crop, precision="f32", background_compile=False) as renderer:
            pictures.append(renderer.render(pose, camera).rgba.copy())
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1 and pictures[0][..., 3].any()


def test_finished_stages_are_not_computed_again(person, tmp_path, monkeypatch):
    monkeypatch.setattr(offsets, "SMOOTHNESS", offsets.SMOOTHNESS[:1])
    settings = FitSettings(texture=64, neural=2, width=16, steps=3, colours=False)
    first = fit_capture(
        person.capture, person.body, settings, name="a", work=tmp_path / "w", report=lambda _: None
    )
    monkeypatch.setattr(
        "dinar_live.export.fit.pipeline.fit_offsets", lambda *a, **k: pytest.fail("computed again")
    )
    again = fit_capture(
        person.capture, person.body, settings, name="a", work=tmp_path / "w", report=lambda _: None
    )
    for name in ("light", "lite"):
        assert np.array_equal(first.renderers[name].texture, again.renderers[name].texture)
        assert first.renderers[name].model == again.renderers[name].model


def test_wrong_arguments_are_refused(person, tmp_path, capsys):
    capture = str(person.capture.path)
    for arguments, says in (
        ([str(tmp_path / "none"), "--out", str(tmp_path / "x")], "no capture"),
        ([capture, "--out", str(tmp_path)], "exists"),
        ([capture, "--out", str(tmp_path / "x"), "--width", "20"], "multiple of 16"),
        ([capture, "--out", str(tmp_path / "x"), "--texture-size", "9"], "64..2048"),
        ([capture, "--out", str(tmp_path / "x"), "--threads", "-1"], "--threads"),
        ([capture, "--out", str(tmp_path / "x"), "--seed", "-1"], "seed"),
    ):
        assert main(["fit", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="steps"):
        FitSettings(steps=-1)
