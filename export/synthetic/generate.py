"""Write training data of synthetic people in shards: seeded, resumable, with a progress bar.

    python -m dinar_live.export.synthetic ASSETS OUT --people 400 [--strict]

Every shard is made from (seed, number of the shard) alone and appears whole or not at all, so that an
interrupted run goes
on after the last shard and the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time
from typing import Any

import cv2
import numpy as np

from dinar_live.export.completion.atlas import Atlas
from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError

from . import people, photos, wrap
from .assets import HELD_OUT, Assets
from .person import Person

VERSION = 5
ATLAS = 128  # texels a side of the true colours
NEVER = 1 << 30


class Generator:
    """Makes shards. Settings: outfits of a built person, styles (colours and prints) of an outfit, photos
    of a style, pixels a side of a photo, seed."""

    def __init__(
        self,
        assets: Assets,
        *,
        outfits: int = 3,
        styles: int = 3,
        shots: int = 2,
        size: int = 256,
        seed: int = 0,
        builds: int = 4,
    ):
        self.assets = assets
        self.body = Body.open()
        self.outfits = outfits
        self.styles = styles
        self.shots = shots
        self.size = size
        self.seed = seed
        self.builds = builds
        rig = self.body.rig(np.zeros(10, np.float32))
        self.atlas = Atlas(rig, ATLAS)
        self.wrapper = wrap.Wrapper(rig, self.atlas)
        self.rest = (
            np.concatenate([self.body.hands_mean_l, self.body.hands_mean_r]).reshape(30, 3).astype(float)
        )

    def shard(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of shard `number`, of `builds` people in `outfits` outfits (G geometries) in
        `styles` styles on `shots` photos each.

        betas f32[G,10]; offset f16[G,V,3] metres; draped bool[G,V]; of each photo: geometry i32[N]; style
        i32[N] (photos of one number show the same person, clothes and colours); colour u8[N,n,3] of the
        covered texels (true, sRGB, lit); pose f32[N,55,3]; transl f32[N,3]; expression f32[N,62];
        matrix f64[N,3,4];
        png u8[...] and png_end i64[N]: the pictures, RGBA with straight alpha, one after the other.
        """
        rng = np.random.default_rng([VERSION, self.seed, number])
        geometry = {k: [] for k in ("betas", "offset", "draped")}
        photo = {
            k: [] for k in ("geometry", "style", "colour", "pose", "transl", "expression", "matrix", "png")
        }
        for _ in range(self.builds):
            person = people.build(people.draw(rng, self.assets), self.assets, self.body)
            for outfit in range(self.outfits):
                varied = people.vary(person, rng, self.assets, plain=outfit == 0 and rng.random() < 0.4)
                self._outfit(varied, rng, geometry, photo)
        ends = np.cumsum([len(p) for p in photo["png"]])
        out = {k: np.stack(v) for k, v in (geometry | photo).items() if k not in ("png", "geometry", "style")}
        out.update(
            geometry=np.array(photo["geometry"], np.int32),
            style=np.array(photo["style"], np.int32),
            png=np.concatenate(photo["png"]),
            png_end=ends,
        )
        return out

    def _outfit(self, person: Person, rng: np.random.Generator, geometry: dict, photo: dict) -> None:
        surface = wrap.surface_points(person, rng)
        offset = self.wrapper.wrap(person, surface, rng)
        links = self.wrapper.colour_links(person, offset, surface)
        number = len(geometry["betas"])
        geometry["betas"].append(np.float32(person.flat["betas"]))
        geometry["offset"].append(offset.astype(np.float16))
        geometry["draped"].append(self.wrapper.draped(person))
        for k in range(self.styles):
            people.restyle(person, rng, self.assets)
            style = number * self.styles + k
            colour = wrap.true_colours(person, surface, links, self.assets.builder._LIN)
            for shot in photos.take_several(person, rng, self.assets, self.size, self.rest, self.shots):
                ok, png = cv2.imencode(".png", cv2.cvtColor(shot.rgba, cv2.COLOR_RGBA2BGRA))
                assert ok, "OpenCV could not write a picture to memory"
                fields = (number, style, colour, shot.pose, shot.transl, shot.expression, shot.matrix)
                for key, value in zip(photo, (*fields, png.ravel()), strict=True):
                    photo[key].append(value)

    def settings(self) -> dict:
        """What the bytes depend on, to be kept beside the shards."""
        keep = ("outfits", "styles", "shots", "size", "seed", "builds")
        names = ("suits", "shoes", "hair", "skins", "brows", "lashes")
        return dict(version=VERSION, atlas=ATLAS, **{k: getattr(self, k) for k in keep},
                    assets={k: list(getattr(self.assets, k)) for k in names})  # fmt: skip


def write_shards(generator: Generator, out, count: int = NEVER, seconds: float = float("inf")) -> int:
    """Write the shards 0..count-1 that are missing in folder `out`; stop after `seconds`. Returns how
    many exist.

    Raises InputError where the folder holds shards of other settings.
    """
    from tqdm import tqdm

    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    note, settings = out / "settings.json", generator.settings()
    if note.exists() and (kept := json.loads(note.read_text())) != settings:
        other = [k for k in settings if kept.get(k) != settings[k]]
        raise InputError(f"{out}: holds shards of other settings ({', '.join(other)}); choose another folder")
    note.write_text(json.dumps(settings, indent=1))
    began, number = time.monotonic(), 0
    with tqdm(total=None if count == NEVER else count, unit="shard", mininterval=5) as bar:
        while number < count and time.monotonic() - began < seconds:
            path = out / f"shard_{number:06d}.npz"
            if not path.exists():
                part = path.with_suffix(".part")
                arrays: dict[str, Any] = generator.shard(number)
                with part.open("wb") as file:
                    np.savez(file, **arrays)
                os.replace(part, path)
            number += 1
            bar.update()
    return number


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dinar_live.export.synthetic", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("assets", help="the folder makehuman_cc0 with mhperson.py and assets/")
    parser.add_argument("out", help="folder for the shards")
    parser.add_argument(
        "--people",
        type=int,
        help="people to build; each in 3 outfits, 3 styles and 2 photos of each style (default: without end)",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="pixels a side of a photo")
    parser.add_argument("--without", nargs="*", default=[], metavar="ASSET", help="assets not to be used")
    parser.add_argument(
        "--strict", action="store_true", help=f"leave out the family kept apart: {', '.join(HELD_OUT)}"
    )
    a = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    without = tuple(dict.fromkeys([*a.without, *(HELD_OUT if a.strict else ())]))
    generator = Generator(Assets.open(a.assets, without), size=a.size, seed=a.seed)
    count = NEVER if a.people is None else -(-a.people // generator.builds)
    written = write_shards(generator, a.out, count, 60 * a.minutes)
    print(f"{a.out}: {written} shards, {written * generator.builds * generator.outfits} outfits")


if __name__ == "__main__":
    main()
