"""SMPL-X family .npz files: AMASS (SMPL-X stageii and SMPL+H), BEAT2, and plain ones with the same keys.
Formats: docs/motion.md."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.npz import Npz

from . import reference_body as ref
from .motion import MAX_FRAMES, Motion

MAX_BYTES = 2 << 30
_MAX_COLUMNS = 200
# Only these are ever read. AMASS files also hold object arrays (markers_latent_vids), which must not be
# touched.
_POSE_KEYS = ("poses", "pose")
_ROOT_KEYS = ("root_orient", "global_orient")
_BODY_KEYS = ("pose_body", "body_pose")
_TRANSLATION_KEYS = ("trans", "transl", "translation")
_RATE_KEYS = ("mocap_frame_rate", "mocap_framerate", "fps", "mocap_frame_rates")
_EXPRESSION_KEYS = ("expressions", "expression")
_AMASS_KEYS = {
    "mocap_framerate",
    "mocap_time_length",
    "dmpls",
    "marker_data",
    "markers_latent",
    "latent_labels",
    "surface_model_type",
}
# World rotation that brings each "up" to +y, as axis-angle.
_TO_Y_UP = {"y": (0, 0, 0), "z": (-np.pi / 2, 0, 0), "-y": (np.pi, 0, 0)}


def load_smplx_npz(
    path,
    *,
    up: str = "auto",
    hands: str = "auto",
    hands_mean=None,
    fps: float | None = None,
    pelvis_rest=None,
    leg_length: float | None = None,
) -> Motion:
    """Read a clip of SMPL, SMPL+H or SMPL-X poses.

    up: the file's upward axis, "y", "z", "-y" (camera) or "auto" (docs/motion.md says how it is found).
    hands: "flat" = rotations are absolute, "mean" = relative to the model's mean hand, "auto" = mean for
        BEAT2, else flat.
    hands_mean: (left [45], right [45]) axis-angle to add for "mean"; without it the open body's relaxed hand
        stands in.
    fps: for files that do not say. pelvis_rest: [3] rest pelvis of the file's body; leg_length: its thigh +
    shank, metres. Raises MotionError, naming file and key.
    """
    path = Path(path)
    for name, value, allowed in (("up", up, ("auto", *_TO_Y_UP)), ("hands", hands, ("auto", "flat", "mean"))):
        if value not in allowed:
            raise MotionError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}")
    with _open(path) as archive:
        return _Reader(path, archive).motion(up, hands, hands_mean, fps, pelvis_rest, leg_length)


def to_y_up(root, pelvis, up: str) -> tuple[np.ndarray, np.ndarray]:
    """Root rotations [N,3] and pelvis path [N,3] of a world whose upward axis is `up` ("y", "z" or "-y"), in
    ours."""
    turn = rot.axis_angle_to_quaternion(_TO_Y_UP[up])
    return rot.quaternion_to_axis_angle(rot.multiply(turn, rot.axis_angle_to_quaternion(root))), rot.rotate(
        turn, pelvis
    )


def upward_seen(root) -> dict[str, float]:
    """How far, -1 to 1, the spine points along each possible upward axis on average over root rotations
    [N,3]."""
    spine = rot.rotate(rot.axis_angle_to_quaternion(root), (0.0, 1.0, 0.0)).mean(axis=0)
    return {"y": spine[1], "z": spine[2], "-y": -spine[1]}


@contextlib.contextmanager
def _open(path: Path):
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MotionError(f"{path}: {size / 2**30:.1f} GiB, expected at most {MAX_BYTES / 2**30:.0f} GiB")
        with Npz(path, MAX_BYTES) as archive:
            yield archive
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None
    except ValueError as e:
        raise MotionError(f"{path}: {e}") from None


class _Reader:
    smpl = False  # the pose columns are those of SMPL or SMPL+H
    handless = False

    def __init__(self, path: Path, archive):
        self.path = path
        self.archive = archive
        self.keys = archive.keys
        self.notes: list[str] = []

    def fail(self, key: str, text: str) -> MotionError:
        return MotionError(f"{self.path}: {key}: {text}")

    def first(self, keys) -> str | None:
        return next((k for k in keys if k in self.keys), None)

    def numbers(self, key: str, columns: int | None = None, frames: int | None = None) -> np.ndarray:
        """A float array [N, columns], checked; [N,J,3] is flattened."""
        try:
            shape, dtype = self.archive.header(key)
            if dtype.hasobject or dtype.kind not in "fiu":
                raise self.fail(key, f"holds {dtype}, expected numbers")
            count = int(np.prod(shape, dtype=object)) if shape else 1
            if len(shape) > 3 or (shape and shape[0] > MAX_FRAMES) or count > MAX_FRAMES * _MAX_COLUMNS:
                raise self.fail(
                    key,
                    f"shape {list(shape)} is too large, expected at most {MAX_FRAMES} frames of {_MAX_COLUMNS} numbers",
                )
            array = np.asarray(self.archive.read(key), np.float64)
        except ValueError as e:
            raise self.fail(key, f"cannot be read ({e})") from None
        array = array.reshape(len(array), int(np.prod(shape[1:]))) if array.ndim > 1 else array
        if columns is not None and (array.ndim != 2 or array.shape[1] != columns):
            raise self.fail(key, f"got shape {list(array.shape)}, expected [frames, {columns}]")
        if frames is not None and (array.ndim != 2 or len(array) != frames):
            raise self.fail(key, f"got shape {list(array.shape)}, expected {frames} frames as in the poses")
        if not np.isfinite(array).all():
            raise self.fail(key, "holds NaN or infinite values")
        return array

    def text(self, key: str) -> str:
        """A string entry, or nothing if it is missing or of another type."""
        if key not in self.keys:
            return ""
        shape, dtype = self.archive.header(key)
        return (
            str(self.archive.read(key).reshape(-1)[0])
            if dtype.kind in "US" and np.prod(shape, dtype=object) == 1
            else ""
        )

    def rate(self, fps: float | None) -> float:
        if fps is not None:
            return fps
        key = self.first(_RATE_KEYS)
        if key is None:
            raise self.fail("frame rate", f"none of {', '.join(_RATE_KEYS[:3])} is in the file; pass fps=")
        value = self.numbers(key).reshape(-1)
        if value.size != 1 or not 0.1 <= value[0] <= 10_000:
            raise self.fail(key, f"got {value[:4].tolist()}, expected one number from 0.1 to 10000")
        return float(value[0])

    def poses(self) -> np.ndarray:
        """[N,55,3] as the file has them, whatever way they are stored."""
        key = self.first(_POSE_KEYS)
        if key:
            return self.whole(key, self.numbers(key))
        root_key, body_key = self.first(_ROOT_KEYS), self.first(_BODY_KEYS)
        if not (root_key and body_key):
            found = ", ".join(sorted(self.keys)[:12])
            raise self.fail(
                "poses", f"not in the file, nor {_ROOT_KEYS[0]} and {_BODY_KEYS[0]}; it has {found}"
            )
        root = self.numbers(root_key, 3)
        n = len(root)
        parts = {0: root, 1: self.numbers(body_key, 63, n)}
        for joint, keys, columns in (
            (22, ("pose_jaw", "jaw_pose"), 3),
            (23, ("pose_eye",), 6),
            (23, ("leye_pose",), 3),
            (24, ("reye_pose",), 3),
            (25, ("pose_hand",), 90),
            (25, ("left_hand_pose",), 45),
            (40, ("right_hand_pose",), 45),
        ):
            found = self.first(keys)
            if found:
                parts[joint] = self.numbers(found, columns, n)
        full = np.zeros((n, 55, 3))
        for joint, part in parts.items():
            full[:, joint : joint + part.shape[1] // 3] = part.reshape(n, -1, 3)
        return full

    def whole(self, key: str, flat: np.ndarray) -> np.ndarray:
        if flat.ndim != 2 or not 1 <= len(flat) <= MAX_FRAMES:
            raise self.fail(
                key, f"got shape {list(flat.shape)}, expected [frames, 165], 1 to {MAX_FRAMES} frames"
            )
        n, columns = flat.shape
        full = np.zeros((n, 55, 3))
        joints = flat[:, : columns // 3 * 3].reshape(n, -1, 3)
        root = self.first(_ROOT_KEYS)
        if columns == 165:
            full[:] = joints
        elif columns == 162 and root:
            full[:, 0] = self.numbers(root, 3, n)
            full[:, 1:] = joints
        elif columns == 156:  # SMPL+H: no jaw and eyes
            full[:, :22], full[:, 25:] = joints[:, :22], joints[:, 22:]
        elif columns in (
            66,
            72,
        ):  # SMPL's joints 22 and 23 are hands that SMPL-X does not have; its 22 is the jaw
            full[:, :22] = joints[:, :22]
        else:
            raise self.fail(
                key,
                f"got {columns} columns, expected 165 (SMPL-X), 156 (SMPL+H), 72 (SMPL) or 66 (body only); "
                f"162 needs {_ROOT_KEYS[0]} beside it",
            )
        self.smpl = columns in (72, 156)
        self.handless = columns in (66, 72)
        return full

    def upward(self, up: str, root: np.ndarray, beat2: bool) -> str:
        """Which axis of the file points up: the container says so, else the mean direction of the spine shows
        it."""
        seen = upward_seen(root)
        best = max(seen, key=lambda k: seen[k])
        if up == "auto":
            known = "y" if beat2 else "z" if self.keys & _AMASS_KEYS else None
            up = known or best
            if known is None and seen[best] < 0.6:
                self.notes.append(
                    f"the upward axis is not clear, taken as {best}; pass up= if the body lies or hangs"
                )
            elif known and best != known and seen[best] > 0.8:
                self.notes.append(
                    f"files of this kind are {known}-up, but the body stands along {best}; pass up='{best}' if it lies down"
                )
        return up

    def motion(self, up, hands, hands_mean, fps, pelvis_rest, leg_length) -> Motion:
        body = self.poses()
        n = len(body)
        body = rot.quaternion_to_axis_angle(rot.axis_angle_to_quaternion(body))  # angles of at most pi
        beat2 = self.text("model") == "smplx2020" or (
            "expressions" in self.keys
            and not self.keys & _AMASS_KEYS
            and self.archive.header("expressions")[0][1:] == (100,)
        )
        key = self.first(_TRANSLATION_KEYS)
        if key:
            translation = self.numbers(key, 3, n)
        else:
            translation = np.zeros((n, 3))
            self.notes.append("no translation in the file: the body stays in place")
        self.hands(body, hands, hands_mean, beat2)
        size = (ref.SMPL_PELVIS, ref.SMPL_LEG) if self.smpl else (ref.SMPLX_PELVIS, ref.SMPLX_LEG)
        rest = np.asarray(size[0] if pelvis_rest is None else pelvis_rest, np.float64)
        if rest.shape != (3,):
            raise MotionError(f"pelvis_rest: got shape {list(rest.shape)}, expected [3]")
        # The root turns about the pelvis joint, not the origin: what moves through the world is rest pelvis +
        # translation.
        pelvis = rest + translation
        body[:, 0], pelvis = to_y_up(body[:, 0], pelvis, self.upward(up, body[:, 0], beat2))
        expression_key = self.first(_EXPRESSION_KEYS)
        expression = self.numbers(expression_key, None, n) if expression_key else np.zeros((n, 0))
        names = self.expression_names(expression.shape[1]) if expression_key else ()
        return Motion(
            body=body,
            pelvis=pelvis,
            leg_length=leg_length or size[1],
            fps=self.rate(fps),
            expression=expression,
            expression_names=names,
            name=self.path.stem,
            notes=tuple(self.notes),
        )

    def expression_names(self, count: int) -> tuple[str, ...] | None:
        """What the columns mean, where the file says so as ours do."""
        if "expression_names" not in self.keys:
            return None
        shape, dtype = self.archive.header("expression_names")
        if dtype.kind != "U" or shape != (count,) or dtype.itemsize > 4 * 256:
            raise self.fail(
                "expression_names",
                f"got {dtype}{list(shape)}, expected text, one name for each of {count} columns",
            )
        return tuple(str(n) for n in self.archive.read("expression_names"))

    def hands(self, body: np.ndarray, hands: str, mean, beat2: bool) -> None:
        if self.handless:
            body[:, 25:] = ref.relaxed_hands()
            self.notes.append("no fingers in the file: relaxed hands")
            return
        if hands == "flat" or (hands == "auto" and not beat2):
            return
        if mean is None:
            offset = ref.relaxed_hands()
            self.notes.append(
                "hands are relative to SMPL-X's mean hand, which is not ours to ship: "
                "the open body's relaxed hand stands in; pass hands_mean= for exact fingers"
            )
        else:
            offset = np.concatenate([np.asarray(side, np.float64).reshape(-1) for side in mean])
            if offset.shape != (90,) or not np.isfinite(offset).all():
                raise MotionError(
                    f"hands_mean: got {offset.size} numbers, expected finite (left [45], right [45])"
                )
            offset = offset.reshape(30, 3)
        body[:, 25:] += offset  # SMPL-X adds axis-angle vectors, it does not compose rotations
