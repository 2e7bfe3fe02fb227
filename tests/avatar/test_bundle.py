"""Bundles: what is written is read back; what is damaged or hostile is refused with one clear error; nothing
is left half-written."""

import hashlib
import json
import os
import struct
import zipfile
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import safetensors.numpy

from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar import Checks, RendererSpec
from dinar_live.runtime.core.errors import BundleError


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    rng = np.random.default_rng(0)
    rig = Body.open().rig(np.ones(3))
    renderers = {
        "texture": RendererSpec(rng.integers(0, 256, (32, 32, 3), np.uint8), samples=2),
        "light": RendererSpec(
            rng.normal(size=(16, 16, 8)).astype(np.float16),
            model=b"not really onnx",
            hardsegm=True,
            threshold=0.5,
            margin=40,
            stride=8,
        ),
    }
    n = 2
    checks = Checks(
        body=np.zeros((n, 55, 3), np.float32),
        transl=np.zeros((n, 3), np.float32),
        expression=np.zeros((n, 62), np.float32),
        K=np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
        world_to_camera=np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)),
        rgba={k: rng.integers(0, 256, (n, 8, 6, 4), np.uint8) for k in renderers},
    )
    return Avatar(
        name="ann", rig=rig, renderers=renderers, licence="CC0", checks=checks, provenance={"method": "test"}
    )


@pytest.fixture
def bundle(avatar, tmp_path):
    avatar.save(tmp_path / "ann")
    return tmp_path / "ann"


def edit_manifest(bundle, change):
    manifest = json.loads((bundle / "avatar.json").read_text())
    change(manifest)
    (bundle / "avatar.json").write_text(json.dumps(manifest))


def rewrite(bundle, name, content):
    """Replace a file and its hash, as an attacker would."""
    (bundle / name).write_bytes(content)
    edit_manifest(bundle, lambda m: m["sha256"].update({name: hashlib.sha256(content).hexdigest()}))


@pytest.mark.parametrize("name", ["ann", "ann.zip"])
def test_round_trip(avatar, tmp_path, name):
    avatar.save(tmp_path / name)
    got = Avatar.load(tmp_path / name)
    assert (got.name, got.licence, got.body_kind, got.provenance) == (
        "ann",
        "CC0",
        "open",
        {"method": "test"},
    )
    for key, value in avatar.rig.arrays().items():
        np.testing.assert_array_equal(got.rig.arrays()[key], value)
    assert got.rig.expression_names == avatar.rig.expression_names
    assert list(got.renderers) == ["texture", "light"]
    for key, spec in avatar.renderers.items():
        np.testing.assert_array_equal(got.renderers[key].texture, spec.texture)
        assert [
            getattr(got.renderers[key], f)
            for f in ("model", "hardsegm", "threshold", "samples", "margin", "stride")
        ] == [getattr(spec, f) for f in ("model", "hardsegm", "threshold", "samples", "margin", "stride")]
        np.testing.assert_array_equal(got.checks.rgba[key], avatar.checks.rgba[key])
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_u8_texture_is_scaled(avatar):
    texture = avatar.renderers["texture"]
    np.testing.assert_allclose(texture.float_texture(), texture.texture / 255, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [
        "rig.safetensors",
        "renderers/light/model.onnx",
        "renderers/texture/texture.safetensors",
        "check/texture_0.png",
    ],
)
def test_a_changed_byte_is_found(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}.*sha256"):
        Avatar.load(bundle)


@pytest.mark.parametrize(
    "name", ["rig.safetensors", "renderers/light/model.onnx", "check/poses.safetensors", "avatar.json"]
)
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.* missing"):
        Avatar.load(bundle)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda m: m.update(schema=2), "schema"),
        (lambda m: m.pop("schema"), "schema"),
        (lambda m: m.update(name=5), "'name'"),
        (lambda m: m.update(renderers={}), "no renderers"),
        (lambda m: m.update(renderers=[]), "'renderers'"),
        (lambda m: m["renderers"].update({"../../etc": {}}), "renderer"),
        (lambda m: m["renderers"].update({"ghost": {}}), "ghost"),
        (lambda m: m["renderers"]["texture"].update(samples=3), "samples"),
        (lambda m: m["renderers"]["light"].update(margin=-1), "margin"),
        (lambda m: m["renderers"]["light"].update(threshold="0.5"), "threshold"),
        (lambda m: m["renderers"]["light"].update(stride=7), "stride"),
        (lambda m: m.update(expression_names=["a"]), "expression names"),
        (lambda m: m.update(expression_names=[{}]), "expression_names"),
        (lambda m: m["sha256"].pop("rig.safetensors"), "rig.safetensors"),
    ],
)
def test_bad_manifests(bundle, change, says):
    edit_manifest(bundle, change)
    with pytest.raises(BundleError, match=says):
        Avatar.load(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null"])
def test_manifests_that_are_no_json_object(bundle, content):
    (bundle / "avatar.json").write_bytes(content)
    with pytest.raises(BundleError, match="avatar.json"):
        Avatar.load(bundle)


def hostile_rigs(arrays):
    yield "faces", {**arrays, "faces": arrays["faces"] + 20000}
    yield "faces", {**arrays, "faces": -arrays["faces"] - 1}
    yield "skin_index", {**arrays, "skin_index": np.full_like(arrays["skin_index"], 55)}
    yield "skin_weight", {**arrays, "skin_weight": arrays["skin_weight"] * 2}
    yield "vertices", {**arrays, "vertices": np.full_like(arrays["vertices"], np.inf)}
    yield "vertices", {**arrays, "vertices": arrays["vertices"].astype(np.float64)}
    yield "joints", {**arrays, "joints": arrays["joints"][:54]}
    yield "uv_faces", {**arrays, "uv_faces": arrays["uv_faces"][:5]}
    yield "uv", {k: v for k, v in arrays.items() if k != "uv"}
    yield "extra", {**arrays, "extra": np.zeros(3, np.float32)}
    yield "T <= 400000", {**arrays, "uv": np.zeros((400_001, 2), np.float32)}


@pytest.mark.parametrize("case", range(11))
def test_hostile_rigs_with_a_right_hash(bundle, avatar, case):
    says, arrays = list(hostile_rigs(avatar.rig.arrays()))[case]
    rewrite(
        bundle,
        "rig.safetensors",
        safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}),
    )
    with pytest.raises(BundleError, match=says):
        Avatar.load(bundle)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        (64).to_bytes(8, "little")
        + b'{"texture":{"dtype":"F32","shape":[99999999999,9],"data_offsets":[0,4]}}'.ljust(64)
        + bytes(4),
        (2**60).to_bytes(8, "little") + b"{}",
        b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",  # a pickle
    ],
)
def test_files_that_are_no_safetensors(bundle, content):
    rewrite(bundle, "renderers/texture/texture.safetensors", content)
    with pytest.raises(BundleError, match="texture.safetensors"):
        Avatar.load(bundle)


def test_a_picture_that_unpacks_to_gigabytes_is_not_unpacked(bundle, monkeypatch):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)
    chunks = b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in ((b"IHDR", header), (b"IEND", b""))
    )
    rewrite(bundle, "check/texture_0.png", b"\x89PNG\r\n\x1a\n" + chunks)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(BundleError, match="texture_0.png.*at most"):
        Avatar.load(bundle)


def test_a_pipe_does_not_block_the_reader(bundle):
    (bundle / "rig.safetensors").unlink()
    os.mkfifo(bundle / "rig.safetensors")
    with pytest.raises(BundleError, match="rig.safetensors.*no plain file"):
        Avatar.load(bundle)


def test_links_out_of_the_folder_are_refused(bundle, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (bundle / "rig.safetensors").unlink()
    (bundle / "rig.safetensors").symlink_to(secret)
    with pytest.raises(BundleError, match="leads out"):
        Avatar.load(bundle)


def test_zip_traps(bundle, tmp_path):
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
        z.write(bundle / "avatar.json", "avatar.json")
    with pytest.raises(BundleError, match="uncompressed"):
        Avatar.load(packed)
    crowded = tmp_path / "crowded.zip"
    with zipfile.ZipFile(crowded, "w") as z:
        for i in range(300):
            z.writestr(f"f{i}", b"")
    with pytest.raises(BundleError, match="256 files"):
        Avatar.load(crowded)
    (tmp_path / "no.zip").write_bytes(b"PK")
    for path in ("no.zip", "absent"):
        with pytest.raises(BundleError, match=path):
            Avatar.load(tmp_path / path)


def test_existing_things_are_kept(avatar, bundle, tmp_path):
    with pytest.raises(BundleError, match="--overwrite"):
        avatar.save(bundle)
    replace(avatar, name="new").save(bundle, overwrite=True)
    assert Avatar.load(bundle).name == "new"
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1").write_text("important")
    with pytest.raises(BundleError, match="not an avatar bundle"):
        avatar.save(other, overwrite=True)
    assert (other / "chapter1").read_text() == "important"


@pytest.mark.parametrize("name", ["ann", "ann.zip"])
def test_a_failed_write_leaves_nothing(avatar, tmp_path, name, monkeypatch):
    (tmp_path / "d").mkdir()
    broken = replace(avatar, rig=replace(avatar.rig, expression_names=("a", "b")))  # refused on reading back
    with pytest.raises(BundleError, match="expression names"):
        broken.save(tmp_path / "d" / name)
    assert list((tmp_path / "d").iterdir()) == []


def test_a_failed_overwrite_keeps_the_old_one(avatar, bundle):
    broken = replace(avatar, rig=replace(avatar.rig, expression_names=("a", "b")))
    with pytest.raises(BundleError):
        broken.save(bundle, overwrite=True)
    assert Avatar.load(bundle).name == "ann"
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["ann"]


@pytest.mark.parametrize(
    "spec, says",
    [
        (lambda: RendererSpec(np.zeros((8, 8, 4), np.uint8)), "3 channels"),
        (lambda: RendererSpec(np.zeros((8, 8, 3), np.int32)), "dtype"),
        (lambda: RendererSpec(np.zeros((8, 8, 65), np.float32), model=b"x"), "C <= 64"),
        (lambda: RendererSpec(np.full((8, 8, 3), np.nan, np.float32)), "NaN"),
        (lambda: RendererSpec(np.zeros((8, 8, 3), np.uint8), model=b"x", samples=2), "samples"),
    ],
)
def test_bad_renderer_specs(spec, says):
    with pytest.raises(BundleError, match=says):
        spec()
