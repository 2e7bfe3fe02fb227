"""Crops, losses, the network against its ONNX file, and a training that learns, stops, and goes on."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dinar_live.engines import create_engine  # noqa: E402
from dinar_live.export.fit import half  # noqa: E402
from dinar_live.export.fit.colours import filled_texture, mean_texture  # noqa: E402
from dinar_live.export.fit.losses import _ssim, picture_loss  # noqa: E402
from dinar_live.export.fit.network import HalfRenderer, from_blocks, to_blocks  # noqa: E402
from dinar_live.export.fit.pipeline import eight_bits, network_renderer  # noqa: E402
from dinar_live.export.fit.samples import Crops, surface_uv  # noqa: E402
from dinar_live.export.fit.state import save_state  # noqa: E402
from dinar_live.export.fit.train import Model, Settings, Trainer, leaky_clamp  # noqa: E402
from dinar_live.export.metrics.structure import ssim  # noqa: E402
from dinar_live.export.texture_space import texels  # noqa: E402
from dinar_live.runtime.core.errors import InputError  # noqa: E402

RUNG = half.Rung("light", 16, 5, 3)


def test_features_are_those_of_the_kernel(person):
    from dinar_live import kernels
    from dinar_live.export.fit.colours import rastered

    rig, rng = person.truth.rig, np.random.default_rng(0)
    colour, neural = rng.random((64, 64, 4), np.float32), rng.random((32, 32, 5), np.float32)
    raster = rastered(rig, person.frames[0])
    expected = kernels.gather_half(raster, rig.uv, rig.uv_faces, colour, neural)
    model = Model(colour[..., :3], RUNG, 0)
    with torch.no_grad():
        model.neural.copy_(torch.from_numpy(neural.transpose(2, 0, 1).copy()))
        uv, mask = (torch.from_numpy(a[None]) for a in surface_uv(rig, raster))
        seen, looks = model.features(uv, mask)
        blocks = torch.cat([to_blocks(seen), looks], 1)[0].numpy()
    assert 0.05 < (expected[..., 16:] > 0).any(-1).mean() < 0.9
    np.testing.assert_allclose(blocks.transpose(1, 2, 0), expected, atol=1e-4)


def test_blocks_and_back():
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    assert to_blocks(x)[0, :, 0, 1].tolist() == [
        x[0, c, p // 2, 2 + p % 2] for p in range(4) for c in range(3)
    ]
    assert torch.equal(from_blocks(to_blocks(x)), x)


@pytest.mark.parametrize("head", [1, 3])
def test_network_is_its_onnx_file(head):
    network = HalfRenderer(half.Rung("light", 16, 7, head), seed=2)
    with torch.no_grad():
        network.convs["head"].normal_(0, 0.05)
    rng = np.random.default_rng(0)
    x = rng.random((2, 16 + 7, 40, 32), np.float32)
    x[:, :, :, 20:] = 0
    with torch.no_grad():
        want = network.blocks(torch.from_numpy(x)).numpy()
    session = create_engine(half.build_onnx(network.numpy_weights()), "openvino", "f32").compile((2, 40, 32))
    session.inputs["features"][...] = x
    session.enqueue()
    session.synchronize()
    np.testing.assert_allclose(session.outputs["correction"], want, atol=2e-5)
    assert want.std() > 0.01


def test_what_is_learned_is_what_is_composed():
    """The torch network and the kernel that ends a frame blend alike."""
    from dinar_live.kernels.reference import half as reference

    network = HalfRenderer(RUNG, seed=1)
    with torch.no_grad():
        network.convs["head"].normal_(0, 0.1)
        seen = torch.rand(1, 4, 32, 40)
        seen[:, 3:] = (seen[:, 3:] > 0.4).float()
        seen[:, :3] *= seen[:, 3:]
        neural = torch.rand(1, 5, 16, 20)
        rgb, alpha = network(seen, neural)
        features = torch.cat([to_blocks(seen), neural], 1)
        correction = network.blocks(features)
    turned = (a[0].permute(1, 2, 0).numpy() for a in (features, correction))
    want, _ = reference.compose_half(*turned)
    got = torch.cat([rgb * alpha, alpha], 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(255 * got, want, atol=1e-3)


def test_new_network_shows_the_mesh_and_weights_are_checked():
    network = HalfRenderer(RUNG)
    x = torch.rand(1, 4, 16, 16)
    x[:, 3] = 1
    x[:, :, 8:] = 0
    with torch.no_grad():
        rgb, alpha = network(x, torch.rand(1, 5, 8, 8))
    assert torch.equal(rgb[:, :, :8], x[:, :3, :8])  # the colour itself on the mesh
    assert torch.allclose(alpha[0, 0, 6:10, 5], torch.tensor([1, 2 / 3, 1 / 3, 0]))  # a soft outline
    assert (
        torch.allclose(rgb[0, :, 8, 5], x[0, :3, 7, 4:7].mean(1)) and not rgb[0, :, 9:].any()
    )  # of the colour beside it
    weights = network.numpy_weights()
    with pytest.raises(ValueError, match="weights of up4"):
        half.build_onnx({k: v for k, v in weights.items() if k != "up4"})
    with pytest.raises(ValueError, match="weights of decode2"):
        half.build_onnx({**weights, "decode2": weights["decode2"][:8]})
    for wrong, says in (
        (dict(width=24), "multiple of 16"),
        (dict(neural=49), "0..48"),
        (dict(head=2), "1 or 3"),
    ):
        with pytest.raises(ValueError, match=says):
            dataclasses.replace(RUNG, **wrong)


def test_the_ladder_costs_what_it_may():
    light, lite = half.LADDER
    window = 512, 448  # of the body in a picture of 512x512
    assert half.gflop(lite, window) <= 1.5 < half.gflop(light, window) < 6
    assert half.gflop(light, (256, 512)) == pytest.approx(half.gflop(light) / 2)


@pytest.mark.parametrize("rung", half.LADDER, ids=lambda r: r.name)
def test_reach_is_what_one_pixel_does(rung):
    weights = half.random_weights(rung)
    session = create_engine(half.build_onnx(weights), "openvino", "f32").compile((1, 64, 64))
    farthest = 0
    for at in range(60, 68):
        for sign in (-1, 1):
            x = np.zeros((64, 64, 16 + rung.neural), np.float32)
            x[at // 2, at // 2] = sign * np.random.default_rng(at).standard_normal(16 + rung.neural)
            session.inputs["features"][0] = 20 * x.transpose(2, 0, 1)
            session.enqueue()
            session.synchronize()
            touched = np.nonzero(
                from_blocks(torch.from_numpy(session.outputs["correction"].copy()))[0].any(0).numpy()
            )
            farthest = max(farthest, *(np.abs(a - at).max() for a in touched))
    assert half.reach(rung) - 16 <= farthest <= half.reach(rung)


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
    model = Model(filled_texture(rig, texels(rig, 64), texture, weight), RUNG, 0)
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


@pytest.mark.slow
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
    spec = network_renderer(model)
    assert spec.texture.dtype == spec.neural.dtype == np.uint8 and spec.margin == half.reach(RUNG)
    assert spec.texture.shape == (64, 64, 3) and spec.neural.shape == (32, 32, 5)
    with pytest.raises(InputError, match="another training"):
        rig = person.truth.rig
        Trainer(
            Model(np.zeros((32, 32, 3), np.float32), RUNG, 0),
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
