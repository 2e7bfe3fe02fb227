"""Crops, losses, the network against its ONNX file, and a training that learns, stops, and goes on."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dinar_live.engines import create_engine  # noqa: E402
from dinar_live.export.fit import light  # noqa: E402
from dinar_live.export.fit.colours import filled_texture, mean_texture  # noqa: E402
from dinar_live.export.fit.losses import _ssim, picture_loss  # noqa: E402
from dinar_live.export.fit.network import LightRenderer  # noqa: E402
from dinar_live.export.fit.pipeline import eight_bits, light_renderer  # noqa: E402
from dinar_live.export.fit.samples import Crops, surface_uv  # noqa: E402
from dinar_live.export.fit.state import save_state  # noqa: E402
from dinar_live.export.fit.train import Model, Settings, Trainer, leaky_clamp  # noqa: E402
from dinar_live.export.metrics.structure import ssim  # noqa: E402
from dinar_live.export.texture_space import texels  # noqa: E402
from dinar_live.runtime.core.errors import InputError  # noqa: E402


def features_of(uv, mask, texture):
    """What gather_uv gives, from uv [H,W,2], mask [H,W] and texture [T,T,C]: by the kernel itself would need
    a raster."""
    model = Model(texture[..., :3], texture.shape[2] - 3, 16, 0)
    with torch.no_grad():
        model.neural.copy_(torch.from_numpy(texture[..., 3:].transpose(2, 0, 1).copy()))
        return model.features(torch.from_numpy(uv[None]), torch.from_numpy(mask[None])).numpy()[0]


def test_features_are_those_of_the_kernel(person):
    from dinar_live import kernels
    from dinar_live.export.fit.colours import rastered

    rig = person.truth.rig
    texture = np.random.default_rng(0).random((64, 64, 7)).astype(np.float32)
    raster = rastered(rig, person.frames[0])
    expected = kernels.gather_uv(raster, rig.uv, rig.uv_faces, texture)
    np.testing.assert_allclose(features_of(*surface_uv(rig, raster), texture), expected, atol=1e-4)


def test_network_is_its_onnx_file():
    network = LightRenderer(7, 16, seed=2)
    with torch.no_grad():
        network.convs["head"].normal_(0, 0.05)
    rng = np.random.default_rng(0)
    x = rng.random((2, 10, 40, 32), np.float32)
    x[:, :, :, 20:] = 0
    x[:, 7:9, :, 20:] = -10
    x[:, 9] = x[:, 9] > 0.3
    with torch.no_grad():
        rgb, alpha = network(torch.from_numpy(x))
    session = create_engine(light.build_onnx(network.numpy_weights()), "openvino", "f32").compile((2, 40, 32))
    session.inputs["features"][...] = x
    session.enqueue()
    session.synchronize()
    np.testing.assert_allclose(session.outputs["rgb"], rgb.numpy(), atol=2e-5)
    np.testing.assert_allclose(session.outputs["alpha"], alpha.numpy(), atol=2e-5)
    assert 0.05 < alpha.mean() < 0.95


def test_new_network_shows_the_mesh_and_weights_are_checked():
    network = LightRenderer(5, 16)
    x = torch.rand(1, 8, 16, 16)
    x[:, -1] = 1
    x[:, :, 8:] = 0
    with torch.no_grad():
        rgb, alpha = network(x)
    assert torch.equal(rgb[:, :, :8], x[:, :3, :8])  # the colour itself on the mesh
    assert torch.allclose(alpha[0, 0, 6:10, 5], torch.tensor([1, 2 / 3, 1 / 3, 0]))  # a soft outline
    assert (
        torch.allclose(rgb[0, :, 8, 5], x[0, :3, 7, 4:7].mean(1)) and not rgb[0, :, 9:].any()
    )  # of the colour beside it
    weights = network.numpy_weights()
    assert not weights["stem"][:, 5:7].any()
    with pytest.raises(ValueError, match="weights of up4"):
        light.build_onnx({k: v for k, v in weights.items() if k != "up4"})
    weights["stem"][0, 5] = 1
    with pytest.raises(ValueError, match="u and v"):
        light.build_onnx(weights)
    with pytest.raises(ValueError, match="at least 3"):
        list(light.layers(2))


def test_crops_show_the_mesh_where_the_picture_shows_the_person(person):
    crops = Crops(person.truth.rig, person.frames, size=96)
    overlap = []
    for step in range(6):
        b = crops.batch(step, 4)
        assert (
            b.uv.shape == (4, 96, 96, 2) and b.truth.shape == (4, 4, 96, 96) and b.weight.shape == (4, 96, 96)
        )
        person_there = (b.truth[:, 3] > 0.5) & (b.weight > 0)
        mesh = (b.mask > 0) & (b.weight > 0)
        overlap.append((person_there & mesh).sum() / (person_there | mesh).sum())
    assert min(overlap) > 0.93, overlap
    again = crops.batch(5, 4)
    assert all(np.array_equal(x, y) for x, y in zip(b, again, strict=True))
    assert not np.array_equal(crops.batch(6, 4).truth, b.truth)


def test_loss_is_zero_only_for_the_truth():
    rng = torch.Generator().manual_seed(0)
    rgb, alpha = torch.rand(1, 3, 48, 48, generator=rng), torch.rand(1, 1, 48, 48, generator=rng)
    truth, weight = torch.cat([rgb * alpha, alpha], 1), torch.ones(1, 1, 48, 48)
    assert float(picture_loss(rgb, alpha, truth, weight)) == pytest.approx(0, abs=1e-5)
    for worse in (
        picture_loss(rgb * 0.9, alpha, truth, weight),
        picture_loss(rgb, alpha * 0.9, truth, weight),
    ):
        assert float(worse) > 0.01
    outside = weight.clone()
    outside[..., 24:] = 0
    changed = rgb.clone()
    changed[..., 40:] = 0  # far from what counts
    assert float(picture_loss(changed, alpha, truth, outside)) == pytest.approx(0, abs=1e-5)


def test_ssim_of_the_loss_is_the_metric():
    rng = np.random.default_rng(0)
    a = rng.random((64, 64, 3)).astype(np.float32)
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32)
    x, y = (torch.from_numpy(p.transpose(2, 0, 1)[None].copy()) for p in (a, b))
    inner = _ssim(x, y)[..., 5:-5, 5:-5].mean()
    assert float(inner) == pytest.approx(ssim(a, b), abs=2e-4)


def test_leaky_clamp_brings_back_what_is_outside():
    x = torch.tensor([-0.5, 0.25, 1.5], requires_grad=True)
    y = leaky_clamp(x)
    y.sum().backward()
    assert y.tolist() == [0, 0.25, 1] and x.grad[1] == 1 and 0 < x.grad[0] < 0.1 and 0 < x.grad[2] < 0.1


def trainer(person, steps: int, file=None):
    rig = person.truth.rig
    texture, weight = mean_texture(rig, person.frames, 64)
    model = Model(filled_texture(rig, texels(rig, 64), texture, weight), 5, 16, 0)
    crops = Crops(rig, person.frames, size=64)
    settings = Settings(steps=steps, batch=2, size=64, bf16=False)
    return Trainer(model, lambda step: crops.batch(step, 2), settings, file)


def held_loss(t: Trainer) -> float:
    """Mean loss over crops that no step takes."""
    out = []
    for step in range(1000, 1010):
        uv, mask, truth, weight = (torch.from_numpy(a) for a in t._batches(step))
        with torch.no_grad():
            out.append(float(picture_loss(*t.model(uv, mask), truth, weight[:, None])))
    return float(np.mean(out))


def test_training_learns_and_goes_on_where_it_was(person, tmp_path):
    torch.manual_seed(0)
    steps = []
    whole = trainer(person, 150)
    before = held_loss(whole)
    whole.run(lambda step, loss: steps.append(step))
    assert steps == list(range(1, 151)) and held_loss(whole) < 0.95 * before

    file = tmp_path / "train.safetensors"
    first = trainer(person, 150, file)

    def stop(step, _):
        if step == 70:
            save_state(file, first.model, first.average, first._optimizer, first.step)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    second = trainer(person, 150, file)
    assert second.step == 70
    model = second.run()
    for name, p in whole.model.named_parameters():
        torch.testing.assert_close(p, dict(model.named_parameters())[name], atol=1e-4, rtol=1e-3, msg=name)
    spec = light_renderer(model)
    assert (
        spec.texture.dtype == np.uint8 and spec.texture.shape == (64, 64, 8) and spec.margin == light.reach()
    )
    with pytest.raises(InputError, match="another training"):
        rig = person.truth.rig
        Trainer(
            Model(np.zeros((32, 32, 3), np.float32), 5, 16, 0),
            Crops(rig, person.frames).batch,
            Settings(),
            file,
        )


def test_a_broken_batch_is_told_to_the_trainer(person):
    t = trainer(person, 3)
    t._batches = lambda step: 1 / 0
    with pytest.raises(ZeroDivisionError):
        t.run()


def test_eight_bits_rounds_and_clips():
    assert eight_bits(np.array([[[-1.0, 0.5, 2.0]]])).tolist() == [[[0, 128, 255]]]
