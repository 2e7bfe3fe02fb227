"""RGB texture tuning: the visible texels refined by gradients from the renderer, and Eq. 7 (paper 3.4,
appendix B)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dinar_live.runtime.core.errors import InputError

from .masks import RGB
from .tuning_losses import (
    R1_EVERY,
    discriminator_loss,
    generator_loss,
    gradient_mask,
    loss_mask,
    r1_penalty,
    random_crop,
    tuning_raster,
)
from .zero_adam import ZeroAdam

STEPS = 64
LR_TEXTURE, LR_DISCRIMINATOR = 2e-3, 4e-4
FINAL_BLUR = 10  # texels


@dataclass(frozen=True, eq=False)
class TuningInputs:
    """What tuning works on, batch 1, all on one device.

    texture, decoded f32[1,21,T,T]: after and before the copy of the known part (Eq. 6); mask f32[1,1,T,T]:
    its weights; normal_angles f32[1,1,T,T] in [0,1]; uv f32[1,2,H,W], uv_mask f32[1,1,H,W]: the photo's UV
    raster, background -10; real_rgb f32[1,3,H,W] in [-1,1] on white; segm f32[1,1,H,W]; pixels f32[V,2]:
    projected vertices, for the LPIPS crop.
    """

    texture: Tensor
    decoded: Tensor
    mask: Tensor
    normal_angles: Tensor
    uv: Tensor
    uv_mask: Tensor
    real_rgb: Tensor
    segm: Tensor
    pixels: np.ndarray

    def __post_init__(self):
        T, (H, W) = self.texture.shape[-1], self.uv.shape[-2:]
        for name, shape in (
            ("texture", (1, 21, T, T)),
            ("decoded", (1, 21, T, T)),
            ("mask", (1, 1, T, T)),
            ("normal_angles", (1, 1, T, T)),
            ("uv", (1, 2, H, W)),
            ("uv_mask", (1, 1, H, W)),
            ("real_rgb", (1, 3, H, W)),
            ("segm", (1, 1, H, W)),
        ):
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise InputError(f"{name}: got shape {list(value.shape)}, expected {list(shape)}")
            if not torch.isfinite(value).all():
                raise InputError(f"{name}: holds NaN or infinite values, expected finite numbers")


@dataclass(frozen=True)
class TuningOptions:
    """How tuning goes.

    steps: of the texture and the discriminator in turn. finetune_back: first `steps` steps of alpha and beta
    only (Eq. 7), then `steps` of the texels. seed: of all random numbers. stop_after: stop once that many steps
    are done in all, to go on later. reuse_render: the discriminator takes the texture step's picture instead of
    a fresh one (published: fresh); a third less work. autocast: torch.bfloat16 for the renderer (float16 would
    lose the gradients). Raises InputError.
    """

    steps: int = STEPS
    finetune_back: bool = False
    seed: int = 0
    stop_after: int | None = None
    reuse_render: bool = False
    autocast: torch.dtype | None = None

    def __post_init__(self):
        if not (isinstance(self.steps, int) and 0 <= self.steps <= 100_000):
            raise InputError(f"tuning steps: got {self.steps!r}, expected a whole number in 0..100000")
        if self.autocast not in (None, torch.bfloat16):
            raise InputError(
                f"autocast: got {self.autocast}, expected None or torch.bfloat16 (float16 loses the gradients)"
            )

    @property
    def rescale(self) -> int:
        """How many steps are of alpha and beta."""
        return self.steps if self.finetune_back else 0

    @property
    def total(self) -> int:
        """How many steps there are in all."""
        return self.rescale + self.steps


@dataclass(eq=False)
class TuningState:
    """Where tuning stands: rgb f32[1,3,T,T] (P), alpha, beta f32[1,3,1,1] (Eq. 7), and what it takes to go
    on.

    history: losses of each step. `optimizers`, `discriminator` and `generator` are state dicts (tensors,
        numbers, lists).
    """

    rgb: Tensor
    alpha: Tensor
    beta: Tensor
    step: int = 0
    optimizers: tuple[dict, dict] | None = None
    discriminator: dict[str, Tensor] | None = None
    generator: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)


def blended_rgb(decoded_rgb: Tensor, mask: Tensor, rgb: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """P m + (D alpha + beta) (1 - m): Eq. 6 on the RGB channels with the colours of Eq. 7, [1,3,T,T]."""
    return rgb * mask + (decoded_rgb * alpha + beta) * (1 - mask)


def tune(
    renderer: Callable,
    discriminator: torch.nn.Module | None,
    inputs: TuningInputs,
    options: TuningOptions,
    *,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    state: TuningState | None = None,
    progress: bool = True,
) -> TuningState:
    """Refine the RGB of the texture against the photo.

    renderer(uv, uv_mask, texture, background, threshold) -> (rgb [1,3,H,W] in [-1,1], alpha), in eval mode;
    its parameters get no gradient.
    discriminator: a module rgb -> [1,1], tuned along on a copy of its weights that is put back at the end.
    lpips(a, b): the user's perceptual distance of pictures in [-1,1]; without it that loss is left out, with
    a warning. state: go on from there to the same total.
    Same seed, same bits on one machine. Raises InputError for bad arguments and for losses that are not
    finite.
    """
    state = state or TuningState(
        rgb=inputs.texture[:, RGB].clone(),
        alpha=torch.ones_like(inputs.texture[:, RGB, :1, :1]),
        beta=torch.zeros_like(inputs.texture[:, RGB, :1, :1]),
    )
    total = options.total
    last = total if options.stop_after is None else min(total, options.stop_after)
    if state.step >= last:
        return state
    if discriminator is None:
        raise InputError(
            "tuning: got no discriminator; the checkpoint must hold first_stage.discriminator, or tune for 0 steps"
        )
    if lpips is None:
        warnings.warn(
            "tuning runs without the LPIPS loss, because its VGG backbone was not given", stacklevel=2
        )
    run = _Run(renderer, discriminator, inputs, state, options, lpips)
    try:
        for _ in tqdm(
            range(state.step, last),
            desc="tuning",
            unit="step",
            initial=state.step,
            total=total,
            disable=not progress,
        ):
            run.step()
        return run.state()
    finally:
        run.restore()


class _Run:
    """One call of `tune`: parameters, optimizers and the random numbers."""

    def __init__(
        self,
        renderer: Callable,
        discriminator: torch.nn.Module,
        inputs: TuningInputs,
        state: TuningState,
        options: TuningOptions,
        lpips: Callable[[Tensor, Tensor], Tensor] | None,
    ):
        self.renderer = renderer
        self.discriminator = discriminator
        self.inputs = inputs
        self.options = options
        self.lpips = lpips
        self.count = state.step
        self.history = list(state.history)
        self.rgb, self.alpha, self.beta = (
            v.detach().clone().requires_grad_(True) for v in (state.rgb, state.alpha, state.beta)
        )
        self.texel_weight = torch.from_numpy(gradient_mask(inputs.normal_angles[0, 0].cpu().numpy())).to(
            inputs.texture
        )
        self.uv, self.uv_mask = tuning_raster(inputs.uv, inputs.uv_mask)
        self.loss_mask = loss_mask(self.uv, inputs.segm)
        self.white = torch.ones_like(inputs.real_rgb)
        self._kept = {k: v.detach().clone() for k, v in discriminator.state_dict().items()}
        self._modules = [m for m in (renderer, discriminator) if isinstance(m, torch.nn.Module)]
        self._flags = [(p, p.requires_grad) for m in self._modules for p in m.parameters()]
        self._training = [(m, m.training) for m in self._modules]
        for m in self._modules:
            m.eval().requires_grad_(False)
            _arrange(m, torch.channels_last)  # on a CPU a quarter faster, forward and backward
        if state.discriminator is not None:
            discriminator.load_state_dict(state.discriminator)
        self.weights = list(discriminator.parameters())
        self.optimizers = (
            ZeroAdam([self.rgb, self.alpha, self.beta], LR_TEXTURE),
            ZeroAdam(self.weights, LR_DISCRIMINATOR),
        )
        if state.optimizers is not None:
            for optimizer, saved in zip(self.optimizers, state.optimizers, strict=True):
                optimizer.load_state_dict(copy.deepcopy(saved))  # it would go on in the caller's tensors
        self.generator = torch.Generator("cpu").manual_seed(options.seed)
        if state.generator is not None:
            self.generator.set_state(state.generator)

    def step(self) -> None:
        """Texture first, then the discriminator; every 16th of its steps, from the first on, is R1 alone."""
        losses, fake = self._texture_step()
        regularise = self.count % R1_EVERY == 0
        for w in self.weights:
            w.requires_grad_(True)
        if regularise:
            loss = losses["r1"] = r1_penalty(self.inputs.real_rgb, self.discriminator)
        else:
            if not self.options.reuse_render:
                with torch.no_grad():
                    fake = self._render()
            loss = losses["discriminator"] = discriminator_loss(
                fake.detach(), self.inputs.real_rgb, self.loss_mask, self.discriminator
            )
        self._update(self.optimizers[1], self.weights, loss)
        for w in self.weights:
            w.requires_grad_(False)
        self.count += 1
        self.history.append({k: float(v.detach()) for k, v in losses.items()})
        if not all(np.isfinite(v) for v in self.history[-1].values()):
            raise InputError(
                f"tuning: step {self.count} has losses {self.history[-1]}; try full precision, and check the checkpoint"
            )

    def _texture_step(self) -> tuple[dict[str, Tensor], Tensor]:
        crop = None
        if self.lpips is not None:
            height, width = self.inputs.uv.shape[-2:]
            crop = random_crop(self.inputs.pixels, (height, width), self.generator)
        fake = self._render()
        losses = generator_loss(
            fake, self.inputs.real_rgb, self.loss_mask, self.discriminator, self.lpips, crop
        )
        self._update(
            self.optimizers[0], [self.rgb, self.alpha, self.beta], reduce(torch.add, losses.values())
        )
        return losses, fake

    def _update(self, optimizer: ZeroAdam, parameters: Sequence[Tensor], loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g * self.texel_weight if p is self.rgb and g is not None else g
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _texture(self) -> Tensor:
        d = self.inputs.decoded
        if self.count < self.options.rescale:
            rgb = d[:, RGB] * self.alpha + self.beta
        else:
            rgb = blended_rgb(d[:, RGB], self.inputs.mask, self.rgb, self.alpha.detach(), self.beta.detach())
        return torch.cat([d[:, : RGB.start], rgb, d[:, RGB.stop :]], 1)

    def _render(self) -> Tensor:
        autocast = self.options.autocast
        with torch.autocast(self.uv.device.type, dtype=autocast, enabled=autocast is not None):
            rgb, _ = self.renderer(self.uv, self.uv_mask, self._texture(), self.white, 0.0)
        return rgb.to(self.uv)

    def state(self) -> TuningState:
        texture, discriminator = (copy.deepcopy(o.state_dict()) for o in self.optimizers)
        return TuningState(
            rgb=self.rgb.detach(),
            alpha=self.alpha.detach(),
            beta=self.beta.detach(),
            step=self.count,
            optimizers=(texture, discriminator),
            discriminator={k: v.detach().clone() for k, v in self.discriminator.state_dict().items()},
            generator=self.generator.get_state(),
            history=self.history,
        )

    def restore(self) -> None:
        """Leave the caller's modules as they were."""
        self.discriminator.load_state_dict(self._kept)
        for p, flag in self._flags:
            p.requires_grad_(flag)
        for m, training in self._training:
            _arrange(m.train(training), torch.contiguous_format)


def _arrange(module: torch.nn.Module, layout: torch.memory_format) -> None:
    # torch documents `to(memory_format=...)`; its stub lacks it
    module.to(memory_format=layout)  # pyright: ignore[reportCallIssue]


def final_mask(mask: Tensor, binary_uv: Tensor, additive_uv: Tensor) -> Tensor:
    """Where the tuned RGB replaces the decoded one, f32[1,1,T,T]: the copy mask, softened by a 10x10 box, and
    all of the eyes and hands.

    mask f32[1,1,T,T]; binary_uv f32[T,T] (1 = surface); additive_uv f32[T,T] (eyes and hands).
    """
    outside = 1 - binary_uv
    k = torch.clamp(mask + outside, 0, 1)
    before = (FINAL_BLUR - 1) // 2
    after = FINAL_BLUR - 1 - before
    k = torch.nn.functional.pad(k, (before, after, before, after), mode="reflect")
    k = torch.nn.functional.avg_pool2d(k, FINAL_BLUR, stride=1)
    return torch.clamp(torch.clamp(k - outside, 0, 1) + additive_uv, 0, 1)


def tuned_texture(inputs: TuningInputs, state: TuningState, binary_uv: Tensor, additive_uv: Tensor) -> Tensor:
    """The final texture f32[1,21,T,T]: the diffusion's decode, but RGB = k `blended_rgb` + (1 - k)(D alpha +
    beta).

    binary_uv, additive_uv f32[T,T]: see `final_mask`. (The published code keeps Eq. 6 in the RGB channels
    only.)
    """
    d = inputs.decoded[:, RGB]
    k = final_mask(inputs.mask, binary_uv, additive_uv)
    rgb = k * blended_rgb(d, inputs.mask, state.rgb, state.alpha, state.beta) + (1 - k) * (
        d * state.alpha + state.beta
    )
    return torch.cat([inputs.decoded[:, : RGB.start], rgb, inputs.decoded[:, RGB.stop :]], 1)
