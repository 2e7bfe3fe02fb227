"""The networks of the exporter through torch.compile (on the CPU), and what is refused."""

import shutil

import pytest

torch = pytest.importorskip("torch")

from dinar_live.export.dinar import backends  # noqa: E402
from dinar_live.export.dinar.backends import check_backend, compiled  # noqa: E402
from dinar_live.export.dinar.ddim import Draws, sample  # noqa: E402
from dinar_live.export.dinar.pipeline import Settings  # noqa: E402
from dinar_live.runtime.core.errors import InputError  # noqa: E402


class Small(torch.nn.Module):
    """As the U-Net is called: noise of x, t and what is known."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(13, 16, 3, padding=1)
        self.second = torch.nn.Conv2d(16, 6, 3, padding=1)

    def forward(self, x, t, cond):
        y = torch.nn.functional.silu(
            self.first(torch.cat([x, cond], 1)) + t.float()[:, None, None, None] / 1000
        )
        return self.second(y)


def known():
    cond = torch.randn(1, 7, 16, 16, generator=torch.Generator().manual_seed(1))
    cond[:, 6] = (cond[:, 6] > 0).float()
    return cond


@pytest.mark.slow
def test_inductor_on_the_cpu_gives_the_same_sample():
    if not shutil.which("g++") and not shutil.which("clang++"):
        pytest.skip("torch.compile needs a C++ compiler")
    options = {"steps": 4, "draws": Draws(3), "progress": False}
    eager = sample(Small(), known(), **options)
    try:
        fast = sample(Small(), known(), backend="inductor", **options)
    finally:
        torch._dynamo.reset()
    assert torch.allclose(eager, fast, atol=1e-4)
    half = sample(Small(), known(), autocast=torch.bfloat16, **options)
    assert 0 < (half - eager).abs().max() < 0.1


def test_eager_is_the_network_itself():
    network = Small()
    assert compiled(network, "eager") is network


def test_what_is_not_there_is_one_sentence(monkeypatch):
    with pytest.raises(InputError, match="backend: got 'tvm', expected eager, inductor, torch-tensorrt"):
        Settings(backend="tvm")
    monkeypatch.setattr(backends, "_TORCH_TENSORRT", "a_package_that_is_absent")
    with pytest.raises(InputError, match="torch-tensorrt is not installed: pip install torch-tensorrt"):
        check_backend("torch-tensorrt")
    monkeypatch.setattr(backends, "_TORCH_TENSORRT", "json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs a GPU that torch sees"):
        check_backend("torch-tensorrt")
