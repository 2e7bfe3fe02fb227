"""How good a capture is that `dinar capture` made of a drawn film, against the film's truth:

    python benchmarks/film_capture.py CAPTURE TRUTH [--write FOLDER]

TRUTH: what `python -m dinar_live.export.synthetic.turning` wrote beside the film. Joints: the 22 of the body, in the
camera's frame, pelvis on pelvis. --write: the validation frames with the true pictures and alpha instead of the
capture's own, as a capture, for `dinar evaluate --align`.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import shutil

import cv2
import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.export.filming.pictures import Window
from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.body import SolverBody
from dinar_live.runtime.vision.solver.silhouette import overlap
from dinar_live.runtime.vision.solver.so3 import log

LIMBS = {
    "pelvis": [0],
    "thighs, shanks": [1, 2, 4, 5],
    "upper arms": [16, 17],
    "forearms": [18, 19],
    "head": [15],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("capture")
    parser.add_argument("truth")
    parser.add_argument("--poses", help="a capture.npz with other poses, as `dinar fit` writes it")
    parser.add_argument("--write", metavar="FOLDER")
    args = parser.parse_args()
    capture, truth = Capture.open(args.capture), Capture.open(args.truth)
    more = np.load(capture.path / "capture.npz")
    numbers, window = more["number"], more["window"]
    cut = Window(int(window[0]), int(window[1]), (int(window[3]), int(window[2])), capture.size)
    poses, transl = capture.poses, capture.transl
    if args.poses:
        other = np.load(args.poses)
        poses, transl = other["poses"], other["transl"]
    got = [posed(capture.betas, poses[i], transl[i], capture.world_to_camera[i]) for i in range(len(capture))]
    true = [posed(truth.betas, truth.poses[k], truth.transl[k], truth.world_to_camera[k]) for k in numbers]
    joints = np.mean(
        [
            np.linalg.norm((a[0] - a[0][0]) - (b[0] - b[0][0]), axis=1).mean()
            for a, b in zip(got, true, strict=True)
        ]
    )
    turned = np.mean(
        [np.linalg.norm(procrustes(a[0], b[0]) - b[0], axis=1).mean() for a, b in zip(got, true, strict=True)]
    )
    body = Body.open()
    heights = [SolverBody(body, len(c.betas)).height(c.betas.astype(float))[0] for c in (capture, truth)]
    scale = capture.K[0, 0, 0] / cut.size[1] * cut.taken[1] / truth.K[0, 0, 0]
    ious = [
        overlap(capture.image(i)[..., 3] > 127, cut.cut(truth.image(k)[..., 3]) > 127)
        for i, k in enumerate(numbers)
    ]
    print(
        f"{capture.name}: {len(capture)} frames; joints {100 * joints:.1f} cm, after Procrustes {100 * turned:.1f} cm"
    )
    print(f"height {heights[0]:.3f} m (true {heights[1]:.3f}); focal length {scale:.3f} of the true one")
    print(f"masks: IoU {np.mean(ious):.4f} (worst {np.min(ious):.4f})")
    for name, ids in LIMBS.items():
        angles = [
            np.linalg.norm(log(np.swapaxes(b[1][ids], 1, 2) @ a[1][ids]), axis=-1)
            for a, b in zip(got, true, strict=True)
        ]
        print(
            f"{name}: {np.degrees(np.mean(angles)):.1f} degrees off (worst frame {np.degrees(np.max(angles)):.0f})"
        )
    if args.write:
        write_true_frames(capture, truth, numbers, cut, pathlib.Path(args.write))


@functools.lru_cache(maxsize=4)
def solver_body(betas: int) -> SolverBody:
    return SolverBody(Body.open(), betas)


def posed(betas, pose, transl, world_to_camera) -> tuple[np.ndarray, np.ndarray]:
    """Joints f64[22,3] and their rotations f64[22,3,3] on the camera's axes."""
    body = solver_body(len(betas))
    p = body.pose(axis_angle_to_matrix(pose.astype(float)), transl.astype(float), betas.astype(float))
    R, t = world_to_camera[:3, :3].astype(float), world_to_camera[:3, 3].astype(float)
    return p.joints[:22] @ R.T + t, R @ p.world[:22]


def procrustes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Points a [n,3] turned, shifted and scaled to lie on b."""
    p, q = a - a.mean(0), b - b.mean(0)
    U, s, Vt = np.linalg.svd(p.T @ q)
    D = np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))])
    return (s @ np.diag(D)) / (p**2).sum() * p @ (U @ D @ Vt) + b.mean(0)


def write_true_frames(capture: Capture, truth: Capture, numbers, cut: Window, out: pathlib.Path) -> None:
    """The capture with the true pictures, cut alike. Poses stay the estimated ones."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(capture.path / "capture.npz", out / "capture.npz")
    for i, k in enumerate(numbers):
        rgba = truth.image(k).astype(np.float32)
        rgba[..., :3] *= rgba[..., 3:] / 255
        small = cut.cut(rgba)
        small[..., :3] *= 255 / np.maximum(small[..., 3:], 1)
        small = np.clip(small + 0.5, 0, 255).astype(np.uint8)
        cv2.imwrite(str(out / "images" / f"{i:06d}.png"), small[..., [2, 1, 0, 3]])


if __name__ == "__main__":
    main()
