"""The training loop shared by fit and distill: a texture and a light renderer network, learned together."""

from __future__ import annotations

import math
import pathlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinar_live.export.completion.renderers import GenericRenderer, enlarged_map

from .half import Rung, read_onnx, rung_of
from .losses import picture_loss
from .network import HalfRenderer
from .state import load_state, save_state

NEURAL_START = 0.1  # spread of the neural channels around 0.5
WELL_KNOWN = (0.1, 0.0, 0.1, 1.0, 0.0, 0.0)  # completion.renderers.KNOWN of a captured person
NEURAL_TEXELS = 2  # of the colour's texture for one of the neural channels', which are sampled half as often
CLIP = 1.0  # norm of a step's gradient
AVERAGE = 0.998  # of the weights that are kept, per step
WARM_UP = 50  # steps
SAVE_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train. size: side of a crop in pixels; batch: crops per step."""

    steps: int = 1500
    batch: int = 4
    size: int = 256
    learning_rate: float = 1.5e-3
    texture_rate: float = 5e-3
    colour_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    device: str = "cpu"
    bf16: bool = False  # on a CPU it is slower than f32, even where there are instructions for it


class Learned(nn.Module):
    """What a Trainer trains: a network that corrects what the mesh shows, and what it is given of it."""

    network: HalfRenderer

    def features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Colour and mask [N,4,H,W] and neural channels [N,C,H/2,W/2] of a batch's arrays but the last two."""
        raise NotImplementedError

    def groups(self, settings: Settings) -> list[dict]:
        """Parameters with their rates, as torch's optimizers take them."""
        raise NotImplementedError


AnyModel = TypeVar("AnyModel", bound=Learned)


class Model(Learned):
    """Colour texture f32[3,T,T] and neural texture f32[C,T/2,T/2], both in [0,1], and the network of `rung`.

    generic: a renderer for everybody to begin with, where it is of the same size."""

    def __init__(self, colour: np.ndarray, rung: Rung, seed: int, generic: GenericRenderer | None = None):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.colour = nn.Parameter(
            torch.from_numpy(np.ascontiguousarray(colour.transpose(2, 0, 1), np.float32))
        )
        side = colour.shape[0] // NEURAL_TEXELS
        noise = 0.5 + NEURAL_START * rng.standard_normal((rung.neural, side, side), np.float32)
        self.neural = nn.Parameter(torch.from_numpy(noise))
        self.network = HalfRenderer(rung, seed)
        if generic is not None and rung_of(weights := read_onnx(generic.model), rung.name) == rung:
            with torch.no_grad():
                self.neural += torch.from_numpy(_started(generic, side).transpose(2, 0, 1) - 0.5)
                for name, p in self.network.convs.items():
                    p.copy_(torch.from_numpy(weights[name].copy()))

    def features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """uv [N,H,W,2] in [0,1], mask [N,H,W] -> colour and mask [N,4,H,W] and neural channels
        [N,C,H/2,W/2]: what `gather_half` gives."""
        uv, mask = inputs
        m = mask[:, None]
        seen = torch.cat([sampled(self.colour.clamp(0, 1), uv) * m, m], 1)
        place, covered = block_places(uv, mask)
        return seen, sampled(self.neural.clamp(0, 1), place) * covered[:, None]

    def forward(self, uv: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(*self.features(uv, mask))

    def groups(self, settings: Settings) -> list[dict]:
        """Parameters with their rates, as torch's optimizers take them."""
        return [
            {
                "params": list(self.network.parameters()),
                "lr": settings.learning_rate,
                "weight_decay": settings.weight_decay,
            },
            {"params": [self.neural], "lr": settings.texture_rate, "weight_decay": 0.0},
            {"params": [self.colour], "lr": settings.colour_rate, "weight_decay": 0.0},
        ]


def _started(start: GenericRenderer, side: int) -> np.ndarray:
    """The neural texture f32[side,side,C] of a person of whom a capture shows all."""
    known = np.tile(np.array(WELL_KNOWN[: start.known], np.float32), (side, side, 1))
    return np.concatenate([known, enlarged_map(start.shared, side) / np.float32(255)], 2)


def block_places(uv: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where each block of 2x2 pixels looks into the neural texture: uv [N,H/2,W/2,2] of its first pixel, row by
    row, that shows the body, and whether there is one, [N,H/2,W/2]."""
    n, h, w = mask.shape
    blocks = mask.reshape(n, h // 2, 2, w // 2, 2).permute(0, 1, 3, 2, 4).reshape(n, h // 2, w // 2, 4)
    places = uv.reshape(n, h // 2, 2, w // 2, 2, 2).permute(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4, 2)
    covered, first = blocks.max(-1)
    return places.gather(3, first[..., None, None].expand(n, h // 2, w // 2, 1, 2))[..., 0, :], covered


def sampled(texture: Tensor, uv: Tensor) -> Tensor:
    """texture [C,T,T] at uv [N,h,w,2] -> [N,C,h,w]."""
    n, h, w, _ = uv.shape
    grid = (2 * uv - 1).reshape(1, n * h, w, 2)  # one tall picture: the texture is not copied for each
    return F.grid_sample(texture[None], grid, align_corners=True)[0].reshape(-1, n, h, w).transpose(0, 1)


class Trainer(Generic[AnyModel]):
    """Trains a model on batches; `file` keeps its state, from which an interrupted run goes on (None: none is
    kept). A batch is a tuple of arrays: what `model.features` takes, then truth and weight (samples.Batch)."""

    def __init__(
        self,
        model: AnyModel,
        batches: Callable[[int], tuple[np.ndarray, ...]],
        settings: Settings,
        file: pathlib.Path | None = None,
    ):
        self.settings = settings
        self.model = model.to(settings.device)
        self._batches = batches
        s = settings
        self._optimizer = torch.optim.AdamW(model.groups(s), betas=(0.9, 0.98))
        self._rates = [g["lr"] for g in self._optimizer.param_groups]
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.step = 0
        self._file = file
        if self._file is not None and self._file.is_file():
            self.step = load_state(self._file, self.model, self.average, self._optimizer)

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None) -> AnyModel:
        """Train to the end and return the model with the averaged weights."""
        s, saved, mean = self.settings, time.monotonic(), math.nan
        source = _Ahead(self._batches, self.step, s.steps)
        try:
            while self.step < s.steps:
                loss = self._train(source.next())
                self.step += 1
                mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
                report(self.step, mean)
                if self._file is not None and (time.monotonic() - saved > SAVE_EVERY or self.step == s.steps):
                    save_state(self._file, self.model, self.average, self._optimizer, self.step)
                    saved = time.monotonic()
        finally:
            source.close()
        return self.averaged()

    def averaged(self) -> AnyModel:
        """The model with the averaged weights in place (training can go on afterwards only from a saved
        state)."""
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(self.average[name])
        return self.model

    def _train(self, batch: tuple[np.ndarray, ...]) -> float:
        s = self.settings
        factor = min(1, (self.step + 1) / WARM_UP) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / s.steps))
        )
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        *inputs, truth, weight = (torch.from_numpy(a).to(s.device, non_blocking=True) for a in batch)
        with torch.autocast(s.device, torch.bfloat16, enabled=s.bf16):
            seen, neural = self.model.features(*inputs)
            correction = self.model.network.correction(seen, neural)
        base_rgb, base_alpha = self.model.network.base(seen.float())
        rgb = (base_rgb + correction[:, :3].float()).clamp(0, 1)
        alpha = leaky_clamp(base_alpha + correction[:, 3:].float())
        loss = picture_loss(rgb, alpha, truth, weight[:, None])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._optimizer.step()
        keep = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            names, parameters = zip(*self.model.named_parameters(), strict=True)
            averages, now = [self.average[n] for n in names], [p.detach() for p in parameters]
            # torch has no public name for it
            torch._foreach_lerp_(averages, now, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
        return float(loss.detach())


def leaky_clamp(x: Tensor, slope: float = 0.01) -> Tensor:
    """x clamped to [0,1], with a small gradient outside that brings it back."""
    inside = x.clamp(0, 1)
    return inside + slope * (x - x.detach()) * (x.detach() != inside.detach())


class _Ahead:
    """Makes the next batches on a thread of its own while the present one is learned from."""

    def __init__(self, make: Callable[[int], tuple[np.ndarray, ...]], first: int, last: int):
        self._queue: queue.Queue = queue.Queue(2)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(make, first, last), name="dinar-batches", daemon=True
        )
        self._thread.start()

    def _work(self, make, first: int, last: int) -> None:
        for step in range(first, last):
            try:
                item = make(step)
            except Exception as e:  # handed to the training thread, which raises it
                item = e
            while not self._stop.is_set():
                try:
                    self._queue.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if self._stop.is_set() or isinstance(item, Exception):
                return

    def next(self) -> tuple[np.ndarray, ...]:
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
