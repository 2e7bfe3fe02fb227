"""Texture tuning: the optimizer and the losses against loops, a whole run against a float64 re-derivation,
resuming, and bad input."""

import copy
import dataclasses

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dinar_live.export.dinar.tuning import (  # noqa: E402
    TuningInputs,
    TuningOptions,
    blended_rgb,
    final_mask,
    tune,
    tuned_texture,
)
from dinar_live.export.dinar.tuning_losses import (  # noqa: E402
    gradient_mask,
    loss_mask,
    r1_penalty,
    random_crop,
    tuning_raster,
)
from dinar_live.export.dinar.zero_adam import ZeroAdam  # noqa: E402
from dinar_live.runtime.core.errors import InputError  # noqa: E402

T, S = 16, 24
QUIET = pytest.mark.filterwarnings("ignore:tuning runs without")


class ToyRenderer(torch.nn.Module):
    """A textured lookup, mixed by one convolution; composed over the background."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(21, 3, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(3)  # must stay in eval mode

    def forward(self, uv, uv_mask, texture, background=None, threshold=0.0):
        assert threshold == 0 and bool((background == 1).all()) and not self.training
        looked_up = (
            torch.nn.functional.grid_sample(texture, uv.permute(0, 2, 3, 1), align_corners=True) * uv_mask
        )
        rgb = (torch.tanh(self.norm(self.mix(looked_up))) + 1) / 2
        return 2 * (rgb * uv_mask + background * (1 - uv_mask)) - 1, uv_mask


def toy_discriminator(size=S):
    torch.manual_seed(1)
    last = torch.nn.Linear(4 * ((size - 1) // 2) ** 2, 1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Softplus(), torch.nn.Flatten(), last)


def make_inputs(size=S, dtype=torch.float32, seed=0):
    r = np.random.RandomState(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    inside = (np.hypot(x - 0.5, y - 0.5) < 0.4)[None, None]
    uv = np.where(inside, np.stack([1.8 * x - 0.9, 1.8 * y - 0.9])[None], -10)
    segm = (y > 0.2)[None, None] & inside
    mask = np.clip(r.rand(1, 1, T, T) * 1.5, 0, 1)
    t = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(dtype)  # noqa: E731
    return TuningInputs(
        texture=t(r.rand(1, 21, T, T)),
        decoded=t(r.rand(1, 21, T, T)),
        mask=t(mask),
        normal_angles=t(np.where(r.rand(1, 1, T, T) < 0.3, 0, r.rand(1, 1, T, T))),
        uv=t(uv),
        uv_mask=t(inside * 1.0),
        real_rgb=t(np.where(segm, r.uniform(-1, 1, (1, 3, size, size)), 1)),
        segm=t(segm * 1.0),
        pixels=r.uniform(0, size, (40, 2)),
    )


def test_zero_adam_against_loops():
    r = np.random.RandomState(0)
    start = [r.randn(3, 2).astype(np.float32), r.randn(4).astype(np.float32), r.randn(2).astype(np.float32)]
    params = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in start]
    optimizer = ZeroAdam(params, lr=0.1)
    value, v, count = [a.astype(np.float64) for a in start], [np.zeros(a.shape) for a in start], [0, 0, 0]
    for step in range(7):
        for k, p in enumerate(params):
            g = r.randn(*p.shape).astype(np.float32)
            g[r.rand(*p.shape) < 0.4] = 0
            if k == 1 and step % 2:
                g[:] = 0  # all zero: skipped, not even counted
            p.grad = None if k == 2 and step < 3 else torch.from_numpy(g)
            if p.grad is not None and g.any():
                count[k] += 1
                for i in np.ndindex(*p.shape):
                    v[k][i] = 0.99 * v[k][i] + 0.01 * float(g[i]) ** 2
                    value[k][i] -= 0.1 * g[i] / (np.sqrt(v[k][i] / (1 - 0.99 ** count[k])) + 1e-8)
        optimizer.step()
    for p, want in zip(params, value, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), want, atol=2e-5)
    assert [optimizer.state[p]["step"] for p in params] == count and count[1] < 7 and count[2] < 7
    with pytest.raises(TypeError):
        optimizer.step(lambda: None)


def test_gradient_mask_by_hand():
    angles = np.random.RandomState(1).rand(T, T).astype(np.float32)
    raw = [[a * max(1 - np.exp((0.6 - a) * 20), 0) for a in row] for row in angles.astype(np.float64)]
    padded = np.pad(raw, 2, mode="reflect")
    want = [[padded[y : y + 5, x : x + 5].mean() for x in range(T)] for y in range(T)]
    before = angles.copy()
    np.testing.assert_allclose(gradient_mask(angles), want, atol=1e-6)
    np.testing.assert_array_equal(angles, before)
    assert not gradient_mask(np.full((8, 8), 0.59, np.float32)).any()


def test_raster_and_loss_mask():
    i = make_inputs()
    uv, mask = tuning_raster(i.uv, i.uv_mask)
    want = cv2.erode(i.uv_mask[0, 0].numpy(), np.ones((3, 3), np.uint8))
    np.testing.assert_array_equal(mask[0, 0].numpy(), want)
    assert (uv[0][:, want == 0] == -1).all() and torch.equal(uv[0][:, want == 1], i.uv[0][:, want == 1])
    np.testing.assert_array_equal(loss_mask(uv, i.segm)[0, 0].numpy(), want * i.segm[0, 0].numpy())


def test_r1_of_a_known_function():
    real = torch.rand(2, 3, 4, 4)
    weight = torch.nn.Parameter(torch.rand(48, 1))
    penalty = r1_penalty(real, lambda x: x.flatten(1) @ weight)
    torch.testing.assert_close(penalty, 0.1 / 2 * 16 * weight.square().sum())
    (g,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(g, 0.1 * 16 * weight)


def rederived(inputs, steps, rescale, lpips=None, crops=None):
    """P, alpha, beta after all steps, float64: plain autograd, losses and Adam written out."""
    f = {
        k: getattr(inputs, k)
        for k in ("texture", "decoded", "mask", "normal_angles", "uv", "uv_mask", "real_rgb", "segm")
    }
    renderer, D = ToyRenderer().double().eval(), toy_discriminator(inputs.uv.shape[-1]).double()
    e = torch.from_numpy(cv2.erode(f["uv_mask"][0, 0].numpy(), np.ones((3, 3), np.uint8)))[None, None]
    uv = torch.where(e > 0, f["uv"], -1.0)
    lm = ((uv > -1).sum(1, keepdim=True) > 0) * f["segm"]
    lam = f["normal_angles"][0, 0].numpy()
    g_mask = torch.from_numpy(cv2.blur(lam * np.maximum(1 - np.exp(20 * (0.6 - lam)), 0), (5, 5)))
    P = f["texture"][:, 16:19].clone().requires_grad_()
    alpha, beta = (
        torch.ones(1, 3, 1, 1).double().requires_grad_(),
        torch.zeros(1, 3, 1, 1).double().requires_grad_(),
    )
    white, real = torch.ones_like(f["real_rgb"]), f["real_rgb"]
    moments = {}

    def adam(p, g, lr):
        if g is None or not bool((g != 0).any()):
            return
        n, v = moments.get(p, (0, torch.zeros_like(p)))
        n, v = n + 1, 0.99 * v + 0.01 * g**2
        moments[p] = n, v
        p.data -= lr * g / (torch.sqrt(v / (1 - 0.99**n)) + 1e-8)

    def render(k):
        d = f["decoded"].clone()
        if k < rescale:
            rgb = d[:, 16:19] * alpha + beta
        else:
            rgb = P * f["mask"] + (d[:, 16:19] * alpha.detach() + beta.detach()) * (1 - f["mask"])
        return renderer(uv, e, torch.cat([d[:, :16], rgb, d[:, 19:]], 1), white)[0]

    soft = lambda x: torch.log1p(torch.exp(x))  # noqa: E731
    for k in range(steps):
        fake = render(k)
        loss = ((real * lm - fake * lm) ** 2).mean() + 0.01 * soft(-D(fake * lm)).mean()
        if lpips:
            x, y = crops[k]
            loss = loss + lpips(
                (fake * lm)[..., y : y + 256, x : x + 256], (real * lm)[..., y : y + 256, x : x + 256]
            )
        grads = torch.autograd.grad(loss, [P, alpha, beta], allow_unused=True)
        for p, g in zip((P, alpha, beta), grads, strict=True):
            adam(p, g * g_mask if p is P and g is not None else g, 2e-3)
        if k % 16 == 0:
            x = real.clone().requires_grad_()
            (gx,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
            loss = 0.05 * 16 * (gx**2).sum()
        else:
            loss = 0.01 * (soft(-D(real * lm)).mean() + soft(D(render(k).detach() * lm)).mean())
        weights = list(D.parameters())
        for p, g in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            adam(p, g, 4e-4)
    return P.detach(), alpha.detach(), beta.detach()


@QUIET
@pytest.mark.parametrize("steps, back", [(20, False), (3, True), (1, False)])
def test_tune_against_float64(steps, back):
    got = tune(
        ToyRenderer(),
        toy_discriminator(),
        make_inputs(),
        TuningOptions(steps=steps, finetune_back=back),
        progress=False,
    )
    want = rederived(make_inputs(dtype=torch.float64), 2 * steps if back else steps, steps if back else 0)
    inputs = make_inputs()
    assert (got.rgb - inputs.texture[:, 16:19]).abs().max() > 1e-3
    for g, w in zip((got.rgb, got.alpha, got.beta), want, strict=True):
        assert (g.double() - w).abs().max() < 1e-4
    assert got.step == len(got.history) == (2 * steps if back else steps)
    assert back == bool((got.alpha != 1).any())
    assert [("r1" in h) for h in got.history] == [k % 16 == 0 for k in range(got.step)]
    unseen = torch.from_numpy(gradient_mask(inputs.normal_angles[0, 0].numpy()) == 0)
    assert unseen.any() and torch.equal(got.rgb[..., unseen], inputs.texture[:, 16:19][..., unseen])


def test_tune_with_a_perceptual_loss():
    distance = lambda a, b: (a - b).abs().mean((1, 2, 3))  # noqa: E731
    inputs = make_inputs(size=272)
    got = tune(
        ToyRenderer(),
        toy_discriminator(272),
        inputs,
        TuningOptions(steps=3, seed=4),
        lpips=distance,
        progress=False,
    )
    g = torch.Generator().manual_seed(4)
    crops = []
    for _ in range(3):
        x, y = inputs.pixels[int(torch.randint(40, (1,), generator=g))]
        crops.append(tuple(int(np.clip(int(c), 128, 272 - 129)) - 128 for c in (x, y)))
    want, _, _ = rederived(make_inputs(272, torch.float64), 3, 0, lambda a, b: distance(a, b).mean(), crops)
    assert (got.rgb.double() - want).abs().max() < 1e-4 and "lpips" in got.history[0]


def test_random_crop_stays_inside():
    g = torch.Generator().manual_seed(0)
    pixels = np.array([[-50.0, 900], [300, 256], [511, 0]])
    for _ in range(20):
        x, y = random_crop(pixels, (512, 512), g)
        assert 0 <= x <= 255 and 0 <= y <= 255
    assert random_crop(pixels[:1], (256, 256), g) == (0, 0)
    assert random_crop(pixels[1:2], (512, 512), g) == (172, 128)
    with pytest.raises(InputError, match="LPIPS"):
        random_crop(pixels, (255, 512), g)


def test_the_missing_loss_is_said():
    with pytest.warns(UserWarning, match="without the LPIPS"):
        tune(ToyRenderer(), toy_discriminator(), make_inputs(), TuningOptions(steps=1), progress=False)


@QUIET
def test_interrupted_tuning_goes_on_as_if_it_had_not_been():
    whole = tune(
        ToyRenderer(),
        toy_discriminator(),
        make_inputs(),
        TuningOptions(steps=6, finetune_back=True),
        progress=False,
    )
    half = tune(
        ToyRenderer(),
        toy_discriminator(),
        make_inputs(),
        TuningOptions(steps=6, finetune_back=True, stop_after=7),
        progress=False,
    )
    assert half.step == 7
    kept = copy.deepcopy(half)
    rest = tune(
        ToyRenderer(),
        toy_discriminator(),
        make_inputs(),
        TuningOptions(steps=6, finetune_back=True),
        state=half,
        progress=False,
    )
    assert (
        rest.step == 12
        and torch.equal(rest.rgb, whole.rgb)
        and torch.equal(rest.alpha, whole.alpha)
        and rest.history == whole.history
    )
    assert torch.equal(half.rgb, kept.rgb) and len(half.history) == 7  # the given state stays what it was
    for a, b in zip(half.optimizers, kept.optimizers, strict=True):
        for i in a["state"]:
            assert torch.equal(a["state"][i]["v"], b["state"][i]["v"])
    assert (
        tune(
            ToyRenderer(),
            None,
            make_inputs(),
            TuningOptions(steps=6, finetune_back=True),
            state=rest,
            progress=False,
        )
        is rest
    )


@QUIET
def test_modules_are_left_as_they_were():
    renderer, discriminator = ToyRenderer().train(), toy_discriminator()
    discriminator[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in discriminator.state_dict().items()} | {
        k: v.clone() for k, v in renderer.state_dict().items()
    }
    state = tune(renderer, discriminator, make_inputs(), TuningOptions(steps=2), progress=False)
    after = discriminator.state_dict() | renderer.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert (
        renderer.training and renderer.mix.weight.requires_grad and not discriminator[0].weight.requires_grad
    )
    assert renderer.mix.weight.grad is None and renderer.mix.weight.is_contiguous()
    assert not torch.equal(state.discriminator["3.weight"], before["3.weight"])


@QUIET
def test_steps_seed_and_reuse():
    inputs = make_inputs()
    none = tune(ToyRenderer(), None, inputs, TuningOptions(steps=0), progress=False)
    assert torch.equal(none.rgb, inputs.texture[:, 16:19]) and none.step == 0
    a, b = (
        tune(ToyRenderer(), toy_discriminator(), inputs, TuningOptions(steps=5), progress=False)
        for _ in range(2)
    )
    assert torch.equal(a.rgb, b.rgb)
    half = tune(
        ToyRenderer(),
        toy_discriminator(),
        inputs,
        TuningOptions(steps=5, autocast=torch.bfloat16),
        progress=False,
    )
    assert not torch.equal(half.rgb, a.rgb) and (half.rgb - a.rgb).abs().mean() < 2e-3
    calls = []

    class Counting(ToyRenderer):
        def forward(self, *arguments):
            calls.append(torch.is_grad_enabled())
            return super().forward(*arguments)

    tune(Counting(), toy_discriminator(), inputs, TuningOptions(steps=5), progress=False)
    assert calls.count(True) == 5 and calls.count(False) == 4  # none where R1 stands alone
    calls.clear()
    tune(Counting(), toy_discriminator(), inputs, TuningOptions(steps=5, reuse_render=True), progress=False)
    assert calls == [True] * 5


def test_final_texture_by_hand():
    r = np.random.RandomState(3)
    inputs = make_inputs()
    binary, additive = np.float32(r.rand(T, T) > 0.3), np.float32(r.rand(T, T) > 0.9) * np.float32(0.5)
    k = np.clip(inputs.mask[0, 0].numpy() + 1 - binary, 0, 1)
    padded = np.pad(k, ((4, 5), (4, 5)), mode="reflect").astype(np.float64)
    k = np.array([[padded[y : y + 10, x : x + 10].mean() for x in range(T)] for y in range(T)])
    k = np.clip(np.clip(k - (1 - binary), 0, 1) + additive, 0, 1)
    got = final_mask(inputs.mask, torch.from_numpy(binary), torch.from_numpy(additive))
    np.testing.assert_allclose(got[0, 0].numpy(), k, atol=1e-5)
    state = tune(ToyRenderer(), None, inputs, TuningOptions(steps=0), progress=False)
    state.alpha[:], state.beta[:] = 0.9, 0.05
    texture = tuned_texture(inputs, state, torch.from_numpy(binary), torch.from_numpy(additive))[0].numpy()
    d, m, p = inputs.decoded[0].numpy(), inputs.mask[0, 0].numpy(), state.rgb[0].numpy()
    np.testing.assert_array_equal(texture[:16], d[:16])
    np.testing.assert_array_equal(texture[19:], d[19:])
    matched = d[16:19] * 0.9 + 0.05
    np.testing.assert_allclose(texture[16:19], k * (p * m + matched * (1 - m)) + (1 - k) * matched, atol=1e-5)
    blended = blended_rgb(inputs.decoded[:, 16:19], inputs.mask, state.rgb, state.alpha, state.beta)
    np.testing.assert_allclose(blended[0].numpy(), p * m + matched * (1 - m), atol=1e-6)


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(texture=torch.zeros(1, 20, T, T)), "texture"),
        (dict(mask=torch.zeros(1, 1, 8, 8)), "mask"),
        (dict(segm=torch.zeros(1, S, S)), "segm"),
        (dict(real_rgb=torch.full((1, 3, S, S), torch.nan)), "real_rgb.*NaN"),
    ],
)
def test_bad_inputs(change, says):
    with pytest.raises(InputError, match=says):
        dataclasses.replace(make_inputs(), **change)


@QUIET
def test_bad_calls():
    for steps in (-1, 2.5, 10**9):
        with pytest.raises(InputError, match="tuning steps"):
            tune(
                ToyRenderer(), toy_discriminator(), make_inputs(), TuningOptions(steps=steps), progress=False
            )
    with pytest.raises(InputError, match="autocast"):
        tune(
            ToyRenderer(),
            toy_discriminator(),
            make_inputs(),
            TuningOptions(steps=1, autocast=torch.float16),
            progress=False,
        )
    with pytest.raises(InputError, match="no discriminator"):
        tune(ToyRenderer(), None, make_inputs(), TuningOptions(steps=1), progress=False)
    discriminator = toy_discriminator()
    with torch.no_grad():
        discriminator[3].bias[:] = torch.nan
    with pytest.raises(InputError, match="losses"):
        tune(ToyRenderer(), discriminator, make_inputs(), TuningOptions(steps=1), progress=False)
    assert torch.isnan(discriminator[3].bias).all() and discriminator[0].weight.requires_grad
