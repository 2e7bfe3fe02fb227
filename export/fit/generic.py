"""Train the renderers of avatars that nobody trains: one network over many people, with a map of the body that they
share (completion/renderers.py).

    python -m dinar_live.export.fit.generic OUT --captures CAPTURE [CAPTURE ...]

Each capture is a folder with photo/ beside its frames. An avatar is completed from the front photo and held to the
frames, which show the person in other poses from other sides: what the network learns is what such an avatar
lacks and a network can know, not one person. Start the same line again to go on. OUT/renderers is what ships.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinar_live.export.capture import Capture
from dinar_live.export.completion import renderers as generic
from dinar_live.export.completion.predict import Completer
from dinar_live.export.completion.score import photo
from dinar_live.export.completion.weights import read_weights
from dinar_live.runtime.avatar import Avatar, Body

from . import half
from .frames import Frame, read_frames
from .network import HalfRenderer
from .samples import Crops
from .train import Learned, Settings, Trainer, block_places, sampled

RATE = 1e-3
MAP_START = 0.2  # spread of the shared map around 0.5
MAP_RATE = 3e-3
TEXELS = 512  # a side of the colours in training
DECAY = 1e-2
TRUE_COLOURS = 0.4  # share of crops in them
CACHED = "dinar_generic_avatar"


class PeopleBatch(NamedTuple):
    """What GenericModel.features takes, then truth f32[N,4,S,S] and weight f32[N,S,S]: seen f32[N,4,S,S] colour and
    mask; known f32[N,len(KNOWN),S/2,S/2]; place f32[N,S/2,S/2,2] and covered f32[N,S/2,S/2] of blocks."""

    seen: np.ndarray
    known: np.ndarray
    place: np.ndarray
    covered: np.ndarray
    truth: np.ndarray
    weight: np.ndarray


class GenericModel(Learned):
    """A network of `rung` for everybody, and the map f32[c,MAP,MAP] in [0,1] that everybody shares."""

    def __init__(self, rung: half.Rung, seed: int = 0):
        super().__init__()
        self.known = generic.SHARES[rung.name]
        rng = np.random.default_rng(seed)
        shape = (rung.neural - self.known, generic.MAP, generic.MAP)
        self.shared = nn.Parameter(torch.from_numpy(0.5 + MAP_START * rng.standard_normal(shape, np.float32)))
        self.network = HalfRenderer(rung, seed)

    def features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """seen, known, place, covered of PeopleBatch -> seen and neural channels [N,C,S/2,S/2]."""
        seen, known, place, covered = inputs
        side = generic.NEURAL  # as the avatar has it
        shared = F.interpolate(
            self.shared.clamp(0, 1)[None], (side, side), mode="bilinear", align_corners=True
        )
        shared = sampled(shared[0], place) * covered[:, None]
        return seen, torch.cat([known[:, : self.known], shared], 1)

    def groups(self, settings: Settings) -> list[dict]:
        """The network's parameters and the map with their rates."""
        network = list(self.network.parameters())
        return [
            {"params": network, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
            {"params": [self.shared], "lr": MAP_RATE, "weight_decay": 0.0},
        ]

    def renderer(self) -> generic.GenericRenderer:
        """As it ships."""
        shared = self.shared.detach().clamp(0, 1).permute(1, 2, 0).numpy()
        return generic.GenericRenderer(
            half.build_onnx(self.network.numpy_weights()),
            np.ascontiguousarray((255 * shared + 0.5).astype(np.uint8)),
            self.known,
            half.reach(self.network.rung),
            generic.COLOUR[self.network.rung.name],
        )


class Someone:
    """One person's completed avatar and true frames, as crops."""

    def __init__(self, avatar: Avatar, frames: Sequence[Frame], size: int, seed: int):
        spec = next(iter(avatar.renderers.values()))
        assert spec.neural is not None, "not an avatar with neural channels"
        as_planes = lambda a: torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))).float() / 255  # noqa: E731
        self._colour = as_planes(spec.texture)
        known = cv2.resize(spec.neural, (generic.NEURAL,) * 2, interpolation=cv2.INTER_AREA)
        self._known = as_planes(known[..., : len(generic.KNOWN)])
        self._seed = seed
        self._crops = Crops(avatar.rig, frames, size, seed)

    def batch(self, step: int) -> PeopleBatch:
        """One crop."""
        uv, mask, truth, weight = (torch.from_numpy(a) for a in self._crops.batch(step, 1))
        m = mask[:, None]
        mix = torch.from_numpy(other_colours(np.random.default_rng((self._seed, 5, step))))
        paint = lambda rgb: torch.einsum("ab,nbhw->nahw", mix, rgb)  # noqa: E731
        seen = torch.cat([paint(sampled(self._colour, uv)) * m, m], 1)
        truth = torch.cat([paint(truth[:, :3]), truth[:, 3:]], 1)  # premultiplied: linear changes keep that
        place, covered = block_places(uv, mask)
        known = sampled(self._known, place) * covered[:, None]
        return PeopleBatch(*(t.numpy() for t in (seen, known, place, covered, truth, weight)))


def other_colours(rng: np.random.Generator) -> np.ndarray:
    """A matrix f32[3,3] that turns colours into others within [0,1], so that nobody is known by theirs."""
    if rng.random() < TRUE_COLOURS:
        return np.eye(3, dtype=np.float32)
    mix = np.eye(3)[rng.permutation(3)] * rng.uniform(0.6, 1, (3, 1))
    grey = rng.uniform(0, 0.4) * rng.random()
    return ((1 - grey) * mix + grey / 3).astype(np.float32)


def mixed(people: Sequence[Someone], seed: int, step: int, count: int) -> PeopleBatch:
    """Crops of `count` people drawn for a step."""
    rng = np.random.default_rng((seed, 4, step))
    chosen = rng.integers(0, len(people), count)
    items = [people[k].batch(count * step + n) for n, k in enumerate(chosen)]
    return PeopleBatch(*(np.concatenate(a) for a in zip(*items, strict=True)))


def untrained() -> dict[str, generic.GenericRenderer]:
    """What shows only the mesh, and keeps KNOWN in the avatar for training."""
    rung = replace(half.LADDER[0], neural=len(generic.KNOWN) + 1)
    network = HalfRenderer(rung)
    shared = np.zeros((generic.MAP, generic.MAP, 1), np.uint8)
    model = half.build_onnx(network.numpy_weights())
    return {"light": generic.GenericRenderer(model, shared, len(generic.KNOWN), half.reach(rung), TEXELS)}


def completed(capture, completer: Completer) -> Avatar:
    """The avatar of a capture's front photo with KNOWN in its neural texture; kept in the capture's folder."""
    folder = pathlib.Path(capture) / CACHED
    if not folder.is_dir():
        avatar, _ = completer.complete([photo(capture)], name=folder.parent.name, texture_size=TEXELS)
        avatar.save(folder)
    return Avatar.load(folder)


def load_people(captures: Sequence, size: int, seed: int) -> list[Someone]:
    """The people of capture folders."""
    from tqdm import tqdm

    completer = Completer(read_weights(), Body.open(), renderers=untrained())
    out = []
    for k, folder in enumerate(tqdm(captures, unit="person")):
        capture = Capture.open(folder)
        frames = read_frames(capture, range(len(capture)))
        out.append(Someone(completed(folder, completer), frames, size, seed + k))
    return out


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out")
    parser.add_argument("--captures", nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--names", nargs="+", default=[r.name for r in half.LADDER])
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    out, settings = (
        pathlib.Path(a.out),
        Settings(steps=a.steps, seed=a.seed, weight_decay=DECAY, learning_rate=RATE),
    )
    out.mkdir(parents=True, exist_ok=True)
    people = load_people(a.captures, settings.size, a.seed)
    trained = {}
    for rung in (r for r in half.LADDER if r.name in a.names):

        def say(step: int, loss: float, name=rung.name) -> None:
            if step % 50 == 0:
                print(f"{name} {step} of {a.steps}: loss {loss:.4f}", flush=True)

        batches = lambda step: mixed(people, a.seed, step, settings.batch)  # noqa: E731
        trainer = Trainer(GenericModel(rung, a.seed), batches, settings, out / f"{rung.name}.safetensors")
        trained[rung.name] = trainer.run(say).renderer()
    made = (
        f"{a.steps} steps of export/fit/generic on {len(people)} drawn people "
        "(export/synthetic, CC0 assets of MakeHuman and its community); no photograph of a real person"
    )
    generic.write_renderers(trained, out / "renderers", made)


if __name__ == "__main__":
    main()
