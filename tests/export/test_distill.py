"""`dinar distill` on small pictures: a student comes near its teacher, and the bundle says how near."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dinar_live.cli.main import main  # noqa: E402
from dinar_live.export.capture import Capture  # noqa: E402
from dinar_live.export.distill.student import Student, check_names, starting_textures, students  # noqa: E402
from dinar_live.export.evaluate import evaluate, measure_flicker  # noqa: E402
from dinar_live.export.fit.frames import Frame  # noqa: E402
from dinar_live.export.texture_space import texels  # noqa: E402
from dinar_live.runtime import Avatar, Body, Pose, Renderer  # noqa: E402
from dinar_live.runtime.avatar import RendererSpec  # noqa: E402
from dinar_live.runtime.core.errors import InputError  # noqa: E402
from dinar_live.runtime.render.framing import whole_body_camera  # noqa: E402


@pytest.fixture(scope="module")
def avatar():
    texture = cv2.resize(
        np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8),
        (64, 64),
        interpolation=cv2.INTER_CUBIC,
    )
    return Avatar("pattern", Body.open().rig(), {"texture": RendererSpec(texture, samples=2)}, licence="CC0")


@pytest.mark.slow
def test_dinar_distill(avatar, tmp_path, capsys):
    avatar.save(tmp_path / "a")
    out = tmp_path / "b"
    command = [
        "distill",
        str(tmp_path / "a"),
        "--no-compile",
        "--out",
        str(out),
        "--frames",
        "6",
        "--validation",
        "3",
        "--size",
        "96",
        "--width",
        "16",
    ]
    assert main([*command, "--steps", "8", "--keep-work"]) == 0
    text = capsys.readouterr().out
    assert "light against texture" in text and "lite against texture" in text and "alpha IoU" in text
    both = Avatar.load(out)
    assert (
        list(both.renderers) == ["light", "lite", "texture"]
        and both.licence == "CC0"
        and set(both.checks.rgba) == {"light", "lite", "texture"}
    )
    assert both.renderers["light"].neural.shape == (32, 32, 16)
    assert both.renderers["lite"].neural.shape == (32, 32, 8)
    # the figures in the bundle are those of its renderer on the teacher's pictures
    capture = Capture.open(tmp_path / "b.work" / "teacher")
    own = evaluate(both, capture, capture.frames("validation"), "light", options={"precision": "f32"})
    noted = both.provenance["distilled light"]
    assert (
        noted["psnr"] == pytest.approx(own.scores["psnr"].mean(), abs=1e-3)
        and noted["teacher"] == "texture"
        and noted["gflop"] > 0
    )
    report = json.loads((tmp_path / "b_report.json").read_text())
    assert report["student"]["mean"]["all"]["psnr"] == pytest.approx(noted["psnr"], abs=1e-3)
    assert (tmp_path / "b_report.png").is_file()
    flicker = measure_flicker(
        dataclasses.replace(both, renderers={"light": both.renderers["light"]}), "light", 2, (96, 96)
    )
    assert list(flicker) == ["light", "static"] and all(
        0 < v < 20 for v in flicker.values()
    )  # no texture of its own: one is baked
    assert (
        noted["psnr"] > 24 and noted["alpha_iou"] > 0.9
    )  # it starts as the textured mesh; breaking it gives 10 dB
    # again, into the same place: the pictures and the finished training are taken from the work folder, which
    # then goes
    assert main([*command, "--steps", "8"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*command, "--steps", "8", "--overwrite"]) == 0
    assert not (tmp_path / "b.work").exists()
    again = Avatar.load(out)
    for name in ("light", "lite"):
        np.testing.assert_array_equal(again.renderers[name].texture, both.renderers[name].texture)
        assert again.renderers[name].model == both.renderers[name].model
    # a second time, from its own light: nothing of the ladder is missing, so the new one needs a name
    own = ["distill", str(out), "--out", str(tmp_path / "c"), *command[5:], "--steps", "2"]
    assert main(own) == 2 and "--student" in capsys.readouterr().err
    assert main([*own, "--student", "lighter"]) == 0
    assert list(Avatar.load(tmp_path / "c").renderers) == ["lighter", "light", "lite", "texture"]
    for wrong, says in (
        (["--teacher", "dinar"], "the avatar has texture"),
        (["--student", "texture"], "already"),
        (["--student", "../x"], "lower-case"),
        (["--width", "20"], "multiple of 16"),
        (["--frames", "0"], "frames"),
        (["--capture", str(tmp_path)], "no capture"),
    ):
        assert main([*command, "--overwrite", *wrong]) == 2 and says in capsys.readouterr().err


def test_names(avatar):
    check_names(avatar, "texture", Student())
    assert [s.name for s in students(avatar)] == ["light", "lite"]
    light, lite, other = students(avatar, ["light", "lite", "other"], 48)
    assert light.rung.width == other.rung.width == 48 and lite.rung.width == 16
    assert lite.rung.neural == 8 and lite.rung.head == 1
    with pytest.raises(InputError, match="every name once"):
        students(avatar, ["a", "a"])
    with pytest.raises(InputError, match="has texture"):
        check_names(avatar, "light", Student())


def test_a_student_starts_with_what_its_teacher_shows(avatar):
    rng, rig, size = np.random.default_rng(0), avatar.rig, (128, 128)
    frames = []
    with Renderer(avatar, size) as r:
        for azimuth in np.arange(6):
            camera = whole_body_camera(rig, rig.joints[0], size, azimuth=azimuth)
            frames.append(Frame(Pose(), camera.matrix, r.render(Pose(), camera).rgba.copy()))
    spec = avatar.renderers["texture"]
    colour, neural = starting_textures(rig, frames, spec, 16)
    covered = texels(rig, 64).covered
    assert neural is None and np.abs(colour - spec.float_texture())[covered].mean() < 0.06
    # a teacher with a network of form 1 hands on the means of its texels, one of form 2 its own
    wide = rng.random((64, 64, 19)).astype(np.float32)
    got = starting_textures(rig, frames, RendererSpec(wide, model=b"x"), 16)[1]
    np.testing.assert_allclose(got, wide[..., 3:].reshape(32, 2, 32, 2, 16).mean((1, 3)), rtol=1e-5)
    neural = rng.random((32, 32, 8)).astype(np.float32)
    half = RendererSpec(wide[..., :3].copy(), model=b"x", neural=neural, stride=8)
    np.testing.assert_array_equal(starting_textures(rig, frames, half, 8)[1], neural)
    assert starting_textures(rig, frames, half, 16)[1] is None
    for other in (wide * 4 - 2, wide[..., :10], np.ascontiguousarray(wide[:32])):
        assert starting_textures(rig, frames, RendererSpec(other, model=b"x"), 16)[1] is None
