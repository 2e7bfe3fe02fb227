"""Where the body network's points lie on the body, measured on captures of people whose poses are known.

python -m dinar_live.export.point_calibration CAPTURE [CAPTURE ...] --out runtime/assets/pose_points.npz

The body's joints are not where the network puts its points: a hip point lies in front of the joint, the toes' at the
tip of the shoe. Each point gets a constant offset in a joint's frame (`runtime/vision/solver/anchors.py` says which),
the same for the left and the right side, and a sigma: how far off the network is then.

The people of the file that ships: export/synthetic/capture.py, --people 24 --seed 200. Nobody of them is in the
pictures that benchmarks/photo_fit.py scores.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.rotations import axis_angle_to_matrix, between, quaternion_to_matrix
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.landmarks import Landmarks
from dinar_live.runtime.vision.models import ModelFolder
from dinar_live.runtime.vision.solver.anchors import BASE, FACE_POINTS, FRAME, MIRROR, face_anchors
from dinar_live.runtime.vision.solver.body import Posed, SolverBody
from dinar_live.runtime.vision.solver.calibration import PointCalibration
from dinar_live.runtime.vision.solver.camera import USUAL_STATURE
from dinar_live.runtime.vision.solver.face import HEAD, face_points
from dinar_live.runtime.vision.solver.hypotheses import SURE_OF_A_FACE
from dinar_live.runtime.vision.solver.observation import TRUNK
from dinar_live.runtime.vision.solver.so3 import log

from .capture import Capture
from .inputs import placed, read_fit, read_image

ROUNDS = 12
WORLD_ROUNDS = 8
OUTLIER = 0.01  # share of the stature beyond which a point in the picture pulls less
WORLD_OUTLIER = 0.05  # metres, likewise
SEEN = 0.5  # visibility below which a point is not used
GAUSSIAN = 1.18  # the median length of a two-dimensional normal error is so many sigmas
GAUSSIAN_1D = 0.67
FRONTAL = 0.9  # cosine between where a face looks and the camera
LEAST_FACES = 5


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture with its truth. turns f64[55,3,3], joints f64[55,3]: the posed skeleton on the camera's axes,
    metres; K f64[3,3]; points f64[33,2] pixels, visibility f64[33], world f64[33,3]: what the network saw. face
    f64[51,2]: how far off it saw the face's points, metres along the head's x and y; None without a face that looks
    at the camera."""

    turns: np.ndarray
    joints: np.ndarray
    K: np.ndarray
    points: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    face: np.ndarray | None = None

    @classmethod
    def of(
        cls, body: SolverBody, pose: Pose, betas: np.ndarray, camera: Camera, landmarks: Landmarks
    ) -> Sample:
        betas = np.pad(betas.astype(np.float64), (0, max(0, body.betas - len(betas))))[: body.betas]
        posed = body.pose(axis_angle_to_matrix(pose.body), pose.transl.astype(np.float64), betas)
        turn, shift = (
            camera.world_to_camera[:3, :3].astype(float),
            camera.world_to_camera[:3, 3].astype(float),
        )
        return cls(
            turn @ posed.world,
            posed.joints @ turn.T + shift,
            camera.K.astype(np.float64),
            landmarks.points.astype(np.float64),
            landmarks.visibility.astype(np.float64),
            landmarks.world.astype(np.float64),
            _face_error(body, posed, camera, landmarks),
        )

    @property
    def stature(self) -> float:
        """Pixels of a person of 1.7 m at the pelvis."""
        return self.K[0, 0] / self.joints[0, 2] * USUAL_STATURE


def _face_error(body: SolverBody, posed: Posed, camera: Camera, landmarks: Landmarks) -> np.ndarray | None:
    anchors, face = face_anchors(body.body), landmarks.face
    turn = camera.world_to_camera[:3, :3].astype(float) @ posed.world[HEAD]
    if anchors is None or face is None or face.score < SURE_OF_A_FACE or -turn[2, 2] < FRONTAL:
        return None
    none = np.zeros((len(FACE_POINTS), 2))
    x = face_points(body, posed, anchors, none, np.zeros(0, int)).x
    x = x @ camera.world_to_camera[:3, :3].astype(float).T + camera.world_to_camera[:3, 3]
    pixels = (x @ camera.K.T.astype(float))[:, :2] / x[:, 2:]
    metres = (face.xyz[FACE_POINTS, :2] - pixels) * x[:, 2:] / camera.K[0, 0]
    return metres @ turn[:2, :2]


def face_offsets(samples: Sequence[Sample]) -> np.ndarray:
    """Offsets f64[51,2] of the face's points: the median over the faces seen from the front, the same left and right.
    Raises InputError where there are too few."""
    seen = [s.face for s in samples if s.face is not None]
    if len(seen) < LEAST_FACES:
        raise InputError(
            f"point calibration: got {len(seen)} faces seen from the front, expected at least {LEAST_FACES}"
        )
    anchors, body = face_anchors(Body.open()), Body.open()
    assert anchors is not None  # the open body has them
    x = np.einsum("nk,nka->na", anchors.weights, body.template[anchors.corners])
    mirror = np.linalg.norm(x[:, None] * (-1, 1, 1) - x[None], axis=2).argmin(1)
    offset = np.median(seen, axis=0)
    return (offset + offset[mirror] * (-1, 1)) / 2


def _symmetric(offset: np.ndarray) -> np.ndarray:
    """The same for left and right, x mirrored."""
    return (offset + offset[MIRROR] * (-1, 1, 1)) / 2


def _pixels(sample: Sample, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the points are in the picture, f64[33,2], and by the offsets f64[33,2,3]."""
    x = sample.joints[BASE] + np.einsum("nab,nb->na", sample.turns[FRAME], offset)
    f = sample.K[0, 0]
    rows = np.zeros((len(x), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = f / x[:, 2]
    rows[:, :, 2] = -f * x[:, :2] / x[:, 2:] ** 2
    return f * x[:, :2] / x[:, 2:] + sample.K[:2, 2], rows @ sample.turns[FRAME]


def picture_offsets(samples: Sequence[Sample]) -> np.ndarray:
    """Offsets f64[33,3] of the points in the picture: Gauss-Newton with weights against outliers."""
    offset = np.zeros((len(BASE), 3))
    hold = 1e-4 * len(samples)  # keeps directions that no picture shows near zero
    for _ in range(ROUNDS):
        A, b = np.zeros((len(BASE), 3, 3)), np.zeros((len(BASE), 3))
        for sample in samples:
            pixels, rows = _pixels(sample, offset)
            error, rows = (sample.points - pixels) / sample.stature, rows / sample.stature
            length = np.linalg.norm(error, axis=1)
            weight = (OUTLIER / np.maximum(length, OUTLIER)) ** 1.5 * (sample.visibility > SEEN)
            A += weight[:, None, None] * (rows.transpose(0, 2, 1) @ rows)
            b += weight[:, None] * np.einsum("nab,na->nb", rows, error)
        step = np.linalg.solve(A + hold * np.eye(3), (b - hold * offset)[..., None])[..., 0]
        offset = _symmetric(offset + step)
    return offset


def picture_errors(samples: Sequence[Sample], offset: np.ndarray) -> np.ndarray:
    """f64[N,33] shares of the stature, NaN where a point is not seen."""
    errors = []
    for sample in samples:
        error = np.linalg.norm(sample.points - _pixels(sample, offset)[0], axis=1) / sample.stature
        errors.append(np.where(sample.visibility > SEEN, error, np.nan))
    return np.array(errors)


@dataclass(frozen=True, eq=False)
class _Sighted:
    """A sample on the axes of its line of sight, as the network takes them: turns, joints, world, trust."""

    turns: np.ndarray
    joints: np.ndarray
    world: np.ndarray
    trust: np.ndarray

    @classmethod
    def of(cls, sample: Sample) -> _Sighted:
        middle = (sample.points[TRUNK].mean(0) - sample.K[:2, 2]) / sample.K[0, 0]
        sight = quaternion_to_matrix(between(np.array([0, 0, 1.0]), np.array([*middle, 1.0])))
        trust = np.clip((sample.visibility - 0.2) / 0.6, 0, 1)
        return cls(sight.T @ sample.turns, sample.joints @ sight, sample.world, trust)

    def placed(self, offset: np.ndarray, tilt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The body's points and the network's, turned by the tilt, scaled and shifted to them."""
        x = self.joints[BASE] + np.einsum("nab,nb->na", self.turns[FRAME], offset)
        y = self.world @ axis_angle_to_matrix(tilt).T
        w = (self.trust + 1e-3)[:, None]
        cx, cy = (w * x).sum(0) / w.sum(), (w * y).sum(0) / w.sum()
        scale = (w * (x - cx) * (y - cy)).sum() / (w * (y - cy) ** 2).sum()
        return x, scale * (y - cy) + cx


def world_offsets(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets f64[33,3] of the 3D points, and the tilt f64[3] about x that they all share."""
    sighted = [_Sighted.of(s) for s in samples]
    offset, tilt = np.zeros((len(BASE), 3)), np.zeros(3)
    for _ in range(WORLD_ROUNDS):
        total, weights, turns = np.zeros((len(BASE), 3)), np.zeros((len(BASE), 1)), []
        for s in sighted:
            x, y = s.placed(offset, tilt)
            k = s.trust > SEEN
            U, _, Vt = np.linalg.svd((y[k] - y[k].mean(0)).T @ (x[k] - x[k].mean(0)))
            turns.append(log((U @ np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))]) @ Vt).T))
            at = np.einsum("nba,nb->na", s.turns[FRAME], y - s.joints[BASE])
            off = np.linalg.norm(at - offset, axis=1)
            weight = (s.trust / (1 + (off / WORLD_OUTLIER) ** 2))[:, None]
            total += weight * at
            weights += weight
        offset = _symmetric(total / (weights + 10))  # the 10 keeps what is seldom seen near zero
        tilt = tilt + np.median(turns, 0) * (1, 0, 0)
    return offset, tilt


def world_errors(samples: Sequence[Sample], offset: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """f64[N,33,3] metres along the line of sight's axes, NaN where a point is not seen."""
    errors = []
    for s in (_Sighted.of(s) for s in samples):
        x, y = s.placed(offset, tilt)
        errors.append(np.where((s.trust > SEEN)[:, None], y - x, np.nan))
    return np.array(errors)


def calibrate(samples: Sequence[Sample]) -> PointCalibration:
    """Raises InputError where there are too few samples to say anything."""
    if len(samples) < 20:
        raise InputError(f"point calibration: got {len(samples)} pictures, expected at least 20")
    offset = picture_offsets(samples)
    world_offset, tilt = world_offsets(samples)
    sigma = np.nanmedian(picture_errors(samples, offset), 0) / GAUSSIAN
    world_sigma = np.nanmedian(np.abs(world_errors(samples, world_offset, tilt)), 0) / GAUSSIAN_1D
    return PointCalibration(
        offset, (sigma + sigma[MIRROR]) / 2, world_offset, (world_sigma + world_sigma[MIRROR]) / 2, tilt,
        face_offsets(samples),
    )  # fmt: skip


def save(calibration: PointCalibration, path) -> None:
    """As `PointCalibration.load` reads it."""
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part.npz")
    np.savez(part, **{k: v.astype(np.float32) for k, v in vars(calibration).items()})
    os.replace(part, path)


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Soft random colours f32[H,W,3], plain or busy."""
    cells = 3 if rng.random() < 0.5 else 9
    colours = rng.uniform(60, 220, (cells, cells, 3)).astype(np.float32)
    return cv2.resize(colours, size[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255)


def pictures(folder, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, Pose, np.ndarray, Camera]]:
    """The full-body frames of a capture over random backgrounds, and its photos: rgb, pose, betas, camera."""
    capture = Capture.open(folder)
    for i in np.flatnonzero(capture.close_up == 0).tolist():
        rgba = capture.image(i).astype(np.float32)
        alpha = rgba[..., 3:] / 255
        rgb = rgba[..., :3] * alpha + background(rng, capture.size) * (1 - alpha)
        yield rgb.astype(np.uint8), capture.pose(i), capture.betas, capture.camera(i)
    for photo, fit in (("photo.png", "smplx.npz"), ("photo_back.png", "smplx_back.npz")):
        path = capture.path / "photo" / photo
        if path.is_file():
            rgb = cv2.cvtColor(read_image(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            truth = placed(read_fit(path.with_name(fit)), (rgb.shape[0], rgb.shape[1]))
            yield rgb, truth[0], truth[2], truth[1]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("captures", nargs="+", help="capture folders of the open body")
    parser.add_argument("--out", required=True, help="the .npz to write")
    a = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    body = SolverBody(Body.open(), Body.open().shape_dirs.shape[2])
    landmarker = Landmarker(ModelFolder(), hands=False)
    samples, missed = [], 0
    for folder in tqdm(a.captures, unit="capture"):
        for rgb, pose, betas, camera in pictures(folder, rng):
            try:
                seen = landmarker.look(rgb, mask=False).landmarks
            except InputError:
                missed += 1
                continue
            samples.append(Sample.of(body, pose, betas, camera, seen))
    found = calibrate(samples)
    error, world = (
        picture_errors(samples, found.offset),
        world_errors(samples, found.world_offset, found.tilt),
    )
    print(f"{len(samples)} pictures, nobody found in {missed} more")
    print(f"points in the picture: off by {100 * np.nanmedian(error):.2f} % of the stature, median")
    print(f"points in 3D: off by {100 * np.nanmean(np.linalg.norm(world, axis=2)):.1f} cm, mean")
    save(found, a.out)


if __name__ == "__main__":
    main()
