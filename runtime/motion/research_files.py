"""Motion from the files of pose estimators: GVHMR, WHAM, SMPLer-X and SMPLify-X. Offline, and nothing in the
files is executed.

Layouts as their own code writes them; which, and what was tried on real files, says docs/motion.md.
"""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.npz import Npz
from dinar_live.runtime.formats.restricted_unpickle import Inert
from dinar_live.runtime.formats.stored_array import StoredArray, StoredArrayError

from . import Motion
from . import reference_body as ref
from .containers import read_container
from .dict_files import DictArchive, holds_clips, read_dictionary
from .hand_model import HandModel
from .recording import even_motion
from .unread_files import fbx, named_npy
from .upward import to_y_up, upward_seen

SUPPORTED = """GVHMR .pt (smpl_params_global, smpl_params_incam), WHAM .pkl (pose_world, trans_world or pose, trans per person), \
SMPLify-X .pkl or a folder of them (body_pose with 63 numbers), a folder of SMPLer-X .npz (one per frame and person), \
AIST++ .pkl (smpl_poses, smpl_trans), and other dictionaries of clips (PromptHMR: poses or pose, or global_orient and body_pose; \
trans or transl)"""
FPS = 30.0
MAX_FILES = 200_000
MAX_FILE_BYTES = 4 << 20
MAX_ARRAY_BYTES = 1 << 30
_WORLDS = ("world", "camera")
_HANDS_NOTE = "no fingers in the file: relaxed hands"
_PCA_NOTE = "the fingers are PCA coefficients of SMPL-X's hands, which are not ours to ship: relaxed hands"


def convert_research(
    path,
    *,
    fps: float | None = None,
    up: str = "auto",
    person: str | None = None,
    world: str = "world",
    hands_model=None,
) -> Motion:
    """The clip in a pose estimator's result (SUPPORTED).

    fps: of the video; these files do not say, 30 is assumed. up: "auto" (what the format says), "y", "z" or
    "-y". person: which of several, as the file names them; the one seen longest by default. world: "world" =
    as it moves over ground, where the file has it, else and for "camera" as the camera saw it. hands_model: as for
    `load_smplx_npz`. Raises MotionError naming file and key.
    """
    path = pathlib.Path(path)
    if up not in ("auto", "y", "z", "-y"):
        raise MotionError(f"up: got {up!r}, expected auto, y, z or -y")
    if world not in _WORLDS:
        raise MotionError(f"world: got {world!r}, expected {' or '.join(_WORLDS)}")
    if not path.exists():
        raise MotionError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".npy":
        raise named_npy(path)
    if path.suffix.lower() == ".fbx":
        raise fbx(path)
    clip = _Clip(path, FPS if fps is None else float(fps), up, person, world)
    clip.given_fps = fps
    clip.model = None if hands_model is None else HandModel.load(hands_model)
    if fps is None:
        clip.notes.append(
            f"the file does not say its frame rate: {FPS:g} assumed, give another with --source-fps"
        )
    try:
        return clip.folder() if path.is_dir() else clip.file(read_container(path))
    except MotionError as e:
        raise e if str(path) in str(e) else MotionError(f"{path}: {e}") from None


class _Clip:
    def __init__(self, path: pathlib.Path, fps: float, up: str, person: str | None, world: str):
        self.path = path
        self.fps = fps
        self.up = up
        self.person = person
        self.world = world
        self.notes: list[str] = []
        self.given_fps: float | None = None
        self.model: HandModel | None = None

    def file(self, top: object) -> Motion:
        if isinstance(top, Mapping):
            if "smpl_params_global" in top or "smpl_params_incam" in top:
                return self.gvhmr(top)
            if "body_pose" in top and "global_orient" in top and not _is_clip(top):
                return self.smplify([top])
            people = {
                str(k): v
                for k, v in top.items()
                if isinstance(v, Mapping) and ("pose_world" in v or "pose" in v)
            }
            if people and all(_is_wham(v) for v in people.values()):
                return self.wham(people)
            if holds_clips(top):
                return read_dictionary(
                    self.path,
                    top,
                    fps=self.given_fps,
                    up=self.up,
                    person=self.person,
                    world=self.world,
                    model=self.model,
                )
        found = ", ".join(map(str, list(top)[:8])) if isinstance(top, Mapping) else type(top).__name__
        raise MotionError(f"a layout that is not known here ({found[:200]}); supported: {SUPPORTED}")

    def folder(self) -> Motion:
        patterns = ("*.npz", "*/*.npz", "*.pkl", "*/*.pkl")  # SMPLify-X makes a folder for each picture
        files = next(
            filter(None, (list(itertools.islice(self.path.glob(p), MAX_FILES + 1)) for p in patterns)), []
        )
        if not files:
            raise MotionError(f"no .npz and no .pkl in this folder; supported: {SUPPORTED}")
        if len(files) > MAX_FILES:
            raise MotionError(f"more than {MAX_FILES} files")
        files.sort(key=lambda p: [int(n) for n in re.findall(r"\d+", str(p.relative_to(self.path)))])
        if files[0].suffix == ".npz":
            return self.smpler(files)
        dicts = []
        for file in files:
            dicts.append(read_container(file))
            if not isinstance(dicts[-1], Mapping) or "body_pose" not in dicts[-1]:
                raise MotionError(f"{file}: no SMPLify-X result; supported: {SUPPORTED}")
        return self.smplify(dicts)

    def gvhmr(self, top: Mapping) -> Motion:
        """GVHMR (SIGGRAPH Asia 2024): SMPL-X without hands; global is gravity-aligned, y up, incam is the
        camera's."""
        part = self.pick(top, {"world": "smpl_params_global", "camera": "smpl_params_incam"})
        params, up = top[part], "y" if part == "smpl_params_global" else "-y"
        if not isinstance(params, Mapping):
            raise MotionError(f"{part}: got a {type(params).__name__}, expected a dict")
        root = numbers(params, "global_orient", 3, where=part)
        body = joints(root, numbers(params, "body_pose", 63, len(root), part))
        return self.motion(body, numbers(params, "transl", 3, len(root), part), up, _HANDS_NOTE)

    def wham(self, people: Mapping) -> Motion:
        """WHAM (CVPR 2024): SMPL of each person in the video; pose_world and trans_world are y up, pose and
        trans the camera's."""
        lengths = {
            k: len(numbers(v, "pose_world" if "pose_world" in v else "pose", 72, where=f"person {k}"))
            for k, v in people.items()
        }
        person = self.person or max(lengths, key=lambda k: lengths[k])
        if person not in people:
            raise MotionError(f"person {person}: not in the file; it has {', '.join(list(people)[:20])}")
        if len(people) > 1:
            self.notes.append(
                f"person {person} of {', '.join(f'{k} ({n} frames)' for k, n in list(lengths.items())[:10])}"
            )
        v, where = people[person], f"person {person}"
        key = self.pick(v, {"world": "pose_world", "camera": "pose"})
        pose = numbers(v, key, 72, where=where)
        trans = numbers(v, "trans_world" if key == "pose_world" else "trans", 3, len(pose), where)
        frames = numbers(v, "frame_ids", None, len(pose), where)[:, 0] if "frame_ids" in v else None
        return self.motion(
            joints(pose[:, :3], pose[:, 3:66]),
            trans,
            "y" if key == "pose_world" else "-y",
            _HANDS_NOTE,
            frames,
            smpl=True,
        )

    def smplify(self, dicts: list) -> Motion:
        """SMPLify-X (CVPR 2019): one dict per picture, in the camera's frame, with the pose as numbers and
        not as a VPoser latent."""
        bodies, trans, expressions = [], [], []
        for i, d in enumerate(dicts):
            where = f"picture {i}" if len(dicts) > 1 else ""
            size = numbers(d, "body_pose", None, 1, where).size
            if size != 63:
                latent = "; it is a VPoser latent, which needs VPoser" if size == 32 else ""
                raise MotionError(f"{where} body_pose: got {size} numbers, expected 63{latent}".strip())
            body = joints(numbers(d, "global_orient", 3, 1, where), numbers(d, "body_pose", 63, 1, where))
            for key, joint in (("jaw_pose", 22), ("leye_pose", 23), ("reye_pose", 24)):
                if key in d:
                    body[:, joint] = numbers(d, key, 3, 1, where)
            place = numbers(d, "transl", 3, 1, where) if "transl" in d else np.zeros((1, 3))
            pelvis = np.asarray(ref.SMPLX_PELVIS) + place
            if "camera_rotation" in d:  # the body stands in a world of its own, which the camera sees turned
                turn = rot.matrix_to_quaternion(numbers(d, "camera_rotation", 9, 1, where).reshape(1, 3, 3))
                body[:, 0] = rot.quaternion_to_axis_angle(
                    rot.multiply(turn, rot.axis_angle_to_quaternion(body[:, 0]))
                )
                pelvis = rot.rotate(turn, pelvis)
            if "camera_translation" in d:
                pelvis = pelvis + numbers(d, "camera_translation", 3, 1, where)
            bodies.append(body)
            trans.append(pelvis - ref.SMPLX_PELVIS)
            expressions.append(
                numbers(d, "expression", None, 1, where) if "expression" in d else np.zeros((1, 0))
            )
        return self.motion(
            np.concatenate(bodies), np.concatenate(trans), "-y", _PCA_NOTE, expression=_stacked(expressions)
        )

    def smpler(self, files: list[pathlib.Path]) -> Motion:
        """SMPLer-X (NeurIPS 2023) and its kin: one .npz per frame and person, the camera's frame, hands
        relative to the mean hand."""
        rows: dict[str, dict[int, pathlib.Path]] = {}
        for i, file in enumerate(files):  # FRAME.npz or FRAME_PERSON.npz
            digits = re.findall(r"\d+", file.stem)
            rows.setdefault(digits[1] if len(digits) > 1 else "0", {})[int(digits[0]) if digits else i] = file
        person = self.person or max(rows, key=lambda k: len(rows[k]))
        if person not in rows:
            raise MotionError(f"person {person}: not in the folder; it has {', '.join(list(rows)[:20])}")
        if len(rows) > 1:
            self.notes.append(
                f"person {person} of {', '.join(f'{k} ({len(v)} frames)' for k, v in list(rows.items())[:10])}"
            )
        bodies, trans, expressions = [], [], []
        for file in rows[person].values():
            try:
                with Npz(file, MAX_FILE_BYTES) as z:
                    d = {k: z.read(k) for k in z.keys if z.header(k)[1].kind in "fiu"}
            except (OSError, ValueError) as e:
                raise MotionError(f"{file}: {e}") from None
            where = str(file)
            body = joints(
                numbers(d, "global_orient", 3, 1, where),
                numbers(d, "body_pose", None, None, where).reshape(1, -1),
            )
            for key, joint, size in (
                ("jaw_pose", 22, 3),
                ("leye_pose", 23, 3),
                ("reye_pose", 24, 3),
                ("left_hand_pose", 25, 45),
                ("right_hand_pose", 40, 45),
            ):
                if key in d:
                    body[0, joint : joint + size // 3] = numbers(d, key, None, None, where).reshape(-1, 3)[
                        : size // 3
                    ]
            body[:, 25:] += ref.relaxed_hands()
            bodies.append(body)
            trans.append(numbers(d, "transl", 3, 1, where) if "transl" in d else np.zeros((1, 3)))
            expressions.append(
                numbers(d, "expression", None, 1, where) if "expression" in d else np.zeros((1, 0))
            )
        note = "hands are relative to SMPL-X's mean hand, which is not ours to ship: the open body's relaxed hand stands in"
        frames = np.array(list(rows[person]), np.float64)
        return self.motion(
            np.concatenate(bodies),
            np.concatenate(trans),
            "-y",
            note,
            frames,
            expression=_stacked(expressions),
            hands=False,
        )

    def pick(self, d: Mapping, keys: dict[str, str]) -> str:
        """The key for the world that is wanted, or the other one, with a note."""
        if keys[self.world] in d:
            return keys[self.world]
        other = next(k for k in keys.values() if k in d)
        self.notes.append(f"no {keys[self.world]} in the file: {other}")
        return other

    def motion(
        self,
        body,
        trans,
        up: str,
        note: str,
        frames=None,
        *,
        smpl: bool = False,
        expression=None,
        hands: bool = True,
    ) -> Motion:
        pelvis, leg = (ref.SMPL_PELVIS, ref.SMPL_LEG) if smpl else (ref.SMPLX_PELVIS, ref.SMPLX_LEG)
        if hands:
            body[:, 25:] = ref.relaxed_hands()
        known, seen = up, upward_seen(body[:, 0])
        up = known if self.up == "auto" else self.up
        best = max(seen, key=lambda k: seen[k])
        if self.up == "auto" and best != up and seen[best] > 0.8:
            self.notes.append(
                f"files of this kind are {up}-up, but the body stands along {best}; give --up={best} unless it lies down"
            )
        root, path = to_y_up(body[:, 0], np.asarray(pelvis) + trans, up)
        body[:, 0] = root
        body = rot.quaternion_to_axis_angle(rot.axis_angle_to_quaternion(body))  # angles of at most pi
        expression = np.zeros((len(body), 0)) if expression is None else expression
        frames = np.arange(len(body)) if frames is None else frames
        if (np.diff(frames) <= 0).any():
            raise MotionError("frame_ids: do not ascend")
        if missing := int(frames[-1] - frames[0]) + 1 - len(frames):
            self.notes.append(f"{missing} frames are missing and are bridged")
        return even_motion(
            (frames - frames[0]) / self.fps,
            body,
            path,
            expression,
            fps=self.fps,
            leg_length=leg,
            expression_names=None,
            name=self.path.stem,
            notes=(*self.notes, note),
        )


def _shape(d: Mapping, key: str) -> tuple[int, ...]:
    try:
        return DictArchive(d).header(key)[0]
    except (KeyError, ValueError):
        return ()


def _is_clip(d: Mapping) -> bool:
    """Whether these parts of a pose are of more than one frame."""
    return len(_shape(d, "global_orient")) > 1 and _shape(d, "global_orient")[0] > 1


def _is_wham(person: Mapping) -> bool:
    """Whether this is a person as WHAM writes one: 72 numbers a frame."""
    shape = _shape(person, "pose_world") or _shape(person, "pose")
    place = "trans_world" if "pose_world" in person else "trans"
    return (not shape or int(np.prod(shape[1:])) == 72) and place in person


def joints(root: np.ndarray, body: np.ndarray) -> np.ndarray:
    """f64[N,55,3] from a root [N,3] and 21 joints [N,63]; the rest zero."""
    if body.shape[1] != 63:
        raise MotionError(f"body_pose: got {body.shape[1]} numbers a frame, expected 63")
    out = np.zeros((len(root), 55, 3))
    out[:, 0], out[:, 1:22] = root, body.reshape(-1, 21, 3)
    return out


def numbers(
    d: Mapping, key: str, columns: int | None, frames: int | None = None, where: str = ""
) -> np.ndarray:
    """d[key] as finite f64[frames, columns]; a single frame may come without its axis. Raises MotionError
    naming `where` and key."""
    name = f"{where}: {key}" if where else key
    value = d.get(key)
    if isinstance(value, StoredArray):
        value = _loaded(name, value)
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = None
    if value is None or array is None or array.ndim == 0:
        raise MotionError(
            f"{name}: got {'nothing' if value is None else _kind(value)}, expected an array of numbers"
        )
    if frames == 1:
        array = array.reshape(1, -1)
    array = array.reshape(len(array), -1) if array.size else array
    if (
        array.ndim != 2
        or (columns is not None and array.shape[1] != columns)
        or (frames is not None and len(array) != frames)
    ):
        raise MotionError(
            f"{name}: got shape {list(array.shape)}, expected [{frames or 'frames'}, {columns or 'numbers'}]"
        )
    if not np.isfinite(array).all():
        raise MotionError(f"{name}: holds NaN or infinite values")
    return array


def _kind(value: object) -> str:
    return (
        f"a {value.name} (not read; save it as a numpy array)"
        if isinstance(value, Inert)
        else type(value).__name__
    )


def _loaded(name: str, stored: StoredArray) -> np.ndarray:
    if stored.nbytes > MAX_ARRAY_BYTES:
        raise MotionError(f"{name}: an array of {stored.nbytes} bytes, expected at most {MAX_ARRAY_BYTES}")
    try:
        return stored.load()
    except StoredArrayError as e:
        raise MotionError(f"{name}: cannot be read, {e}") from e


def _stacked(rows: list[np.ndarray]) -> np.ndarray | None:
    """[N,E] of rows [1,E]; None where they do not agree."""
    return np.concatenate(rows) if len({r.shape for r in rows}) == 1 else None
