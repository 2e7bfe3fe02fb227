"""One photo to an avatar with full-size random networks: it streams, stages resume, same seed same bytes, bad
input is refused."""

import hashlib
import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dinar_live.cli.main import main  # noqa: E402
from dinar_live.export.checkpoint import save_random_checkpoint  # noqa: E402
from dinar_live.export.networks.model import UvLayout  # noqa: E402
from dinar_live.export.work import Work, fingerprint  # noqa: E402
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer  # noqa: E402
from dinar_live.runtime.core.errors import DinarError  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    body = Body.open()
    path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
    save_random_checkpoint(path, seed=1, uv_layout=UvLayout(body.uv_faces, body.uv))
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def photo(shared):
    d = shared / "people" / "ada" / "photo"
    return ["--photo", str(d / "photo.png"), "--mask", str(d / "mask.png"), "--smplx", str(d / "smplx.npz")]


def digest(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.slow
def test_one_photo_to_an_avatar_that_streams(checkpoint, photo, tmp_path, capsys, monkeypatch):
    from dinar_live.export.dinar import pipeline

    common = [
        "export",
        *photo,
        "--no-compile",
        "--checkpoint",
        str(checkpoint),
        "--steps",
        "1",
        "--tune-steps",
        "0",
        "--seed",
        "7",
        "--name",
        "ada",
    ]
    assert main([*common, "--out", str(tmp_path / "a"), "--keep-work"]) == 0
    assert "of the surface" in capsys.readouterr().out
    avatar = Avatar.load(tmp_path / "a")
    assert list(avatar.renderers) == ["dinar"] and avatar.renderers["dinar"].texture.shape == (256, 256, 21)
    with Renderer(avatar, (128, 128), background_compile=False) as r:
        rgba = r.render(Pose(), Camera.orbit(avatar.rig.joints[0], (128, 128))).rgba
    assert (rgba[..., 3] == 255).sum() > 500  # hardsegm: the body itself is opaque
    report = json.loads((tmp_path / "a_report.json").read_text())
    assert max(report["parity_max_error"].values()) < 2 / 255 and "not run" in report["lpips"]
    assert cv2.imread(str(tmp_path / "a_report.png")).shape[1] > 1000
    assert len(list((tmp_path / "a.work").iterdir())) == 2

    # again from the kept stages: no network of the first part runs, the avatar is the same byte for byte
    def refuse(*args):
        raise AssertionError("a finished stage was computed again")

    with monkeypatch.context() as m:
        m.setattr(pipeline, "_view_textures", refuse)
        m.setattr(pipeline, "_inpaint", refuse)
        assert main([*common, "--out", str(tmp_path / "a"), "--overwrite"]) == 0
    resumed = digest(tmp_path / "a")
    assert not (tmp_path / "a.work").exists()

    # from the start in another place: same seed, same bytes
    assert main([*common, "--out", str(tmp_path / "b")]) == 0
    assert digest(tmp_path / "b") == resumed


def test_bad_input_is_one_line_and_leaves_nothing(checkpoint, photo, shared, tmp_path, capsys):
    d = shared / "people" / "ada" / "photo"
    cv2.imwrite(str(tmp_path / "small.png"), np.full((64, 64), 255, np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((1024, 1024), np.uint8))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    fit = dict(np.load(d / "smplx.npz"))
    fit["transl"] = fit["transl"] + np.float32(50)
    np.savez(tmp_path / "away.npz", **fit)
    fit["transl"] = np.full((1, 3), np.nan, np.float32)
    np.savez(tmp_path / "nan.npz", **fit)
    (tmp_path / "evil.pkl").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."
    )
    good = {
        "--photo": d / "photo.png",
        "--mask": d / "mask.png",
        "--smplx": d / "smplx.npz",
        "--checkpoint": checkpoint,
    }
    before = sorted(p.name for p in tmp_path.iterdir())
    for change, says in (
        ({"--mask": tmp_path / "small.png"}, "64x64"),
        ({"--mask": tmp_path / "black.png"}, "is empty"),
        ({"--smplx": tmp_path / "away.npz"}, "belong together"),
        ({"--smplx": tmp_path / "nan.npz"}, "NaN"),
        ({"--smplx": tmp_path / "evil.pkl"}, "system"),
        ({"--checkpoint": tmp_path / "absent.ckpt"}, "no such file"),
        ({"--checkpoint": tmp_path / "text.ckpt"}, "text.ckpt"),
        ({"--assets": tmp_path}, "v_inds.npy"),
        ({"--steps": 0}, "steps"),
    ):
        command = [
            "export",
            "--out",
            str(tmp_path / "out"),
            *(str(x) for pair in (good | change).items() for x in pair),
        ]
        assert main(command) == 2, change
        err = capsys.readouterr().err
        assert says in err and err.count("\n") == 1, err
        assert sorted(p.name for p in tmp_path.iterdir()) == before, change


def test_a_layout_of_another_body_is_refused(photo, tmp_path, capsys):
    body = Body.open()
    faces = body.uv_faces.copy()
    faces[[0, 1]] = faces[[1, 0]]
    path = tmp_path / "other.safetensors"
    # only the layout is read before it is refused, so the networks need not be there
    from dinar_live.export.networks.random_weights import RandomStateDict
    from dinar_live.export.networks.storage import write_safetensors

    weights = RandomStateDict(0, UvLayout(faces, body.uv), False)
    keys = [k for k in weights if "rasterizer" in k or k.startswith("first_stage.encoder.final")]
    write_safetensors(path, {k: weights.spec(k) for k in keys}, weights.__getitem__)
    assert main(["export", *photo, "--checkpoint", str(path), "--out", str(tmp_path / "x")]) == 2
    assert "another body" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_stages_are_kept_by_key(tmp_path):
    (tmp_path / "f").write_bytes(b"1")
    key = fingerprint([tmp_path / "f"], {"a": 1})
    assert key != fingerprint([tmp_path / "f"], {"a": 2})
    (tmp_path / "f").write_bytes(b"2")
    assert key != fingerprint([tmp_path / "f"], {"a": 1})
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3)}

    for k in ("k1", "k1", "k2"):
        np.testing.assert_array_equal(Work(tmp_path / "w", k).stage("s", compute)["x"], np.arange(3))
    assert len(calls) == 2
    next((tmp_path / "w").glob("s-k1*")).write_bytes(b"torn")
    with pytest.raises(DinarError, match="start again"):
        Work(tmp_path / "w", "k1").stage("s", compute)


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DinarError, match="No space left"):
        Work(tmp_path / "w", "k").stage("s", lambda: {"x": np.arange(3)})
    assert not list((tmp_path / "w").iterdir())
