"""DINAR's sampler against a float64 re-derivation on a toy network, and what it promises about seeds, steps
and bad input."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dinar_live.export.dinar.ddim import Draws, condition, erode, sample  # noqa: E402
from dinar_live.export.dinar.schedule import ddim_steps, ddim_timesteps  # noqa: E402
from dinar_live.export.networks.schedule import noise_schedule  # noqa: E402
from dinar_live.runtime.core.errors import InputError  # noqa: E402

SHAPE = (2, 6, 12, 12)
MIX = np.random.RandomState(0).randn(6, 13) / 8


def unet(x, t, cond):
    """Linear in its inputs, and it depends on t."""
    both = torch.cat([x, cond], 1)
    return torch.einsum("oc,bchw->bohw", torch.from_numpy(MIX).to(both), both) * (
        0.5 + t.to(both)[:, None, None, None] / 2000
    )


def make_cond(seed=1):
    r = np.random.RandomState(seed)
    mask = np.zeros((2, 1, 12, 12))
    mask[0, 0, 2:9, 3:12] = mask[1, 0, :, :5] = 1
    return torch.from_numpy(np.concatenate([r.randn(*SHAPE), mask], 1).astype(np.float32))


def rederived(cond, x, n1, n2, steps, eta):
    """All of it again in float64 numpy, from beta on."""
    beta = np.linspace(0.0003**0.5, 0.02**0.5, 1000) ** 2
    kept = np.float64(np.float32(np.cumprod(1 - beta)))
    times = [1 + k * (1000 // steps) for k in range(steps)]
    cond = cond.numpy().astype(np.float64)
    x = x.astype(np.float64)
    m = np.ones_like(cond[:, 6:])
    padded = np.pad(cond[:, 6], ((0, 0), (1, 1), (1, 1)), constant_values=1)
    for dy in range(3):
        for dx in range(3):
            m[:, 0] = np.minimum(m[:, 0], padded[:, dy : dy + 12, dx : dx + 12])
    for count, k in enumerate(reversed(range(steps))):
        a, before = kept[times[k]], kept[times[k - 1]] if k else kept[0]
        sigma = eta * np.sqrt((1 - before) / (1 - a)) * np.sqrt(1 - a / before)
        x = (np.sqrt(a) * cond[:, :6] + np.sqrt(1 - a) * n1[count]) * m + (1 - m) * x
        e = np.einsum("oc,bchw->bohw", MIX, np.concatenate([x, cond], 1)) * (0.5 + times[k] / 2000)
        clean = (x - np.sqrt(1 - a) * e) / np.sqrt(a)
        x = np.sqrt(before) * clean + np.sqrt(1 - before - sigma**2) * e + sigma * n2[count]
    return x


@pytest.mark.parametrize("steps, eta", [(200, 1.0), (20, 1.0), (50, 0.0), (1, 1.0), (8, 0.5)])
def test_sample_against_float64(steps, eta):
    r = np.random.RandomState(2)
    x_T, n1, n2 = (
        r.randn(*SHAPE).astype(np.float32),
        r.randn(steps, *SHAPE).astype(np.float32),
        r.randn(steps, *SHAPE).astype(np.float32),
    )
    cond = make_cond()
    noise = torch.from_numpy(n1), torch.from_numpy(n2)
    draws = Draws(x_T=torch.from_numpy(x_T), noise=noise)
    got = sample(unet, cond, steps=steps, eta=eta, draws=draws, progress=False)
    want = rederived(cond, x_T, n1, n2, steps, eta)
    assert np.abs(got.numpy() - want).max() < 1e-4 * max(1, np.abs(want).max())
    assert got.dtype == torch.float32 and tuple(got.shape) == SHAPE


def test_noise_may_be_a_function():
    r = np.random.RandomState(3)
    n = torch.from_numpy(r.randn(2, 4, *SHAPE).astype(np.float32))
    x_T = torch.from_numpy(r.randn(*SHAPE).astype(np.float32))
    a = sample(unet, make_cond(), steps=4, draws=Draws(x_T=x_T, noise=(n[0], n[1])), progress=False)
    draws = Draws(x_T=x_T, noise=lambda i: (n[0, i], n[1, i]))
    b = sample(unet, make_cond(), steps=4, draws=draws, progress=False)
    assert torch.equal(a, b)


def test_draw_order_and_seed():
    g = torch.Generator().manual_seed(11)
    draws = [torch.randn(SHAPE, generator=g) for _ in range(7)]
    noise = torch.stack([draws[1], draws[3]]), torch.stack([draws[2], draws[4]])
    want = sample(unet, make_cond(), steps=2, draws=Draws(x_T=draws[0], noise=noise), progress=False)
    assert torch.equal(sample(unet, make_cond(), steps=2, draws=Draws(seed=11), progress=False), want)
    torch.manual_seed(5)  # the global state neither matters nor moves
    state = torch.get_rng_state()
    assert torch.equal(
        sample(
            unet,
            make_cond(),
            steps=2,
            draws=Draws(generator=torch.Generator().manual_seed(11)),
            progress=False,
        ),
        want,
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(sample(unet, make_cond(), steps=2, draws=Draws(seed=12), progress=False), want)


def test_the_network_sees_whole_timesteps_downwards():
    seen = []

    def spy(x, t, cond):
        assert t.dtype == torch.int64 and t.shape == (2,) and not torch.is_grad_enabled()
        seen.append(int(t[0]))
        return torch.zeros_like(x)

    sample(spy, make_cond(), progress=False)
    assert seen == list(range(996, 0, -5))


@pytest.mark.parametrize(
    "steps, first, last, count",
    [
        (200, 1, 996, 200),
        (20, 1, 951, 20),
        (1, 1, 1, 1),
        (2, 1, 501, 2),
        (300, 1, 997, 333),
        (3, 1, 667, 3),
        (500, 1, 999, 500),
        (1000, 1, 999, 999),
        (999, 1, 999, 999),
    ],
)
def test_timesteps(steps, first, last, count):
    t = ddim_timesteps(steps)
    stride = 1000 // steps
    assert t[0] == first and t[-1] <= 999 and (np.diff(t) == stride).all()
    assert list(t) == [k for k in range(1, 1000, stride)]
    assert (t[-1], len(t)) == (last, count)
    plan = ddim_steps(steps)
    assert len(plan) == len(t) and np.isfinite(plan.sigma).all() and (plan.sigma >= 0).all()
    assert (1 - plan.alpha_prev - plan.sigma**2 > -1e-9).all()


def test_schedule_golden(shared):
    z = np.load(shared / "golden" / "schedule.npz")
    ours = noise_schedule()
    assert set(ours) == set(z.files)
    for name, value in ours.items():
        np.testing.assert_allclose(value.astype(np.float32), z[name], rtol=1e-6)


def test_known_region_ends_near_what_is_known():
    """With a network that predicts the noise of a given latent, the known region comes back."""
    cond, kept = make_cond(), torch.from_numpy(noise_schedule()["alphas_cumprod"]).float()

    def oracle(x, t, c):
        a = kept[t][:, None, None, None]
        return (x - a.sqrt() * c[:, :6]) / (1 - a).sqrt()

    got = sample(oracle, cond, steps=100, progress=False)
    assert (got - cond[:, :6]).abs().max() < 0.2  # ends at the noise level of alpha_0


def test_condition_takes_every_fourth_texel():
    mask = torch.rand(1, 1, 48, 48)
    c = condition(torch.zeros(1, 6, 12, 12), mask)
    assert c.shape == (1, 7, 12, 12) and torch.equal(c[:, 6:], mask[..., ::4, ::4])


def test_erosion_leaves_the_border():
    m = torch.ones(1, 1, 6, 6)
    assert torch.equal(erode(m), m)
    m[..., 3, 3] = 0
    assert int(erode(m).sum()) == 36 - 9


def test_autocast_stays_close():
    full = sample(unet, make_cond(), steps=5, progress=False)
    half = sample(unet, make_cond(), steps=5, progress=False, autocast=torch.bfloat16)
    assert half.dtype == torch.float32 and not torch.equal(half, full) and (half - full).abs().max() < 0.2


@pytest.mark.parametrize(
    "arguments, says",
    [
        (dict(steps=0), "steps"),
        (dict(steps=1001), "steps"),
        (dict(steps=2.5), "steps"),
        (dict(eta=-1), "eta"),
        (dict(eta=float("nan")), "eta"),
        (dict(draws=Draws(x_T=torch.zeros(1, 6, 12, 12))), "x_T"),
        (dict(draws=Draws(noise=(torch.zeros(3, *SHAPE), torch.zeros(4, *SHAPE)))), "noise"),
        (dict(draws=Draws(noise=lambda i: (torch.zeros(1), torch.zeros(1)))), "noise 0"),
        (dict(cond=torch.zeros(1, 6, 4, 4)), "cond"),
        (dict(cond=torch.full((1, 7, 4, 4), torch.nan)), "cond"),
    ],
)
def test_bad_input(arguments, says):
    cond = arguments.pop("cond", make_cond())
    with pytest.raises(InputError, match=says):
        sample(unet, cond, **({"steps": 4} | arguments), progress=False)


def test_a_network_that_breaks_is_named():
    with pytest.raises(InputError, match="network returned NaN"):
        sample(lambda x, t, c: x * torch.nan, make_cond(), steps=2, progress=False)
