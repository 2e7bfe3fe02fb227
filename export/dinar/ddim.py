"""Inpainting in the latent space: DDIM that puts the known region back, noised, before every step (paper 3.3,
3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from tqdm import tqdm

from dinar_live.runtime.core.errors import InputError

from .backends import compiled
from .schedule import ddim_steps

LATENT = 6  # channels of the compressed texture

Noise = Callable[[int], tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Draws:
    """Where a sampler's random numbers come from: x_T, then per step n1 (known region) and n2 (DDIM).

    They are drawn from `generator`, else from a CPU generator with `seed`, so that CPU and CUDA draw the same.
    x_T [B,6,h,w] and noise replace them: noise(i) -> (n1, n2) for the i-th visited step, or two tensors
    [n,B,6,h,w] for the n visited steps (`ddim_steps`).
    """

    seed: int = 0
    generator: torch.Generator | None = None
    x_T: Tensor | None = None
    noise: Noise | None = None


def condition(compressed: Tensor, texture_mask: Tensor) -> Tensor:
    """What the U-Net is conditioned with, f32[B,7,h,w]: the compressed texture [B,6,h,w] and every 4th texel
    of B_fill [B,1,T,T]."""
    return torch.cat(
        [compressed, interpolate(texture_mask.to(compressed), size=compressed.shape[-2:], mode="nearest")], 1
    )


def erode(mask: Tensor) -> Tensor:
    """3x3 erosion of [B,1,h,w]; the border does not erode."""
    return -max_pool2d(-mask, 3, stride=1, padding=1)


SEED_0 = Draws()


@torch.no_grad()
def sample(
    unet: Callable[[Tensor, Tensor, Tensor], Tensor],
    cond: Tensor,
    *,
    steps: int = 200,
    eta: float = 1.0,
    draws: Draws = SEED_0,
    progress: bool = True,
    autocast: torch.dtype | None = None,
    backend: str = "eager",
) -> Tensor:
    """Inpaint: the completed latent f32[B,6,h,w], still unquantized, on cond's device.

    unet(x [B,6,h,w], t i64[B], cond) -> predicted noise. cond f32[B,7,h,w]: see `condition`; its mask,
    eroded, says what is known. Before every step the known region becomes the given latent at that step's
    noise level (none after the last step). autocast: torch.bfloat16 or float16 for the network
    only; backend: see backends.py. The same seed, machine and settings give the same bits. Raises InputError
    for bad arguments and for a network that returns NaN.
    """
    if cond.ndim != 4 or cond.shape[1] != LATENT + 1 or not cond.is_floating_point():
        raise InputError(f"cond: got {cond.dtype}{list(cond.shape)}, expected float [B,{LATENT + 1},h,w]")
    if not torch.isfinite(cond).all():
        raise InputError(
            "cond: holds NaN or infinite values; is the checkpoint complete, and the texture finite?"
        )
    cond = cond.float()
    shape = (len(cond), LATENT, *cond.shape[2:])
    plan = ddim_steps(steps, eta)
    generator = draws.generator or torch.Generator("cpu").manual_seed(draws.seed)

    def draw() -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device).to(cond.device)

    known, m = cond[:, :LATENT], erode(cond[:, LATENT:])
    x = draw() if draws.x_T is None else _given("x_T", draws.x_T, shape, cond)
    injected = _injected(draws.noise, len(plan))
    network = compiled(unet, backend)
    for i in tqdm(range(len(plan)), desc="inpainting", unit="step", disable=not progress):
        n1, n2 = (
            (draw(), draw())
            if injected is None
            else (_given(f"noise {i}", n, shape, cond) for n in injected(i))
        )
        a, a_prev, sigma = (float(c[i]) for c in (plan.alpha, plan.alpha_prev, plan.sigma))
        x = (a**0.5 * known + (1 - a) ** 0.5 * n1) * m + (1 - m) * x
        t = torch.full((shape[0],), int(plan.t[i]), dtype=torch.int64, device=cond.device)
        with torch.autocast(cond.device.type, dtype=autocast, enabled=autocast is not None):
            e = network(x, t, cond)
        e = e.float()
        x0 = (x - (1 - a) ** 0.5 * e) / a**0.5
        x = a_prev**0.5 * x0 + max(1 - a_prev - sigma**2, 0.0) ** 0.5 * e + sigma * n2
    if not torch.isfinite(x).all():
        raise InputError(
            f"inpainting: the network returned NaN or infinite values (autocast {autocast}); "
            "try full precision, and check the checkpoint"
        )
    return x


def _given(name: str, value, shape: tuple[int, ...], like: Tensor) -> Tensor:
    if tuple(value.shape) != shape:
        raise InputError(f"{name}: got shape {list(value.shape)}, expected {list(shape)}")
    return torch.as_tensor(value).to(like)


def _injected(noise: Noise | None, steps: int) -> Callable[[int], tuple[Tensor, Tensor]] | None:
    if noise is None or callable(noise):
        return noise
    first, second = noise
    if len(first) != steps or len(second) != steps:
        raise InputError(f"noise: got tensors for {len(first)} and {len(second)} steps, expected {steps}")
    return lambda i: (first[i], second[i])
