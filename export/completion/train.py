"""Train the completion network on shards of synthetic people, resumable bit for bit.

    python -m dinar_live.export.completion.train OUT --shards FOLDER [FOLDER ...] --steps 40000

Writes OUT/state.safetensors (everything needed to go on), OUT/average.safetensors (the averaged
weights), OUT/log.csv and
OUT/plan.json. Start the same command again to go on. New shards join with the next epoch. --init starts from trained
weights, of one photo also where --pairs trains a network of two.
"""

from __future__ import annotations

import argparse
import csv
import os
import pathlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dinar_live.export.fit.state import load_state, save_state
from dinar_live.runtime.avatar import Body

from . import start
from .atlas import Atlas
from .data import Batch, Batches, People
from .network import CompletionNetwork, blend

WARM_UP = 200  # steps
AVERAGE = 0.999
CLIP = 1.0
TANGENT = 0.4  # how much an offset's error along the surface counts beside one across it
OFFSET_WEIGHT, ERROR_WEIGHT, DRAPE_WEIGHT = 10.0, 0.005, 0.02
AREA_SHARE = 0.6  # of a texel's weight that goes by its area on the body; the rest counts texels alike
VALIDATION_PHOTOS = 48
TERMS = ("colour", "offset", "error", "drape")  # of the loss
COLUMNS = ("step", "seconds", "rate", "colour", "offset_mm", "error", "drape", "photos")


@dataclass(frozen=True)
class Settings:
    """steps in all, the last `finish` of which the rate falls to nothing; batch size; rate; width of
    the network; seed;
    bf16: the network itself in bfloat16 (a third faster where the CPU has it), its parameters in
    float32; pairs: a network that looks at two photos, where there are two."""

    steps: int = 40_000
    finish: int = 8_000
    batch: int = 8
    rate: float = 1.5e-3
    weight_decay: float = 1e-2
    width: int = 40
    seed: int = 0
    size: int = 128
    save_every: float = 120.0
    check_every: int = 1000
    bf16: bool = False
    pairs: bool = False

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: a rise, a plateau, a linear fall."""
        end = min(1.0, (self.steps - step) / max(1, self.finish))
        return self.rate * min(1.0, (step + 1) / WARM_UP) * max(end, 0.01)


class Loss:
    """The training loss on one atlas; texels count by their area on the body and by their number."""

    def __init__(self, atlas: Atlas, vertices: np.ndarray):
        weight = (1 - AREA_SHARE + AREA_SHARE * np.minimum(atlas.areas(vertices), 5.0)) * atlas.skin
        self.weight = torch.from_numpy(atlas.plane((weight / weight.sum())[:, None])[None])

    def mean(self, values: Tensor) -> Tensor:
        """Weighted mean of values f32[N,1,T,T]."""
        return (values * self.weight).sum() / len(values)

    def terms(self, out: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """colour (L1), offset (metres), error (negative log likelihood) and drape (cross entropy)."""
        colour = blend(batch["planes"], out["weights"], out["free"])
        wrong = out["offset"] - batch["offset"]
        across = (wrong * batch["normal"]).sum(1, keepdim=True)
        along = wrong - across * batch["normal"]
        distance = torch.sqrt(across**2 + TANGENT**2 * (along**2).sum(1, keepdim=True) + 1e-6)
        likelihood = distance.detach() * torch.exp(-out["error"]) + out["error"]
        drape = F.binary_cross_entropy_with_logits(out["drape"], batch["draped"], reduction="none")
        return {
            "colour": self.mean((colour - batch["colour"]).abs().mean(1, keepdim=True)),
            "offset": self.mean(distance),
            "error": self.mean(likelihood),
            "drape": self.mean(drape),
        }

    @staticmethod
    def total(terms: dict[str, Tensor]) -> Tensor:
        """What is minimized."""
        return (
            terms["colour"]
            + OFFSET_WEIGHT * terms["offset"]
            + ERROR_WEIGHT * terms["error"]
            + DRAPE_WEIGHT * terms["drape"]
        )


class Trainer:
    """Trains the network in folder `out` on the shards in `shards`; goes on where an earlier run
    stopped."""

    def __init__(self, shards: Sequence, out, settings: Settings, init=None):
        """init: file of weights to start from (`start.read`), or None."""
        self.settings = settings
        self.out = pathlib.Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        body = Body.open()
        rig = body.rig(np.zeros(10, np.float32))
        atlas = Atlas(rig, settings.size)
        self.people = People(shards, atlas, body, pairs=settings.pairs)
        self.batches = Batches(self.people, settings.batch, settings.seed, self.out / "plan.json")
        self.loss = Loss(atlas, rig.model.vertices)
        self.network = self._blank()
        if init is not None:
            self.network.load_state_dict(start.adapted(start.read(init), self.network))
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.rate,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        self.average = {n: p.detach().clone() for n, p in self.network.named_parameters()}
        self.state = self.out / "state.safetensors"
        self.step = 0
        if self.state.is_file():
            self.step = load_state(self.state, self.network, self.average, self.optimizer)

    def _blank(self) -> CompletionNetwork:
        return CompletionNetwork(self.settings.width, 2 if self.settings.pairs else 1)

    def train(self, seconds: float = float("inf")) -> None:
        """Train to the end, or for this long, with a progress bar; the state is kept on the way and at
        the end."""
        from tqdm import tqdm

        s, began = self.settings, time.monotonic()
        saved, count = began, 0
        sums: dict[str, float] = dict.fromkeys(TERMS, 0.0)
        with tqdm(total=s.steps, initial=self.step, unit="step", mininterval=10) as bar:
            while self.step < s.steps and time.monotonic() - began < seconds:
                for k, v in self._step(self.batches.batch(self.step)).items():
                    sums[k] += v
                count += 1
                self.step += 1
                bar.update()
                if self.step % 100 == 0:
                    mean = {k: v / count for k, v in sums.items()}
                    self._log("log.csv", time.monotonic() - began, mean)
                    said = f"colour {mean['colour']:.4f} offset {1e3 * mean['offset']:.2f} mm"
                    bar.set_postfix_str(said)
                    sums, count = dict.fromkeys(sums, 0.0), 0
                if self.step % s.check_every == 0:
                    self._log("validation.csv", time.monotonic() - began, self.validate())
                if time.monotonic() - saved > s.save_every:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def _step(self, batch: Batch) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(self.step)
        tensors = {k: torch.from_numpy(v) for k, v in vars(batch).items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bf16):
            out = self.network(tensors["planes"])
        terms = self.loss.terms({k: v.float() for k, v in out.items()}, tensors)
        self.optimizer.zero_grad(set_to_none=True)
        self.loss.total(terms).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        keep = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            names, parameters = zip(*self.network.named_parameters(), strict=True)
            average, new = [self.average[n] for n in names], [p.detach() for p in parameters]
            # torch has no public name for it
            torch._foreach_lerp_(average, new, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
        return {k: float(v.detach()) for k, v in terms.items()}

    def validate(self) -> dict[str, float]:
        """The loss's terms of the averaged weights on people kept apart, true fits and masks for half
        of the photos."""
        shards = self.people.available(validation=True)
        chosen = [(s, i) for s in shards for i in range(self.people.photos(s))]
        if not chosen:
            return dict.fromkeys(TERMS, float("nan"))
        chosen = chosen[:: max(1, len(chosen) // VALIDATION_PHOTOS)][:VALIDATION_PHOTOS]
        network = self.averaged()
        sums: dict[str, float] = dict.fromkeys(TERMS, 0.0)
        with torch.no_grad():
            for k in range(0, len(chosen), 8):
                part = chosen[k : k + 8]
                samples = [self.people.sample(s, i, (0, s, i), 0.0 if i % 2 else 0.5) for s, i in part]
                batch = self.people.batch(samples, np.zeros(len(part), bool))
                tensors = {n: torch.from_numpy(v) for n, v in vars(batch).items()}
                for n, v in self.loss.terms(network(tensors["planes"]), tensors).items():
                    sums[n] += float(v) * len(part) / len(chosen)
        return sums

    def averaged(self) -> CompletionNetwork:
        """A network with the averaged weights."""
        network = self._blank()
        with torch.no_grad():
            for name, p in network.named_parameters():
                p.copy_(self.average[name])
        return network.eval()

    def save(self) -> None:
        """Keep the state and the averaged weights; each file is replaced whole."""
        import safetensors.torch

        if not self.step:
            return
        save_state(self.state, self.network, self.average, self.optimizer, self.step)
        file = self.out / "average.safetensors"
        part = file.with_suffix(".part")
        safetensors.torch.save_file({k: v.contiguous() for k, v in self.average.items()}, part)
        os.replace(part, file)

    def _log(self, name: str, seconds: float, terms: dict[str, float]) -> None:
        path = self.out / name
        new = not path.exists()
        photos = len(self.batches._order[1]) if self.batches._order else 0
        row = (
            self.step, round(seconds, 1), f"{self.settings.rate_at(self.step):.2e}",
            f"{terms['colour']:.5f}", f"{1e3 * terms['offset']:.3f}",
            f"{terms['error']:.4f}", f"{terms['drape']:.5f}",
            photos,
        )  # fmt: skip
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow(row)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dinar_live.export.completion.train", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("out", help="folder for the state, the weights and the log")
    parser.add_argument("--shards", nargs="+", required=True, help="folders of synthetic people")
    default = Settings()
    for name in ("steps", "finish", "batch", "width", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    parser.add_argument("--rate", type=float, default=default.rate)
    parser.add_argument("--init", metavar="WEIGHTS", help=".onnx or .safetensors to start from")
    parser.add_argument(
        "--pairs", action="store_true", help="a network that looks at two photos where there are two"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it likes")
    parser.add_argument(
        "--bf16", action="store_true", help="the network in bfloat16: faster on CPUs that have it"
    )
    a = parser.parse_args(arguments)
    if a.threads:
        torch.set_num_threads(a.threads)
    settings = Settings(
        steps=a.steps,
        finish=a.finish,
        batch=a.batch,
        rate=a.rate,
        width=a.width,
        seed=a.seed,
        bf16=a.bf16,
        pairs=a.pairs,
    )
    Trainer(a.shards, a.out, settings, a.init).train(60 * a.minutes)


if __name__ == "__main__":
    main()
