"""dinar render, inspect and export as users run them, and what `dinar` itself says."""

import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar.avatar import RendererSpec

DINAR = [sys.executable, "-m", "dinar_live.cli.main"]


def run(*arguments, cwd=None):
    return subprocess.run(
        [*DINAR, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture(scope="module")
def avatar():
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    return Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)})


@pytest.fixture(scope="module")
def bundle(avatar, tmp_path_factory):
    path = tmp_path_factory.mktemp("avatar") / "ann"
    avatar.save(path)
    return path


def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("dinar-live 0.")
    for arguments, code in (((), 2), (("--help",), 0)):
        shown = run(*arguments)
        assert shown.returncode == code and "export" in shown.stdout and "Traceback" not in shown.stderr


def test_inspect_prints_and_draws(bundle, tmp_path):
    done = run("inspect", bundle, cwd=tmp_path)
    assert done.returncode == 0 and "13886 vertices" in done.stdout and "sheet: ann.png" in done.stdout
    sheet = cv2.imread(str(tmp_path / "ann.png"))
    assert sheet.shape[1] > 4 * 384 and sheet.std() > 5
    assert [p.name for p in tmp_path.iterdir()] == ["ann.png"]


def test_names_in_a_bundle_write_no_files_and_no_control_characters(avatar, tmp_path):
    (tmp_path / "here").mkdir()
    evil = dataclasses.replace(
        avatar, name="../evil", licence="\x1b[2Jgone\n", provenance={"a\x1b]0;b": "\x07" * 10_000}
    )
    evil.save(tmp_path / "bob")
    done = run("inspect", tmp_path / "bob", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert (
        sorted(p.name for p in tmp_path.rglob("*.png")) == ["bob.png"]
        and (tmp_path / "here" / "bob.png").exists()
    )
    assert not {"\x1b", "\x07"} & set(done.stdout) and len(done.stdout) < 3000 and "?[2Jgone?" in done.stdout


def test_render_a_video_and_pictures_with_alpha(bundle, tmp_path):
    done = run(
        "render", bundle, "demo", "-o", "clip.mp4", "--seconds", "0.2", "--size", "96x128", cwd=tmp_path
    )
    assert done.returncode == 0 and "6 frames" in done.stdout, done.stderr
    video = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    ok, picture = video.read()
    assert (
        ok and picture.shape == (128, 96, 3) and np.abs(picture[2, 2].astype(int) - (232, 227, 223)).max() < 8
    )
    done = run(
        "render",
        bundle,
        "demo",
        "-o",
        "clip",
        "--seconds",
        "0.1",
        "--size",
        "64",
        "--background",
        "transparent",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "clip").iterdir())
    assert [p.name for p in pictures] == ["000000.png", "000001.png", "000002.png"]
    rgba = cv2.imread(str(pictures[0]), cv2.IMREAD_UNCHANGED)
    assert rgba.shape == (64, 64, 4) and rgba[0, 0, 3] == 0 and rgba[..., 3].max() == 255
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip", "clip.mp4"]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["render", "{bundle}", "demo", "-o", "x.mov"], "--out x.mov: got .mov, expected .mp4"),
        (
            ["render", "{bundle}", "demo", "-o", "x.mp4", "--background", "transparent"],
            "a video file has no alpha",
        ),
        (["render", "{bundle}", "demo", "-o", "x.mp4", "--fps", "0"], "--fps 0"),
        (["render", "{bundle}", "demo", "-o", "x.mp4", "--seconds", "nan"], "--seconds nan"),
        (["render", "{bundle}", "nowhere.bvh", "-o", "x.mp4"], "nowhere.bvh: no such file"),
        (["render", "{bundle}", "demo", "-o", "x.mp4", "--threads", "-3"], "--threads: got -3"),
        (["inspect", "nowhere"], "no such avatar"),
        (["inspect", "{bundle}", "--sheet", "{bundle}/avatar.json/x.png"], "avatar.json"),
        (
            ["export", "--photo", "a.png", "--mask", "a.png", "--smplx", "a.npz", "--out", "me"],
            "a.png: no such picture",
        ),
        (
            ["export", "--photo", "a.png", "--mask", "a.png", "--smplx", "a.npz", "--out", "{bundle}"],
            "already exists",
        ),
        (
            [
                "export",
                "--photo",
                "a.png",
                "--photo",
                "b.png",
                "--mask",
                "a.png",
                "--smplx",
                "a.npz",
                "--out",
                "me",
            ],
            "one --mask for each photo, or none",
        ),
    ],
)
def test_errors_are_one_line_and_leave_nothing(bundle, tmp_path, arguments, says):
    done = run(*(a.format(bundle=bundle) for a in arguments), cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and says in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_export_from_two_photos_and_back(shared, tmp_path):
    photos = shared / "people" / "ada" / "photo"
    views = [
        argument
        for end in ("", "_back")
        for argument in (
            "--photo",
            photos / f"photo{end}.png",
            "--mask",
            photos / f"mask{end}.png",
            "--smplx",
            photos / f"smplx{end}.npz",
        )
    ]
    done = run("export", *views, "--texture-size", "256", "--out", tmp_path / "me.zip")
    assert done.returncode == 0 and "seen: " in done.stdout, done.stderr
    assert Avatar.load(tmp_path / "me.zip").renderers["texture"].texture.shape == (256, 256, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["me.zip"]
