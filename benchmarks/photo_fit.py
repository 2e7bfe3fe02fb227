"""How good a mask, a fit and an avatar a photo alone gives, on captures whose truth is known: python
benchmarks/photo_fit.py CAPTURE [CAPTURE ...] [--together] [--avatars FRAMES]

Each capture needs photo/photo.png, mask.png, smplx.npz and the same with _back (docs/photo.md says how people are
made). Joints: the 22 of the body, in centimetres, pelvis on pelvis; after Procrustes also turned, shifted and scaled.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from dataclasses import replace

import cv2
import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.export.evaluate import evaluate
from dinar_live.export.inputs import View, read_view
from dinar_live.export.metrics.pictures import Truth
from dinar_live.export.projection import project_photos
from dinar_live.kernels import lbs
from dinar_live.runtime.avatar import Avatar, Body, Rig
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.models import ModelFolder
from dinar_live.runtime.vision.person import PersonPhoto, fit_person, look_at
from dinar_live.runtime.vision.pictures import read_picture
from dinar_live.runtime.vision.solver.body import SolverBody
from dinar_live.runtime.vision.solver.photo_fit import FitOptions
from dinar_live.runtime.vision.solver.silhouette import overlap, silhouette

NAMES = ("photo", "photo_back")
ALIGNING_STEPS = 8
HOLD = 0.1  # of one joint's weight: that the translation stays where the joints' mean has it


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--together", action="store_true", help="front and back share one shape")
    parser.add_argument("--true-height", action="store_true", help="as with --height")
    parser.add_argument(
        "--avatars", type=int, default=0, metavar="FRAMES", help="compare avatars on so many frames"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    body, landmarker, rows = Body.open(), Landmarker(ModelFolder()), []
    print("photo | joints cm | Procrustes cm | height off cm | body IoU | mask IoU | score | CPU s")
    for folder in map(pathlib.Path, args.captures):
        truths = [true_view(folder, n) for n in NAMES]
        for group in [truths] if args.together else [[t] for t in truths]:
            start = time.process_time()
            height = true_height(body, group[0]) if args.true_height else None
            found = understood(folder, group, landmarker, FitOptions(height=height))
            seconds = (time.process_time() - start) / len(group)
            for truth, photo in zip(group, found, strict=True):
                rows.append([*fit_errors(body, truth, photo), photo.score.value, seconds])
                print(f"{folder.name} {truth.name} | " + " | ".join(f"{v:.3g}" for v in rows[-1]), flush=True)
        if args.avatars:
            compare_avatars(folder, truths, landmarker, args.avatars)
    mean = np.abs(rows).mean(0)
    print("mean | " + " | ".join(f"{v:.3g}" for v in mean))


def true_view(folder: pathlib.Path, name: str) -> View:
    photos = folder / "photo"
    paths = [
        photos / f"{name.replace('photo', kind)}.{end}"
        for kind, end in (("photo", "png"), ("mask", "png"), ("smplx", "npz"))
    ]
    return replace(read_view(*paths), name=name)


def understood(folder, truths: list[View], landmarker: Landmarker, options: FitOptions) -> list[PersonPhoto]:
    pictures = [read_picture(folder / "photo" / f"{t.name}.png") for t in truths]
    return fit_person(pictures, look_at(pictures, landmarker), options=options)


def true_height(body: Body, truth: View) -> float:
    return SolverBody(body, len(truth.betas)).height(truth.betas.astype(float))[0]


def fit_errors(body: Body, truth: View, photo: PersonPhoto) -> list[float]:
    """Joints, Procrustes, height (cm), body's and mask's IoU against the true mask."""
    exact, solver = SolverBody(body, len(truth.betas)), SolverBody(body)
    posed = exact.pose(
        axis_angle_to_matrix(truth.pose.body), truth.pose.transl.astype(float), truth.betas.astype(float)
    )
    to_camera = truth.camera.world_to_camera[:3, :3].astype(float)
    true = (posed.joints[:22] @ to_camera.T) * (1, -1, -1)
    got = photo.fit.posed(solver).joints[:22]
    off = np.linalg.norm((got - got[0]) - (true - true[0]), axis=1).mean()
    turned = np.linalg.norm(procrustes(got, true) - true, axis=1).mean()
    height = solver.height(photo.fit.betas)[0] - exact.height(truth.betas.astype(float))[0]
    seen = silhouette(
        solver, photo.fit.posed(solver), photo.fit.pinhole, photo.fit.size, max(photo.fit.size)
    )[0]
    person = truth.mask > 0.5
    return [100 * off, 100 * turned, 100 * height, overlap(seen, person), overlap(photo.mask > 127, person)]


def procrustes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Points a [n,3] turned, shifted and scaled to lie on b."""
    p, q = a - a.mean(0), b - b.mean(0)
    U, s, Vt = np.linalg.svd(p.T @ q)
    D = np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))])
    return (s @ np.diag(D)) / (p**2).sum() * p @ (U @ D @ Vt) + b.mean(0)


def compare_avatars(folder: pathlib.Path, truths: list[View], landmarker: Landmarker, count: int) -> None:
    """The avatar from the photos alone against the one from true fits and masks."""
    body, capture = Body.open(), Capture.open(folder)
    frames = capture.frames("validation")[:count]
    found = understood(folder, truths, landmarker, FitOptions())
    views = [
        View(
            t.name,
            t.rgb,
            p.mask.astype(np.float32) / 255,
            p.fit.pose,
            p.fit.camera,
            p.fit.betas.astype(np.float32),
        )
        for t, p in zip(truths, found, strict=True)
    ]
    exact = body.rig(capture.betas)
    for name, made in (("true fit and mask", truths), ("photo alone", views)):
        avatar = project_photos(made, body, name="avatar")[0]
        aligned = capture if made is truths else aligned_capture(capture, frames, exact, avatar.rig)
        scores = evaluate(avatar, aligned, frames, "texture").scores
        own = [own_view(avatar, view, truth) for view, truth in zip(made, truths, strict=True)]
        print(
            f"{folder.name} avatar from {name} | PSNR {scores['psnr'].mean():.2f} dB | IoU {scores['alpha_iou'].mean():.3f} | "
            f"own views {np.mean(own):.2f} dB",
            flush=True,
        )


def own_view(avatar: Avatar, view: View, truth: View) -> float:
    """PSNR of the avatar in the view of its own photo, dB."""
    alpha = np.round(255 * truth.mask).astype(np.uint8)
    size = (truth.rgb.shape[0], truth.rgb.shape[1])
    with Renderer(avatar, size, renderer="texture", crop=False) as r:
        frame = r.render(view.pose, view.camera)
    return Truth(np.dstack([truth.rgb, alpha])).compare(frame.rgba).scores.psnr


def aligned_capture(capture: Capture, frames: np.ndarray, exact: Rig, rig: Rig) -> Capture:
    """The capture's poses for another body: rotations kept, and the translation with which the joints that are in the
    picture lie best on the true body's there (Gauss-Newton, held a little where they say nothing on the distance).
    What is left is the estimated shape's fault."""
    transl = capture.transl.copy()
    size = np.array(capture.size[::-1])
    for i in frames:
        pose, camera = capture.pose(i), capture.camera(i)
        true, mine = posed_joints(exact, pose), posed_joints(rig, pose)
        target, slope = pixels(camera.matrix, true)
        depth = true @ camera.matrix[2, :3] + camera.matrix[2, 3]
        seen = (depth > 0.2) & ((target > -0.1 * size) & (target < 1.1 * size)).all(1)
        start = shift = (true - mine)[seen].mean(0)
        hold = HOLD * np.abs(slope[seen]).max() * np.eye(3)
        for _ in range(ALIGNING_STEPS):
            at, slope = pixels(camera.matrix, (mine + shift)[seen])
            J = np.concatenate([slope.reshape(-1, 3), hold])
            r = np.concatenate([(at - target[seen]).reshape(-1), hold @ (shift - start)])
            shift = shift - np.linalg.lstsq(J, r, rcond=None)[0]
        transl[i] += shift
    return replace(capture, transl=transl)


def posed_joints(rig: Rig, pose) -> np.ndarray:
    joints = np.empty((55, 3), np.float32)
    lbs(rig.model, pose.body, pose.transl, pose.expression, joints_out=joints, threads=1)
    return joints.astype(np.float64)


def pixels(matrix: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [n,2] of points [n,3] and their derivatives [n,2,3]. matrix [3,4] = K @ world_to_camera."""
    p = x @ matrix[:, :3].T + matrix[:, 3]
    at = p[:, :2] / p[:, 2:]
    return at, (matrix[None, :2, :3] - at[..., None] * matrix[None, 2:, :3]) / p[:, 2, None, None]


if __name__ == "__main__":
    main()
