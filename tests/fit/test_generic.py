"""Renderers for everybody: what they are told of a person, that training sees what drawing gives, and files."""

import dataclasses

import numpy as np
import pytest

from dinar_live.export.completion import renderers as generic
from dinar_live.export.fit import half
from dinar_live.runtime import Avatar
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError

KNOWN = len(generic.KNOWN)


def test_known_channels_are_in_the_unit_range():
    rng = np.random.default_rng(0)
    flat = rng.random((8, 8), np.float32)
    normal = np.zeros((3, 8, 8), np.float32)
    normal[2] = 1
    offset = rng.normal(0, 0.1, (3, 8, 8)).astype(np.float32)
    known = generic.known_channels(0.01 * flat, flat, offset, normal, flat, flat)
    assert known.shape == (KNOWN, 8, 8) and known.min() >= 0 and known.max() <= 1
    np.testing.assert_allclose(known[2], np.clip(offset[2] / generic.OUTWARDS, 0, 1), atol=1e-6)
    along = np.hypot(offset[0], offset[1]) / generic.ALONG
    np.testing.assert_allclose(known[5], np.clip(along, 0, 1), atol=1e-6)


def some_renderer(known: int = 4, seed: int = 0) -> generic.GenericRenderer:
    pytest.importorskip("onnx")
    rung = half.Rung("lite", 16, 8, 1)
    shared = np.random.default_rng(seed).integers(0, 256, (generic.MAP, generic.MAP, 8 - known), np.uint8)
    return generic.GenericRenderer(
        half.build_onnx(half.random_weights(rung)), shared, known, half.reach(rung), 512
    )


def test_files_come_back_and_damage_is_refused(tmp_path):
    first = {"lite": some_renderer()}
    generic.write_renderers(first, tmp_path, "made up")
    assert generic.shipped(tmp_path) and not generic.shipped(tmp_path / "no")
    again = generic.read_renderers(tmp_path)["lite"]
    np.testing.assert_array_equal(again.shared, first["lite"].shared)
    assert again.model == first["lite"].model and (again.known, again.margin, again.texels) == (
        4,
        first["lite"].margin,
        512,
    )
    data = bytearray((tmp_path / "lite.map").read_bytes())
    data[0] ^= 1
    (tmp_path / "lite.map").write_bytes(data)
    with pytest.raises(InputError, match="lite.map: missing, damaged or replaced"):
        generic.read_renderers(tmp_path)


def avatar_with(person, renderer: generic.GenericRenderer) -> Avatar:
    """The test person's true avatar with made-up knowledge."""
    rng = np.random.default_rng(2)
    colour = person.truth.renderers["texture"].texture
    known = rng.random((generic.NEURAL,) * 2 + (KNOWN,), np.float32)
    return dataclasses.replace(person.truth, renderers={"lite": renderer.spec(colour, known)}, checks=None)


def test_training_sees_what_drawing_gives(person):
    """The features of a batch are those of the kernel for the avatar's neural texture."""
    torch = pytest.importorskip("torch")
    from dinar_live import kernels
    from dinar_live.export.fit.colours import rastered
    from dinar_live.export.fit.generic import GenericModel
    from dinar_live.export.fit.network import to_blocks
    from dinar_live.export.fit.samples import surface_uv
    from dinar_live.export.fit.train import block_places, sampled

    model = GenericModel(half.LADDER[1], 0)
    assert model.renderer().shared.shape == (generic.MAP, generic.MAP, 4)
    avatar = avatar_with(person, model.renderer())
    spec: RendererSpec = avatar.renderers["lite"]
    assert spec.neural is not None and spec.neural.shape[2] == 8
    raster = rastered(avatar.rig, person.frames[0])
    colour, neural = (np.float32(a) / 255 for a in (spec.texture, spec.neural))
    colour = np.dstack([colour, np.zeros_like(colour[..., :1])])
    expected = kernels.gather_half(raster, avatar.rig.uv, avatar.rig.uv_faces, colour, neural)
    uv, mask = (torch.from_numpy(a[None]) for a in surface_uv(avatar.rig, raster))
    planes = torch.from_numpy(np.ascontiguousarray(spec.neural.transpose(2, 0, 1))).float() / 255
    with torch.no_grad():
        m = mask[:, None]
        seen = torch.cat([sampled(torch.from_numpy(colour[..., :3].transpose(2, 0, 1).copy()), uv) * m, m], 1)
        place, covered = block_places(uv, mask)
        known = torch.zeros(1, KNOWN, *covered.shape[1:])
        known[:, :4] = sampled(planes[:4], place) * covered[:, None]
        seen, looks = model.features(seen, known, place, covered)
        blocks = torch.cat([to_blocks(seen), looks], 1)[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(blocks, expected, atol=1 / 255)


def test_a_network_for_everybody_learns(person):
    torch = pytest.importorskip("torch")
    from dinar_live.export.fit.generic import GenericModel, Someone, mixed, untrained
    from dinar_live.export.fit.losses import picture_loss
    from dinar_live.export.fit.train import Settings, Trainer

    torch.manual_seed(0)
    rig = person.truth.rig
    dull = dataclasses.replace(person.truth.renderers["texture"], texture=np.full((64, 64, 3), 128, np.uint8))
    spec = untrained()["light"].spec(dull.texture, np.zeros((32, 32, KNOWN), np.float32))
    people = [Someone(Avatar("a", rig, {"light": spec}), person.frames, 64, k) for k in (0, 1)]
    rung = dataclasses.replace(half.LADDER[1], width=16)
    trainer = Trainer(
        GenericModel(rung, 0), lambda step: mixed(people, 0, step, 2), Settings(steps=120, batch=2, size=64)
    )

    def held() -> float:
        out = []
        for step in range(1000, 1010):
            *inputs, truth, weight = (torch.from_numpy(a) for a in mixed(people, 0, step, 2))
            with torch.no_grad():
                rgb, alpha = trainer.model.network(*trainer.model.features(*inputs))
                out.append(float(picture_loss(rgb, alpha, truth, weight[:, None])))
        return float(np.mean(out))

    before = held()
    trainer.run()
    assert held() < 0.95 * before
