"""Write captures of drawn people, to be scored like real ones: frames in unseen poses, a front and a
back photo.

python -m dinar_live.export.synthetic.capture ASSETS OUT --people 20 --seed 9
"""

from __future__ import annotations

import argparse
import pathlib

import cv2
import numpy as np

from dinar_live.runtime.avatar import Body

from . import people
from .assets import HELD_OUT, Assets
from .person import Person

KEY = 77  # of the random numbers: other people than those of the shards


def write_capture(assets: Assets, body: Body, seed: int, out, *, frames: int = 24, size: int = 384) -> Person:
    """Person `seed` as a capture folder `out`: two training frames, `frames` validation frames, photo/.
    Returns them."""
    rng = np.random.default_rng([KEY, seed])
    person = people.vary(people.build(people.draw(rng, assets), assets, body), rng, assets)
    people.restyle(person, rng, assets)
    out, flat, poser = pathlib.Path(out), person.flat, assets.poser
    drawn, _ = poser.plan(flat, 2, frames, seed, size, close_share=0.15, skirt=bool(person.drapes))
    poser.write_frames(drawn, flat, out, size, 1)
    split = np.array([f["split"] for f in drawn], np.uint8)
    close = np.array([f["close"] for f in drawn], np.uint8)
    np.savez_compressed(out / "capture.npz", **poser.pack(drawn, flat, size, split=split, close_up=close))
    poser.photos(flat, out, size=768)
    return person


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("assets", help="the folder makehuman_cc0")
    parser.add_argument("out", help="folder of capture folders")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first person")
    parser.add_argument("--frames", type=int, default=24, help="validation frames")
    parser.add_argument("--strict", action="store_true", help=f"leave out {', '.join(HELD_OUT)}")
    a = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    assets, body = Assets.open(a.assets, HELD_OUT if a.strict else ()), Body.open()
    for seed in range(a.seed, a.seed + a.people):
        folder = pathlib.Path(a.out) / f"person_{seed:03d}"
        if not (folder / "photo" / "smplx_back.npz").exists():  # written last
            person = write_capture(assets, body, seed, folder, frames=a.frames)
            print(
                folder,
                [p["role"] for p in person.parts if p["role"] in ("drape", "piece", "bun", "tail")],
                flush=True,
            )


if __name__ == "__main__":
    main()
