"""One photo and nothing else, against the truth: joints, masks, silhouettes, and what an avatar loses.

    python benchmarks/one_photo.py CAPTURE [CAPTURE ...] [--avatars FRAMES]

Each capture needs photo/photo.png, mask.png, smplx.npz and the same with _back, as `photo_fit.py` does, whose measures
are used. Every photo is looked at twice: as it is (a plain wall), and with the true person before a room full of
things. Avatars are made of front and back by projection, the photo's against one from the true fit and mask, over test
frames that are aligned to the estimated shape: rotations kept, and for each frame the translation with which the
joints lie best on the true body's.
"""

from __future__ import annotations

import argparse
import pathlib

import cv2
import numpy as np
from photo_fit import NAMES, compare_avatars, fit_errors, true_view

from dinar_live.export.inputs import View
from dinar_live.export.synthetic.turning import background
from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.models import ModelFolder
from dinar_live.runtime.vision.person import fit_person, look_at
from dinar_live.runtime.vision.pictures import Picture

GOALS = {  # of the means
    "joints cm": (5.0, max),
    "after Procrustes cm": (2.0, max),
    "mask IoU, plain": (0.985, min),
    "mask IoU, busy": (0.97, min),
    "body IoU, plain": (0.86, min),
    "body IoU, busy": (0.86, min),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("captures", nargs="+")
    parser.add_argument(
        "--avatars", type=int, default=0, metavar="FRAMES", help="compare avatars on so many frames"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    body, landmarker = Body.open(), Landmarker(ModelFolder())
    rows: dict[str, list[list[float]]] = {"plain": [], "busy": []}
    print("photo, background | joints cm | after Procrustes cm | body IoU | mask IoU | score")
    for folder in map(pathlib.Path, args.captures):
        truths = [true_view(folder, name) for name in NAMES]
        for number, truth in enumerate(truths):
            for kind, found in rows.items():
                rgb = truth.rgb if kind == "plain" else before_a_room(truth, seed=number)
                name = f"{folder.name} {truth.name}, {kind}"
                try:
                    pictures = [Picture(truth.name, rgb)]
                    photo = fit_person(pictures, look_at(pictures, landmarker))[0]
                except InputError as e:
                    print(f"{name} | refused: {e}", flush=True)
                    continue
                joints, turned, _, body_iou, mask_iou = fit_errors(body, truth, photo)
                found.append([joints, turned, body_iou, mask_iou])
                print(
                    f"{name} | {joints:.1f} | {turned:.1f} | {body_iou:.3f} | {mask_iou:.4f} | {photo.score.value:.2f}",
                    flush=True,
                )
        if args.avatars:
            compare_avatars(folder, truths, landmarker, args.avatars)
    report(rows)


def before_a_room(truth: View, seed: int) -> np.ndarray:
    """The photo with its true person before another background, u8[H,W,3]."""
    alpha = truth.mask[..., None]
    room = background("busy", (truth.rgb.shape[0], truth.rgb.shape[1]), np.random.default_rng(seed))
    return np.clip(truth.rgb * alpha + room * (1 - alpha) + 0.5, 0, 255).astype(np.uint8)


def report(rows: dict[str, list[list[float]]]) -> None:
    """Means, worst values and goals."""
    both = np.array([*rows["plain"], *rows["busy"]])
    columns = {"joints cm": both[:, 0], "after Procrustes cm": both[:, 1]}
    for kind, found in rows.items():
        columns[f"mask IoU, {kind}"] = np.array(found)[:, 3]
        columns[f"body IoU, {kind}"] = np.array(found)[:, 2]
    print("\n| | mean | worst | goal |\n|---|---|---|---|")
    for name, (goal, worst) in GOALS.items():
        values = columns[name]
        better = values.mean() <= goal if worst is max else values.mean() >= goal
        sign = "<=" if worst is max else ">="
        print(
            f"| {name} | {values.mean():.3f} | {worst(values):.3f} | {sign} {goal:g}{'' if better else ', missed'} |"
        )


if __name__ == "__main__":
    main()
