"""DISTS from brought weights: equal to its definition written out in numpy, zero for equal pictures, wrong
files refused."""

import numpy as np
import pytest
from scipy.signal import correlate2d

torch = pytest.importorskip("torch")

from dinar_live.export.dinar import lpips  # noqa: E402
from dinar_live.export.metrics import dists  # noqa: E402
from dinar_live.runtime.core.errors import CheckpointError  # noqa: E402


@pytest.fixture(scope="module")
def weights():
    rng = torch.Generator().manual_seed(0)
    backbone, before = {}, 3
    for stage, channels in zip(lpips.STAGES, lpips.CHANNELS, strict=True):
        for i in stage:
            backbone[f"features.{i}.weight"] = (
                torch.randn(channels, before, 3, 3, generator=rng) * (2 / (9 * before)) ** 0.5
            )
            backbone[f"features.{i}.bias"] = torch.randn(channels, generator=rng) * 0.1
            before = channels
    return backbone, {k: torch.rand(1, 1475, 1, 1, generator=rng) for k in ("alpha", "beta")}


def reference(backbone, weights, a, b):
    """f64, one picture f64[3,H,W] each."""

    def features(x):
        out = [x]
        x = (x - np.array(dists.MEAN)[:, None, None]) / np.array(dists.DEVIATION)[:, None, None]
        window = np.hanning(5)[1:-1]
        window = np.outer(window, window) / np.outer(window, window).sum()
        for k, stage in enumerate(lpips.STAGES):
            if k:
                x = np.stack([np.sqrt(correlate2d(c**2, window, "same")[::2, ::2] + 1e-12) for c in x])
            for i in stage:
                w, bias = (
                    backbone[f"features.{i}.{kind}"].numpy().astype(np.float64) for kind in ("weight", "bias")
                )
                p = np.pad(x, ((0, 0), (1, 1), (1, 1)))
                h, v = x.shape[1:]
                patches = np.stack([p[:, r : r + h, s : s + v] for r in range(3) for s in range(3)], 1)
                x = np.maximum(
                    np.tensordot(w.reshape(len(w), -1), patches.reshape(-1, h, v), 1) + bias[:, None, None], 0
                )
            out.append(x)
        return out

    terms = []
    for x, y in zip(features(a), features(b), strict=True):
        x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
        mx, my = x.mean(1), y.mean(1)
        cov = (x * y).mean(1) - mx * my
        terms.append(
            [(2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6), (2 * cov + 1e-6) / (x.var(1) + y.var(1) + 1e-6)]
        )
    l, s = (np.concatenate(t) for t in zip(*terms, strict=True))
    alpha, beta = (weights[k].numpy().astype(np.float64).ravel() for k in ("alpha", "beta"))
    return 1 - ((alpha * l).sum() + (beta * s).sum()) / (alpha.sum() + beta.sum())


def test_it_is_the_definition(weights):
    a, b = (torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    with torch.no_grad():
        got, same = dists.Dists(*weights)(a, b), dists.Dists(*weights)(a, a)
    want = [
        reference(*weights, x.numpy().astype(np.float64), y.numpy().astype(np.float64))
        for x, y in zip(a, b, strict=True)
    ]
    assert got.shape == (2,) and min(want) > 0.01
    np.testing.assert_allclose(got, want, atol=2e-4)
    assert same.abs().max() < 1e-5


def test_files(weights, tmp_path):
    from safetensors.torch import save_file

    for name, value in zip(("vgg", "weights"), weights, strict=True):
        save_file(value, str(tmp_path / f"{name}.safetensors"))
    x = torch.rand(1, 3, 32, 32)
    loaded = dists.load_dists(tmp_path / "vgg.safetensors", tmp_path / "weights.safetensors")
    assert torch.equal(loaded(x, 1 - x), dists.Dists(*weights)(x, 1 - x))
    with pytest.raises(CheckpointError, match="missing"):
        dists.load_dists(tmp_path / "weights.safetensors", tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="expected \\[1,1475,1,1\\]"):
        dists.Dists(weights[0], {"alpha": torch.ones(1, 10, 1, 1), "beta": torch.ones(1, 1475, 1, 1)})
