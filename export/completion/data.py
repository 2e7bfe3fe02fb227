"""Batches for training the completion network from shards of synthetic people."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.export.synthetic import disturb
from dinar_live.runtime.avatar import Body, Rig
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose

from .atlas import Atlas
from .features import OWN, input_planes, mirrored, texel_features

REUSE = 4  # epochs in which a photo keeps its disturbances: drawing new ones costs half a training step
FOLDER = 1_000_000
VALIDATION = 12  # one shard of this many is kept apart
SECOND = 0.6  # share of the photos that come with another one of the same person, where there is one
EXPOSURE = 0.05  # by which the other one's brightness differs
MIRROR = np.array([-1, 1, 1], np.float32)


@dataclass(frozen=True, eq=False)
class Sample:
    """features f16[n,OWN]; colour u8[n,3]; offset f16[n,3] metres; normal i8[n,3] of the true surface,
    x127; draped bool[n]; other f16[n,OWN] or None: features of a second photo."""

    features: np.ndarray
    colour: np.ndarray
    offset: np.ndarray
    normal: np.ndarray
    draped: np.ndarray
    other: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """planes f32[N,planes_of(photos),T,T]; colour, offset, normal f32[N,3,T,T]; draped f32[N,1,T,T]."""

    planes: np.ndarray
    colour: np.ndarray
    offset: np.ndarray
    normal: np.ndarray
    draped: np.ndarray


class Shapes:
    """Rigs of one body in any shape, faster than Body.rig: what does not depend on the shape is
    computed once."""

    def __init__(self, body: Body):
        self._rig = body.rig(np.zeros(10, np.float32))
        self._arrays = self._rig.arrays()
        self._dirs = body.shape_dirs
        self._joints = np.einsum("jv,vcb->jcb", body.joint_regressor, body.shape_dirs, optimize=True)

    def rig(self, betas: np.ndarray) -> Rig:
        """The rig of betas f32[B]."""
        b = np.asarray(betas, np.float32)
        moved = {
            "vertices": self._arrays["vertices"] + self._dirs[..., : len(b)] @ b,
            "joints": self._arrays["joints"] + self._joints[..., : len(b)] @ b,
        }
        return Rig.from_arrays(self._arrays | moved, self._rig.expression_names)


class People:
    """The photos of the shards in some folders, with true colours and offsets; read as they are asked
    for.

    A shard is named by FOLDER * (place of its folder in the list) + its number. pairs: give photos together
    with another one of the same person, for a network of two photos.
    """

    def __init__(self, folders: Sequence, atlas: Atlas, body: Body, *, pairs: bool = False):
        self.pairs = pairs
        self.folders = [pathlib.Path(f) for f in folders]
        self.atlas = atlas
        self._shapes = Shapes(body)
        self._shards: dict[int, dict[str, np.ndarray]] = {}

    def available(self, validation: bool = False) -> list[int]:
        """Names of the shards that are there, those kept apart for validation or the others."""
        found = []
        for k, folder in enumerate(self.folders):
            numbers = sorted(int(p.stem.removeprefix("shard_")) for p in folder.glob("shard_*.npz"))
            found += [FOLDER * k + n for n in numbers]
        return [n for n in found if (n % FOLDER % VALIDATION == VALIDATION - 1) == validation]

    def photos(self, shard: int) -> int:
        """How many photos the shard holds."""
        return len(self._shard(shard)["geometry"])

    def _shard(self, number: int) -> dict[str, np.ndarray]:
        if number not in self._shards:
            path = self.folders[number // FOLDER] / f"shard_{number % FOLDER:06d}.npz"
            try:
                with np.load(path, allow_pickle=False) as z:
                    self._shards[number] = {k: z[k] for k in z.files}
            except (OSError, ValueError, KeyError) as e:
                raise InputError(
                    f"{path}: not a shard of synthetic people ({e}); delete it and generate again"
                ) from e
        return self._shards[number]

    def sample(self, shard: int, index: int, seed: tuple[int, ...], strength: float | None = None) -> Sample:
        """Photo `index` of a shard with disturbances drawn from `seed`; strength: None draws it too."""
        z = self._shard(shard)
        rng = np.random.default_rng(seed)
        rgba = self._picture(shard, index)
        g = z["geometry"][index]
        drawn = disturb.strength(rng) if strength is None else strength
        table = disturb.colours(rng)
        picture = disturb.picture(rng, rgba, table, drawn)
        pose, matrix, betas = z["pose"][index], z["matrix"][index], z["betas"][g]
        rig = true = self._shapes.rig(betas)
        if drawn:
            pose, matrix, changed = disturb.fit(rng, pose, matrix, betas, len(rgba), drawn)
            rig = self._shapes.rig(changed)
        f = texel_features(
            self.atlas, rig, Pose(pose, z["transl"][index], z["expression"][index]), matrix, picture
        )
        second = self._second(shard, index, rng, rig, drawn, table) if self.pairs else None
        moved = true.model.vertices + z["offset"][g].astype(np.float32)
        normal = self.atlas.at(self.atlas.normals(moved))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        colour = np.stack([table[:, c][z["colour"][index][:, c]] for c in range(3)], 1)
        offset = self.atlas.at(moved - rig.model.vertices)
        draped = self.atlas.at(z["draped"][g][:, None].astype(np.float32))[:, 0] > 0.5
        return Sample(
            f.astype(np.float16),
            colour,
            offset.astype(np.float16),
            np.rint(127 * normal).astype(np.int8),
            draped,
            second,
        )

    def _picture(self, shard: int, index: int) -> np.ndarray:
        """Photo `index` of a shard, u8[H,W,4] RGBA."""
        z = self._shard(shard)
        end = z["png_end"]
        png = z["png"][end[index - 1] if index else 0 : end[index]]
        bgra = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
        if bgra is None:
            raise InputError(
                f"shard {shard}: photo {index} is not a PNG; delete the shard and generate again"
            )
        return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)

    def _second(
        self, shard: int, index: int, rng: np.random.Generator, rig: Rig, strength: float, table: np.ndarray
    ) -> np.ndarray | None:
        """Features f16[n,OWN] of another photo of the same person on the same body, for SECOND of them."""
        z = self._shard(shard)
        if "style" not in z or rng.random() >= SECOND:
            return None
        same = np.flatnonzero(z["style"] == z["style"][index])
        same = same[same != index]
        if not len(same):
            return None
        k = int(rng.choice(same))
        light = np.clip(table * (1 + rng.normal(0, EXPOSURE)), 0, 255).astype(np.uint8)
        rgba = self._picture(shard, k)
        picture = disturb.picture(rng, rgba, light, strength)
        pose, matrix = z["pose"][k], z["matrix"][k]
        if strength:  # several photos are fitted with one shape
            pose, matrix, _ = disturb.fit(
                rng, pose, matrix, z["betas"][z["geometry"][k]], len(rgba), strength
            )
        taken = Pose(pose, z["transl"][k], z["expression"][k])
        return texel_features(self.atlas, rig, taken, matrix, picture).astype(np.float16)

    def batch(self, samples: list[Sample], mirror: np.ndarray) -> Batch:
        """Samples as planes; those with mirror bool[N] as photos of the mirrored person."""
        atlas, N = self.atlas, len(samples)
        features = np.empty((N, len(atlas), OWN), np.float32)
        truth = np.empty((N, len(atlas), 10), np.float32)
        others: list[np.ndarray | None] = []
        for k, (s, turn) in enumerate(zip(samples, mirror, strict=True)):
            f = s.features.astype(np.float32)
            t = np.concatenate(
                [s.colour / np.float32(255), s.offset, s.normal / np.float32(127), s.draped[:, None]], 1
            )
            other = None if s.other is None else s.other.astype(np.float32)
            if turn:
                f, t = mirrored(atlas, f), t[atlas.mirror]
                other = None if other is None else mirrored(atlas, other)
                t[:, 3:6] *= MIRROR
                t[:, 6:9] *= MIRROR
            features[k], truth[k] = f, t
            others.append(other)
        planes = np.zeros((N, 10, atlas.size**2), np.float32)
        planes[:, :, atlas.flat] = truth.transpose(0, 2, 1)
        planes = planes.reshape(N, 10, atlas.size, atlas.size)
        inputs = input_planes(atlas, features, others if self.pairs else None)
        return Batch(inputs, planes[:, :3], planes[:, 3:6], planes[:, 6:9], planes[:, 9:])


class Batches:
    """Training batches by step: in every epoch each photo of the shards there were when it began, in a
    new order.

    Which shards an epoch had is kept in `plan` (JSON), so that a resumed training sees the same batches
    although new
    shards appear in the meantime.
    """

    def __init__(self, people: People, size: int, seed: int, plan: pathlib.Path | None = None):
        self.people = people
        self.size = size
        self.seed = seed
        self._file = plan
        self._plan: list[list[int]] = []
        if plan is not None and plan.is_file():
            self._plan = json.loads(plan.read_text())
        self._cache: dict[tuple[int, int], tuple[int, Sample]] = {}
        self._order: tuple[int, list[tuple[int, int]]] | None = None

    def _epoch(self, number: int) -> list[int]:
        """The shards of an epoch, decided when it is first asked for."""
        if number == len(self._plan):
            shards = self.people.available()
            if not shards:
                where = self.people.folders[0]
                raise InputError(f"{where}: no shards; python -m dinar_live.export.synthetic makes them")
            self._plan.append(shards)
            if self._file is not None:
                part = self._file.with_suffix(".part")
                part.write_text(json.dumps(self._plan))
                os.replace(part, self._file)
        return self._plan[number]

    def place(self, step: int) -> tuple[int, int]:
        """Epoch of a step, and how many steps of the epoch were before it."""
        epoch = 0
        while True:
            steps = max(1, sum(self.people.photos(s) for s in self._epoch(epoch)) // self.size)
            if step < steps:
                return epoch, step
            step, epoch = step - steps, epoch + 1

    def batch(self, step: int) -> Batch:
        """The batch of a step: the same whenever it is asked for."""
        epoch, position = self.place(step)
        if self._order is None or self._order[0] != epoch:
            every = [(s, i) for s in self._epoch(epoch) for i in range(self.people.photos(s))]
            order = np.random.default_rng((self.seed, 1, epoch)).permutation(len(every))
            self._order = epoch, [every[k] for k in order]
        every = self._order[1]
        chosen = [every[(position * self.size + k) % len(every)] for k in range(self.size)]
        mirror = np.random.default_rng((self.seed, 2, step)).random(self.size) < 0.5
        return self.people.batch([self._sample(epoch, *c) for c in chosen], mirror)

    def _sample(self, epoch: int, shard: int, index: int) -> Sample:
        draw = (epoch + index) // REUSE
        kept = self._cache.get((shard, index))
        if kept is None or kept[0] != draw:
            kept = draw, self.people.sample(shard, index, (self.seed, 3, shard, index, draw))
            self._cache[shard, index] = kept
        return kept[1]
