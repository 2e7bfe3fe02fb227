"""LPIPS from brought weights: equal to its definition written out, zero for equal pictures, wrong files
refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dinar_live.export.dinar.lpips import CHANNELS, STAGES, Lpips, load_lpips  # noqa: E402
from dinar_live.runtime.core.errors import CheckpointError  # noqa: E402


@pytest.fixture(scope="module")
def weights():
    rng = torch.Generator().manual_seed(0)
    backbone, before = {}, 3
    for stage, channels in zip(STAGES, CHANNELS, strict=True):
        for i in stage:
            backbone[f"features.{i}.weight"] = (
                torch.randn(channels, before, 3, 3, generator=rng) * (2 / (9 * before)) ** 0.5
            )
            backbone[f"features.{i}.bias"] = torch.randn(channels, generator=rng) * 0.1
            before = channels
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=rng) for k, c in enumerate(CHANNELS)}
    return backbone, heads


def test_it_is_the_definition(weights):
    """The backbone as an nn.Sequential in torchvision's numbering, in float64."""
    backbone, heads = weights
    layers, before = [], 3
    for k, (stage, channels) in enumerate(zip(STAGES, CHANNELS, strict=True)):
        if k:
            layers.append(torch.nn.MaxPool2d(2))
        for _ in stage:
            layers += [torch.nn.Conv2d(before, channels, 3, padding=1), torch.nn.ReLU()]
            before = channels
    vgg = torch.nn.Sequential(*layers).double()
    vgg.load_state_dict({name.removeprefix("features."): value.double() for name, value in backbone.items()})
    taps = [
        i
        for i, layer in enumerate(layers)
        if isinstance(layer, torch.nn.ReLU)
        and (i + 1 == len(layers) or isinstance(layers[i + 1], torch.nn.MaxPool2d))
    ]

    def features(x):
        x = (x.double() - torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(1, 3, 1, 1)
        out = []
        for i, layer in enumerate(vgg):
            x = layer(x)
            if i in taps:
                out.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    a, b = (torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(s)) * 2 - 1 for s in (1, 2))
    with torch.no_grad():
        want = sum(
            ((x - y) ** 2 * heads[f"lin{k}.model.1.weight"]).sum(1).mean((1, 2))
            for k, (x, y) in enumerate(zip(features(a), features(b), strict=True))
        )
        got = Lpips(*weights)(a, b)
    assert got.shape == (2, 1, 1, 1)
    np.testing.assert_allclose(got.ravel(), want, rtol=1e-4)
    assert float(Lpips(*weights)(a, a).abs().max()) == 0


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_files(weights, tmp_path, kind):
    from safetensors.torch import save_file

    for name, value in zip(("vgg", "heads"), weights, strict=True):
        (torch.save if kind == "pth" else save_file)(value, str(tmp_path / f"{name}.{kind}"))
    x = torch.rand(1, 3, 32, 32)
    loaded = load_lpips(tmp_path / f"vgg.{kind}", tmp_path / f"heads.{kind}")
    assert torch.equal(loaded(x, 1 - x), Lpips(*weights)(x, 1 - x))
    with pytest.raises(CheckpointError, match="missing"):
        load_lpips(tmp_path / f"heads.{kind}", tmp_path / f"heads.{kind}")
    (tmp_path / "text").write_text("no weights here, sorry")
    for path in ("text", "absent"):
        with pytest.raises(CheckpointError, match=path):
            load_lpips(tmp_path / path, tmp_path / f"heads.{kind}")
