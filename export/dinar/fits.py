"""SMPL-X fits of a photo, ours (.npz) and the published one (.pkl), as a pose and a camera."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dinar_live import kernels
from dinar_live.export.inputs import placed
from dinar_live.export.inputs import read_fit as read_npz
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import BodyError, InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.formats.pickles import load_pickle

from .crop import Box, make_K

PCA_COLUMNS = 6
# constants of the published code, radians
LEFT_EYE = (-0.23671481, -0.14406434, 0.10868622)
RIGHT_EYE = (-0.39876276, -0.0913531, -0.07875713)
GENDERS = ("neutral", "male", "female")


@dataclass(frozen=True, eq=False)
class HandPCA:
    """The hand space of a user's SMPL-X model: components f32[6,45] and means f32[45], radians."""

    left: np.ndarray
    right: np.ndarray
    mean_l: np.ndarray
    mean_r: np.ndarray

    @classmethod
    def load(cls, path) -> HandPCA:
        """From an SMPL-X model .npz (hands_componentsl/r, hands_meanl/r). Raises BodyError naming file and
        key."""
        path = pathlib.Path(path)
        keys = ("hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr")
        try:
            with np.load(path, allow_pickle=False) as z:
                a = [z[k] for k in keys]
            spaces = [
                checked(k, v[:PCA_COLUMNS], (PCA_COLUMNS, 45)) for k, v in zip(keys[:2], a[:2], strict=True)
            ]
            means = [checked(k, np.ravel(v), (45,)) for k, v in zip(keys[2:], a[2:], strict=True)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as e:
            raise BodyError(f"{path}: {e}; expected an SMPL-X model .npz with {', '.join(keys)}") from e
        return cls(*spaces, *means)

    def poses(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Absolute axis-angle f32[15,3] of both hands from 6 coefficients each; the means are added."""
        return (left @ self.left + self.mean_l).reshape(15, 3), (right @ self.right + self.mean_r).reshape(
            15, 3
        )


@dataclass(frozen=True, eq=False)
class Fit:
    """An SMPL-X fit of one photo.

    pose, camera (K for the photo, or for `ltrb` of it); betas f32[B]; scale: of the posed body about its
    origin, before transl;
    ltrb: the part of the photo (left, top, right, bottom; zero outside) that the fit belongs to, or None for
        all; gender of the body model.
    """

    pose: Pose
    camera: Camera
    betas: np.ndarray
    scale: float = 1.0
    ltrb: Box | None = None
    gender: str = "neutral"

    def vertices(self, rig: Rig) -> np.ndarray:
        """Posed world vertices f32[V,3], metres. `rig` was made with `betas`. Raises InputError if it has too
        few expressions."""
        if len(self.pose.expression) > rig.expressions:
            raise InputError(
                f"fit: has {len(self.pose.expression)} expression coefficients, this body has {rig.expressions}; "
                "give the --body that the fit was made with"
            )
        expression = np.zeros(rig.expressions, np.float32)
        expression[: len(self.pose.expression)] = self.pose.expression
        posed = kernels.lbs(rig.model, self.pose.body, self.pose.transl, expression)
        return (
            posed
            if self.scale == 1
            else ((posed - self.pose.transl) * np.float32(self.scale) + self.pose.transl)
        )

    def projective(self, rig: Rig) -> np.ndarray:
        """Vertices as the rasterizer takes them, f32[V,3] = K @ x_camera."""
        return kernels.project(np.ascontiguousarray(self.vertices(rig)), self.camera.matrix)[0]


def read_fit(path, image_size: tuple[int, int], hands: HandPCA | None = None) -> Fit:
    """Read a fit for a photo of `image_size` (height, width) pixels: .npz with its own camera, or the
    published .pkl.

    hands: needed for .pkl, whose hands are PCA coefficients. Raises InputError naming file and field.
    """
    path = pathlib.Path(path)
    try:
        if path.suffix.lower() in (".pkl", ".pickle"):
            return published_fit(load_pickle(path), image_size, hands)
        return Fit(*placed(read_npz(path), image_size))
    except InputError as e:
        raise e if str(path) in str(e) else InputError(f"{path}: {e}") from None


def published_fit(value: object, image_size: tuple[int, int], hands: HandPCA | None) -> Fit:
    """The published parameter dict, perhaps under `result` and `smplx`.

    Camera frame, focal length 5000 pixels, hands as 6 PCA coefficients, fixed eyes; rotation and file names
    in it are not used. image_size (height, width) of the photo. Raises InputError naming the field.
    """
    for key in ("result", "smplx"):
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping):
        raise InputError(f"fit: got a {type(value).__name__}, expected a dict of SMPL-X parameters")
    if hands is None:
        raise InputError(
            "fit: its hands are PCA coefficients of SMPL-X; give the SMPL-X model .npz (--body) that it belongs to"
        )

    def field(name: str, size: int | None, first: int | None = None) -> np.ndarray:
        if name not in value:
            raise InputError(f"{name}: is missing, got the keys {sorted(map(str, value))}")
        flat = np.ravel(np.asarray(value[name]))
        if flat.dtype.kind not in "iuf":
            raise InputError(f"{name}: got {flat.dtype}, expected numbers")
        if first is not None and len(flat) < first:
            raise InputError(f"{name}: got {len(flat)} numbers, expected at least {first}")
        return checked(name, flat[:first] if first else flat, (size if size else -1,), 1e4)

    hand_l, hand_r = hands.poses(
        field("left_hand_pose", None, PCA_COLUMNS), field("right_hand_pose", None, PCA_COLUMNS)
    )
    body = np.concatenate(
        [
            field("global_orient", 3),
            field("body_pose", 63),
            field("jaw_pose", 3),
            np.array(LEFT_EYE, np.float32),
            np.array(RIGHT_EYE, np.float32),
        ]
    ).reshape(25, 3)
    transl = field("transl" if "transl" in value else "camera_translation", 3)
    gender = value.get("gender", "neutral")
    gender = gender.decode("latin1") if isinstance(gender, bytes) else str(gender)
    if gender not in GENDERS:
        raise InputError(f"gender: got {gender!r}, expected one of {', '.join(GENDERS)}")
    scale = float(field("body_scale", 1)[0]) if value.get("body_scale") is not None else 1.0
    if not 0.01 < scale < 100:
        raise InputError(f"body_scale: got {scale:g}, expected 0.01..100")
    ltrb = _ltrb(value["ltrb"], image_size) if value.get("ltrb") is not None else None
    height, width = image_size if ltrb is None else (ltrb[3] - ltrb[1], ltrb[2] - ltrb[0])
    return Fit(
        Pose(np.concatenate([body, hand_l, hand_r]), transl, field("expression", None)),
        Camera(make_K(height, width), np.eye(4)),
        field("betas", None),
        scale,
        ltrb,
        gender,
    )


def _ltrb(value: object, image_size: tuple[int, int]) -> Box:
    box = checked("ltrb", np.ravel(np.asarray(value)), (4,), 1e5)
    l, t, r, b = (int(v) for v in box)
    height, width = image_size
    if r - l < 8 or b - t < 8 or r <= 0 or b <= 0 or l >= width or t >= height:
        raise InputError(
            f"ltrb: got {[l, t, r, b]} for a photo of {width}x{height}, expected a part of it of at least 8 pixels a side"
        )
    return l, t, r, b
