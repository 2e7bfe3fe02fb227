"""Poses of the SMPL family under the names that researchers give them, from any store of named arrays: an .npz
file, or a dictionary out of a pickle. Formats: docs/motion.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from . import pose_forms as forms
from . import reference_body as ref
from .hand_model import HandModel
from .motion import MAX_FRAMES, Motion
from .upward import judged, to_y_up

_MAX_COLUMNS = 55 * 9  # matrices
# Only these are ever read. AMASS files also hold object arrays (markers_latent_vids), which must not be
# touched.
_POSE_KEYS = ("poses", "pose", "smpl_poses", "fullpose", "full_pose", "rotmat")
_ROOT_KEYS = ("root_orient", "global_orient", "smpl_root_orient")
_BODY_KEYS = ("pose_body", "body_pose", "smpl_body_pose")
_TRANSLATION_KEYS = ("trans", "transl", "translation", "smpl_trans")
_SCALE_KEY = "smpl_scaling"  # AIST++: how many of the file's units the model's metre is
RATE_KEYS = ("mocap_frame_rate", "mocap_framerate", "fps", "mocap_frame_rates", "framerate", "frame_rate")
_EXPRESSION_KEYS = ("expressions", "expression")
_HAND_KEYS = ("pose_hand", "left_hand_pose", "right_hand_pose")
_PCA_KEYS = ("num_pca_comps",)
_AMASS_KEYS = {
    "mocap_framerate",
    "mocap_time_length",
    "dmpls",
    "marker_data",
    "markers_latent",
    "latent_labels",
    "surface_model_type",
}


def holds_poses(keys: set[str], whole: bool = True) -> bool:
    """Whether these keys name the poses of a clip; whole=False: or a part of them."""
    any_of = [not keys.isdisjoint(group) for group in (_POSE_KEYS, _ROOT_KEYS, _BODY_KEYS)]
    return any_of[0] or (any_of[1] and any_of[2]) if whole else any(any_of)


class Archive(Protocol):
    """Named arrays. Errors are ValueError."""

    keys: set[str]

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype]: ...

    def read(self, key: str) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Options:
    """As for `load_smplx_npz`; assumed_fps: where neither the user nor the file says one; known_up: the upward
    axis that the layout promises."""

    up: str = "auto"
    hands: str = "auto"
    hands_mean: object = None
    fps: float | None = None
    pelvis_rest: object = None
    leg_length: float | None = None
    model: HandModel | None = None
    assumed_fps: float | None = None
    known_up: str | None = None


class NumbersReader:
    """One clip out of `archive`; path: for errors, and the clip's name. where: the part of the file."""

    smpl = False  # the pose columns are those of SMPL or SMPL+H
    handless = False

    def __init__(self, path: Path, archive: Archive, options: Options, where: str = ""):
        self.path = path
        self.archive = archive
        self.options = options
        self.where = where
        self.keys = archive.keys
        self.notes: list[str] = []
        self.batched = forms.is_batch(archive, self.first(_POSE_KEYS) or self.first(_BODY_KEYS))
        self.flat_fingers: dict[int, bool] = {}  # hand -> whether coefficients made it absolute already

    def fail(self, key: str, text: str) -> MotionError:
        return MotionError(f"{self.path}: {f'{self.where}: ' if self.where else ''}{key}: {text}")

    def first(self, keys) -> str | None:
        return next((k for k in keys if k in self.keys), None)

    def array(self, key: str) -> np.ndarray:
        """Finite f64 numbers, of whatever shape a clip may have."""
        try:
            shape, dtype = self.archive.header(key)
            if dtype.hasobject or dtype.kind not in "fiu":
                raise self.fail(key, f"holds {dtype}, expected numbers")
            count = int(np.prod(shape, dtype=object)) if shape else 1
            if len(shape) > 4 or (shape and shape[0] > MAX_FRAMES) or count > MAX_FRAMES * _MAX_COLUMNS:
                raise self.fail(
                    key,
                    f"shape {list(shape)} is too large, expected at most {MAX_FRAMES} frames of {_MAX_COLUMNS} numbers",
                )
            array = np.asarray(self.archive.read(key), np.float64)
        except ValueError as e:
            raise self.fail(key, f"cannot be read ({e})") from None
        if self.batched and array.ndim > 1 and len(array) == 1:
            array = array[0]
        if not np.isfinite(array).all():
            raise self.fail(key, "holds NaN or infinite values")
        return array

    def numbers(self, key: str, columns: int | None = None, frames: int | None = None) -> np.ndarray:
        """A float array [N, columns], checked; what has more axes is flattened."""
        array = self.array(key)
        array = array.reshape(len(array), int(np.prod(array.shape[1:]))) if array.ndim > 1 else array
        if columns is not None and (array.ndim != 2 or array.shape[1] != columns):
            raise self.fail(key, f"got shape {list(array.shape)}, expected [frames, {columns}]")
        if frames is not None and (array.ndim != 2 or len(array) != frames):
            raise self.fail(key, f"got shape {list(array.shape)}, expected {frames} frames as in the poses")
        return array

    def turns(self, key: str, frames: int | None = None) -> np.ndarray:
        """Rotations [N, 3 joints] as axis-angle, however they are written."""
        try:
            flat, matrices = forms.axis_angle(self.array(key))
        except forms.FormError as e:
            raise self.fail(key, str(e)) from None
        if matrices:
            self.notes.append(f"{key}: rotation matrices")
        if frames is not None and (flat.ndim != 2 or len(flat) != frames):
            raise self.fail(key, f"got shape {list(flat.shape)}, expected {frames} frames as in the poses")
        return flat

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

    def rate(self) -> float:
        if self.options.fps is not None:
            return self.options.fps
        key = self.first(RATE_KEYS)
        if key is None:
            if self.options.assumed_fps is not None:
                self.notes.append(
                    f"the file does not say its frame rate: {self.options.assumed_fps:g} assumed, "
                    "give another with --source-fps"
                )
                return self.options.assumed_fps
            raise self.fail(
                "frame rate",
                f"none of {', '.join(RATE_KEYS[:3])} is in the file; give it with --source-fps (in Python: pass fps=)",
            )
        value = self.numbers(key).reshape(-1)
        if value.size != 1 or not 0.1 <= value[0] <= 10_000:
            raise self.fail(key, f"got {value[:4].tolist()}, expected one number from 0.1 to 10000")
        return float(value[0])

    def poses(self) -> np.ndarray:
        """[N,55,3] as the file has them, whatever way they are stored."""
        key = self.first(_POSE_KEYS)
        if key:
            return self.whole(key, self.turns(key))
        root_key, body_key = self.first(_ROOT_KEYS), self.first(_BODY_KEYS)
        if not (root_key and body_key):
            found = ", ".join(sorted(self.keys)[:12])
            raise self.fail(
                "poses", f"not in the file, nor {_ROOT_KEYS[0]} and {_BODY_KEYS[0]}; it has {found}"
            )
        root = self.turns(root_key)
        if root.ndim != 2 or root.shape[1] != 3 or not 1 <= len(root) <= MAX_FRAMES:
            raise self.fail(root_key, f"got shape {list(root.shape)}, expected [frames, 3]")
        full = np.zeros((len(root), 55, 3))
        full[:, 0] = root
        self.body(full, body_key)
        self.face_and_hands(full)
        return full

    def body(self, full: np.ndarray, key: str) -> None:
        """The joints below the root: SMPL-X's 21, or SMPL's 23, whose last two are hands."""
        flat = self.turns(key, len(full))
        if flat.ndim != 2 or flat.shape[1] not in (63, 69):
            raise self.fail(
                key, f"got shape {list(flat.shape)}, expected [frames, 63] (SMPL-X) or [frames, 69] (SMPL)"
            )
        full[:, 1:22] = flat[:, :63].reshape(len(full), 21, 3)
        self.smpl = flat.shape[1] == 69
        self.handless = self.smpl and not self.first(_HAND_KEYS)

    def face_and_hands(self, full: np.ndarray) -> None:
        n = len(full)
        for joint, keys, columns in (
            (22, ("pose_jaw", "jaw_pose"), 3),
            (23, ("pose_eye",), 6),
            (23, ("leye_pose",), 3),
            (24, ("reye_pose",), 3),
        ):
            found = self.first(keys)
            if found:
                part = self.turns(found, n)
                if part.shape[1] != columns:
                    raise self.fail(found, f"got shape {list(part.shape)}, expected [frames, {columns}]")
                full[:, joint : joint + columns // 3] = part.reshape(n, -1, 3)
        if "pose_hand" in self.keys:
            both = self.turns("pose_hand", n)
            if both.shape[1] % 2:
                raise self.fail("pose_hand", f"got shape {list(both.shape)}, expected [frames, 90]")
            half = both.shape[1] // 2
            self.hand(full, 0, "pose_hand", both[:, :half])
            self.hand(full, 1, "pose_hand", both[:, half:])
        for side, key in enumerate(("left_hand_pose", "right_hand_pose")):
            if key in self.keys:
                self.hand(full, side, key, self.turns(key, n))

    def hand(self, full: np.ndarray, side: int, key: str, numbers: np.ndarray) -> None:
        """One hand: 45 numbers are axis-angle unless the file says that they are PCA coefficients; fewer are."""
        count, joints = numbers.shape[1], slice(25 + 15 * side, 40 + 15 * side)
        said = self.first(_PCA_KEYS)
        coefficients = count < 45 or (said is not None and self.array(said).reshape(-1)[:1] == count)
        if not 1 <= count <= 45:
            raise self.fail(key, f"got {count} numbers a hand, expected 45, or fewer PCA coefficients")
        if not coefficients:
            full[:, joints] = numbers.reshape(-1, 15, 3)
            return
        self.flat_fingers[side] = True
        if self.options.model is None:
            full[:, joints] = ref.relaxed_hands()[15 * side : 15 * side + 15]
            note = (
                f"{count} PCA coefficients a hand need the hands of a body model of your own: relaxed hands; "
                "--hands-model SMPLX_NEUTRAL.npz reads them"
            )
            self.notes += [note] * (note not in self.notes)
            return
        try:
            fingers = self.options.model.fingers(numbers, side, flat=self.options.hands == "flat")
        except MotionError as e:
            raise self.fail(key, str(e)) from None
        full[:, joints] = fingers.reshape(-1, 15, 3)

    def whole(self, key: str, flat: np.ndarray) -> np.ndarray:
        if flat.ndim != 2 or not 1 <= len(flat) <= MAX_FRAMES:
            raise self.fail(
                key, f"got shape {list(flat.shape)}, expected [frames, 165], 1 to {MAX_FRAMES} frames"
            )
        n, columns = flat.shape
        full = np.zeros((n, 55, 3))
        root = self.first(_ROOT_KEYS)
        if columns in (63, 69, 162) and root:
            flat = np.concatenate([self.turns(root, n)[:, :3], flat], axis=1)
            columns += 3
        said = self.first(_PCA_KEYS)
        pca = int(self.array(said).reshape(-1)[0]) if said and self.array(said).size == 1 else 0
        body = {66 + 2 * pca: 66, 75 + 2 * pca: 75}.get(columns) if 0 < pca <= 45 else None
        joints = flat[:, : columns // 3 * 3].reshape(n, -1, 3)
        if columns == 165:
            full[:] = joints
        elif columns == 156:  # SMPL+H: no jaw and eyes
            full[:, :22], full[:, 25:] = joints[:, :22], joints[:, 22:]
        elif body is not None:
            full[:, : body // 3] = flat[:, :body].reshape(n, -1, 3)
            self.hand(full, 0, key, flat[:, body : body + pca])
            self.hand(full, 1, key, flat[:, body + pca :])
        elif columns in (
            66,
            72,
        ):  # SMPL's joints 22 and 23 are hands that SMPL-X does not have; its 22 is the jaw
            full[:, :22] = joints[:, :22]
        else:
            raise self.fail(
                key,
                forms.looks_like(columns)
                or f"got {columns} columns, expected 165 (SMPL-X), 156 (SMPL+H), 72 (SMPL) or 66 (body only), "
                f"or as many rotation matrices; 162 needs {_ROOT_KEYS[0]} beside it, as do 69 and 63",
            )
        self.smpl = columns in (72, 156)
        self.handless = columns in (66, 72) and body is None
        return full

    def motion(self) -> Motion:
        o = self.options
        body = self.poses()
        n = len(body)
        try:
            body, degrees = forms.radians(body)
        except forms.FormError as e:
            raise self.fail(self.first((*_POSE_KEYS, *_BODY_KEYS)) or "poses", str(e)) from None
        self.notes += [degrees] if degrees else []
        body = rot.quaternion_to_axis_angle(rot.axis_angle_to_quaternion(body))  # angles of at most pi
        beat2 = self.text("model") == "smplx2020" or (
            "expressions" in self.keys
            and not self.keys & _AMASS_KEYS
            and self.archive.header("expressions")[0][1:] == (100,)
        )
        fps = self.rate()
        self.hands(body, o.hands, o.hands_mean, beat2)
        size = (ref.SMPL_PELVIS, ref.SMPL_LEG) if self.smpl else (ref.SMPLX_PELVIS, ref.SMPLX_LEG)
        rest = np.asarray(size[0] if o.pelvis_rest is None else o.pelvis_rest, np.float64)
        if rest.shape != (3,):
            raise MotionError(f"pelvis_rest: got shape {list(rest.shape)}, expected [3]")
        known = o.known_up or ("y" if beat2 else "z" if self.keys & _AMASS_KEYS else None)
        translation = self.translation(body[:, 0], fps, known)
        # The root turns about the pelvis joint, not the origin: what moves through the world is rest pelvis +
        # translation.
        pelvis = rest + translation
        up = o.up
        if up == "auto":
            up, note = judged(body[:, 0], pelvis, known)
            self.notes += [note] if note else []
        body[:, 0], pelvis = to_y_up(body[:, 0], pelvis, up)
        expression_key = self.first(_EXPRESSION_KEYS)
        expression = self.numbers(expression_key, None, n) if expression_key else np.zeros((n, 0))
        names = self.expression_names(expression.shape[1]) if expression_key else ()
        return Motion(
            body=body,
            pelvis=pelvis,
            leg_length=o.leg_length or size[1],
            fps=fps,
            expression=expression,
            expression_names=names,
            name=self.path.stem,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def translation(self, root: np.ndarray, fps: float, known: str | None) -> np.ndarray:
        """[N,3] metres."""
        key = self.first(_TRANSLATION_KEYS)
        if key is None:
            self.notes.append("no translation in the file: the body stays in place")
            return np.zeros((len(root), 3))
        places = self.numbers(key, 3, len(root))
        if _SCALE_KEY in self.keys:
            scale = self.array(_SCALE_KEY).reshape(-1)
            if scale.size != 1 or not 1e-3 <= scale[0] <= 1e6:
                raise self.fail(_SCALE_KEY, f"got {scale[:4].tolist()}, expected one number over 0")
            return places / scale[0]
        up = judged(root, places, known)[0] if self.options.up == "auto" else self.options.up
        scale, note = forms.metre_scale(places, fps, up)
        self.notes += [f"{key}: {note}"] if note else []
        return places * scale

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
        """The mean hand, where the file's hands are relative to it."""
        if self.handless:
            body[:, 25:] = ref.relaxed_hands()
            self.notes.append("no fingers in the file: relaxed hands")
            return
        if hands == "flat" or (hands == "auto" and not beat2):
            return
        if mean is None and self.options.model is not None:
            mean = self.options.model.mean
        if mean is None:
            offset = ref.relaxed_hands()
            self.notes.append(
                "hands are relative to SMPL-X's mean hand, which is not ours to ship: "
                "the open body's relaxed hand stands in; --hands-model (in Python: hands_mean=) gives exact fingers"
            )
        else:
            offset = np.concatenate([np.asarray(side, np.float64).reshape(-1) for side in mean])
            if offset.shape != (90,) or not np.isfinite(offset).all():
                raise MotionError(
                    f"hands_mean: got {offset.size} numbers, expected finite (left [45], right [45])"
                )
            offset = offset.reshape(30, 3)
        for side in (0, 1):
            if side not in self.flat_fingers:  # SMPL-X adds axis-angle vectors, it does not compose rotations
                body[:, 25 + 15 * side : 40 + 15 * side] += offset[15 * side : 15 * side + 15]
