"""Captures and `dinar evaluate`, on a small capture of an avatar whose renders are known."""

import json

import cv2
import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.export.capture import Capture, premultiplied
from dinar_live.export.evaluate import evaluate, measure_flicker
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError

SIZE = (200, 240)
FRAMES = 6


@pytest.fixture(scope="module")
def avatar():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3), np.uint8)
    texture = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
    renderers = {"texture": RendererSpec(texture, samples=2), "other": RendererSpec(255 - texture, samples=2)}
    return Avatar("pattern", Body.open().rig(), renderers)


def write_capture(folder, **changes):
    """capture.npz of six frames, with some keys changed or (None) left out."""
    poses = np.zeros((FRAMES, 55, 3), np.float32)
    poses[:, 16, 2], poses[:, 0, 1] = -0.8, np.arange(FRAMES)
    cameras = [
        Camera.orbit([0, -0.2, 0], SIZE, distance=3 if i == 4 else 5, elevation=0.1) for i in range(FRAMES)
    ]
    keys = {
        "poses": poses,
        "transl": np.zeros((FRAMES, 3), np.float32),
        "betas": np.zeros(20, np.float32),
        "expression": np.zeros((FRAMES, 62), np.float32),
        "K": np.stack([c.K for c in cameras]),
        "world_to_camera": np.stack([c.world_to_camera for c in cameras]),
        "image_size": np.array([SIZE[1], SIZE[0]]),
        "split": np.array([0, 0, 0, 1, 1, 1], np.uint8),
        "close_up": np.array([0, 0, 0, 0, 1, 0], np.uint8),
    }
    folder.mkdir(exist_ok=True)
    np.savez(folder / "capture.npz", **{k: v for k, v in (keys | changes).items() if v is not None})


@pytest.fixture(scope="module")
def folder(avatar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "pattern"
    write_capture(folder)
    (folder / "images").mkdir()
    z = np.load(folder / "capture.npz")
    with Renderer(avatar, SIZE, straight=True) as r:
        for i in range(FRAMES):
            rgba = r.render(Pose(z["poses"][i]), Camera(z["K"][i], z["world_to_camera"][i])).rgba
            cv2.imwrite(str(folder / "images" / f"{i:06d}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
    return folder


def test_a_capture_is_what_was_written(folder):
    c = Capture.open(folder)
    assert (len(c), c.size, c.name) == (FRAMES, SIZE, "pattern")
    assert (
        c.frames("validation").tolist() == [3, 4, 5]
        and c.frames("training").tolist() == [0, 1, 2]
        and len(c.frames()) == FRAMES
    )
    z = np.load(folder / "capture.npz")
    np.testing.assert_array_equal(c.pose(2).body, z["poses"][2])
    np.testing.assert_array_equal(c.camera(2).K, z["K"][2])
    image = c.image(3)
    assert (
        image.shape == (*SIZE, 4)
        and image[0, 0].tolist() == [0, 0, 0, 0]
        and (image[..., 3] == 255).sum() > 2000
    )
    with pytest.raises(ValueError, match="read-only"):
        c.poses[0] = 0


def test_premultiplied_rounds():
    straight = np.array([[[255, 100, 3, 128], [10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)
    assert premultiplied(straight).tolist() == [[[128, 50, 2, 128], [0, 0, 0, 0], [10, 20, 30, 255]]]


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"K": None}, r"\['K'\] are missing"),
        ({"poses": np.zeros((FRAMES, 24, 3))}, "poses"),
        ({"transl": np.zeros((FRAMES + 1, 3))}, "transl"),
        ({"betas": np.array([np.nan])}, "betas"),
        ({"K": np.zeros((FRAMES, 3, 3))}, "frame 0: Camera.K"),
        ({"world_to_camera": np.ones((FRAMES, 4, 4))}, "frame 0: Camera.world_to_camera"),
        ({"image_size": np.array([0, 10])}, "image_size"),
        ({"split": np.full(FRAMES, 300)}, "split"),
        ({"split": np.zeros(FRAMES - 1, np.uint8)}, "split"),
        ({"close_up": np.zeros(FRAMES)}, "close_up"),
        ({"poses": np.zeros((0, 55, 3))}, "poses"),
        ({"expression": np.array([{}], dtype=object)}, "plain arrays"),
    ],
)
def test_bad_captures_name_the_field(tmp_path, changes, says):
    write_capture(tmp_path, **changes)
    with pytest.raises(InputError, match=says) as e:
        Capture.open(tmp_path)
    assert "capture.npz" in str(e.value)


def test_missing_and_wrong_pictures(folder, tmp_path):
    with pytest.raises(InputError, match="no capture"):
        Capture.open(tmp_path)
    write_capture(tmp_path)
    with pytest.raises(InputError, match="6 of the 6 frames"):
        Capture.open(tmp_path)
    write_capture(tmp_path / "small", image_size=np.array([100, 100]))
    (tmp_path / "small" / "images").symlink_to(folder / "images")
    with pytest.raises(InputError, match="000001.png.*100x100"):
        Capture.open(tmp_path / "small").image(1)
    write_capture(tmp_path / "small", split=np.zeros(FRAMES, np.uint8))
    with pytest.raises(InputError, match="no validation frames"):
        Capture.open(tmp_path / "small").frames("validation")
    with pytest.raises(InputError, match="expected training"):
        Capture.open(tmp_path / "small").frames("test")


def test_the_avatar_of_the_capture_scores_best(avatar, folder):
    capture = Capture.open(folder)
    own, other = (
        evaluate(avatar, capture, capture.frames("validation"), name) for name in ("texture", "other")
    )
    assert (
        own.scores["psnr"].min() > 45 and own.scores["ssim"].min() > 0.995 and own.scores["flip"].max() < 0.01
    )
    assert (own.scores["alpha_iou"] == 1).all() and (
        other.scores["alpha_iou"] == 1
    ).all()  # they differ in colour alone
    assert other.scores["psnr"].max() < 25 and other.scores["flip"].min() > 10 * own.scores["flip"].max()
    assert {k: v.tolist() for k, v in own.groups().items()} == {
        "all": [True] * 3, "full body": [True, False, True], "close-up": [False, True, False]
    }  # fmt: skip
    assert [i for i, _ in other.worst] == other.frames[np.argsort(other.scores["psnr"])].tolist()


def test_flicker_stands_beside_a_static_texture(avatar):
    only = Avatar("one", avatar.rig, {"other": avatar.renderers["other"]})
    assert list(measure_flicker(only, "other", 3, SIZE)) == ["other"]
    both = measure_flicker(avatar, "other", 3, SIZE)
    assert set(both) == {"other", "texture"} and all(0 < v < 15 for v in both.values())


def test_dinar_evaluate(avatar, folder, tmp_path, capsys):
    avatar.save(tmp_path / "a")
    command = ["evaluate", str(tmp_path / "a"), str(folder), "--renderer", "all", "--flicker", "2"]
    assert main([*command, "--json", str(tmp_path / "e.json"), "--sheet", str(tmp_path / "e.png")]) == 0
    out = capsys.readouterr().out
    assert "full body" in out and "close-up" in out and "MS-SSIM" in out and "LPIPS and DISTS not run" in out
    report = json.loads((tmp_path / "e.json").read_text())
    first, second = report["renderers"]
    assert (first["renderer"], second["renderer"], report["split"]) == ("texture", "other", "validation")
    assert first["mean"]["all"]["frames"] == 3 and first["mean"]["close-up"]["frames"] == 1
    assert first["mean"]["all"]["psnr"] == pytest.approx(np.mean([f["psnr"] for f in first["frames"]]))
    assert [f["framing"] for f in first["frames"]] == ["full body", "upper body", "full body"]
    assert set(second["flicker"]) == {"other", "texture"}
    assert cv2.imread(str(tmp_path / "e.png")).shape[1] > 1500
    for wrong, says in (
        (["--renderer", "none"], "the avatar has texture, other"),
        (["--flicker", "1"], "--flicker"),
        (["--sheet", "e.jpg"], "--sheet"),
        (["--json", str(tmp_path / "no" / "e.json")], "--json"),
    ):
        assert main([*command, *wrong]) == 2 and says in capsys.readouterr().err


def test_perceptual_scores_come_with_weights(avatar, folder, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    from dinar_live.export.dinar.lpips import CHANNELS, STAGES

    backbone, before = {}, 3
    for stage, channels in zip(STAGES, CHANNELS, strict=True):
        for i in stage:
            backbone[f"features.{i}.weight"] = torch.full((channels, before, 3, 3), 1 / before)
            backbone[f"features.{i}.bias"] = torch.zeros(channels)
            before = channels
    torch.save(backbone, tmp_path / "vgg.pth")
    torch.save(
        {f"lin{k}.model.1.weight": torch.ones(1, c, 1, 1) for k, c in enumerate(CHANNELS)},
        tmp_path / "lpips.pth",
    )
    torch.save({k: torch.ones(1, 1475, 1, 1) for k in ("alpha", "beta")}, tmp_path / "dists.pth")
    avatar.save(tmp_path / "a")
    vgg, scores = str(tmp_path / "vgg.pth"), tmp_path / "e.json"
    write_capture(tmp_path / "one", split=np.array([0, 0, 0, 0, 0, 1]))
    (tmp_path / "one" / "images").symlink_to(folder / "images")
    command = [
        "evaluate",
        str(tmp_path / "a"),
        str(tmp_path / "one"),
        "--renderer",
        "all",
        "--flicker",
        "0",
        "--json",
        str(scores),
    ]
    assert (
        main(
            [
                *command,
                "--lpips",
                vgg,
                str(tmp_path / "lpips.pth"),
                "--dists",
                vgg,
                str(tmp_path / "dists.pth"),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "LPIPS" in out and "DISTS" in out and "not run" not in out
    own, other = (r["mean"]["all"] for r in json.loads(scores.read_text())["renderers"])
    assert own["lpips"] < 0.1 * other["lpips"] and own["dists"] < 0.1 * other["dists"]


@pytest.mark.parametrize("person", ["ada", "marco", "kofi"])
def test_the_shared_captures_can_be_read(shared, person):
    c = Capture.open(shared / "people" / person)
    assert (len(c), len(c.frames("validation")), c.size) == (260, 40, (512, 512))
    assert c.image(259).shape == (512, 512, 4)
