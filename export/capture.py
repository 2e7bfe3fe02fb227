"""Captures: many posed pictures of one person with exact body parameters and cameras, in a folder
(docs/evaluate.md)."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import JOINTS, MAX_ANGLE, Pose
from dinar_live.runtime.core.validate import checked

from .inputs import MAX_SIDE, read_arrays, read_image

MAX_BYTES = 1 << 30
MAX_FRAMES = 100_000
SPLITS = {"training": 0, "validation": 1}
FRAMINGS = ("full body", "upper body", "head")  # what the values of close_up mean
OPTIONAL = ("estimated", "time")  # of captures that were made of a film
KEYS = ("poses", "transl", "betas", "expression", "K", "world_to_camera", "image_size", "split", "close_up")


@dataclass(frozen=True, eq=False)
class Capture:
    """capture.npz of a folder, checked; the pictures images/NNNNNN.png are read when asked for. Arrays are
    read-only.

    poses f32[N,55,3] axis-angle; transl f32[N,3]; betas f32[B], one body for all frames; expression f32[N,E];
    K f32[N,3,3]; world_to_camera f32[N,4,4]; size (height, width) of every picture; split u8[N] 0 training, 1
    validation, other values only in "all"; close_up u8[N] 0 full body, 1 upper body, 2 head.
    """

    path: pathlib.Path
    poses: np.ndarray
    transl: np.ndarray
    betas: np.ndarray
    expression: np.ndarray
    K: np.ndarray
    world_to_camera: np.ndarray
    size: tuple[int, int]
    split: np.ndarray
    close_up: np.ndarray
    estimated: bool = False
    time: np.ndarray | None = None

    @classmethod
    def open(cls, path) -> Capture:
        """Read a capture folder. Raises InputError naming file and field."""
        folder = pathlib.Path(path)
        file = folder / "capture.npz"
        if not file.is_file():
            raise InputError(
                f"{folder}: no capture; expected a folder with capture.npz and images/ (docs/evaluate.md)"
            )
        raw = read_arrays(file, KEYS, MAX_BYTES, OPTIONAL)
        try:
            capture = cls(folder, **_fields(raw))
            for i in range(len(capture)):
                try:
                    capture.camera(i)
                except InputError as e:
                    raise InputError(f"frame {i}: {e}") from None
        except InputError as e:
            raise InputError(f"{file}: {e}") from None
        missing = [i for i in range(len(capture)) if not capture.image_path(i).is_file()]
        if missing:
            raise InputError(
                f"{capture.image_path(missing[0])}: no such picture; {len(missing)} of the {len(capture)} frames have none"
            )
        return capture

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def frames(self, split: str = "all") -> np.ndarray:
        """Indices of the frames of a split: 'training', 'validation' or 'all'. Raises InputError where there
        are none."""
        if split == "all":
            return np.arange(len(self))
        if split not in SPLITS:
            raise InputError(f"split: got {split!r}, expected training, validation or all")
        frames = np.flatnonzero(self.split == SPLITS[split])
        if not len(frames):
            raise InputError(
                f"{self.path}: has no {split} frames (split == {SPLITS[split]}); choose another split"
            )
        return frames

    def check_body(self, rig: Rig) -> None:
        """InputError where `rig` takes fewer expression coefficients than the frames have: the capture is of
        another body."""
        if self.expression.shape[1] > rig.expressions:
            raise InputError(
                f"{self.path}: expression has {self.expression.shape[1]} columns, this avatar takes {rig.expressions}; "
                f"are both of the same body?"
            )

    def pose(self, i: int) -> Pose:
        """What the person does in frame i."""
        return Pose(self.poses[i], self.transl[i], self.expression[i])

    def camera(self, i: int) -> Camera:
        """The camera of frame i."""
        return Camera(self.K[i], self.world_to_camera[i])

    def image_path(self, i: int) -> pathlib.Path:
        """Where the picture of frame i is."""
        return self.path / "images" / f"{i:06d}.png"

    def image(self, i: int) -> np.ndarray:
        """The picture of frame i: u8[H,W,4] RGBA, straight alpha. Raises InputError naming the file."""
        path = self.image_path(i)
        image = read_image(path, cv2.IMREAD_UNCHANGED)
        if image.dtype != np.uint8 or image.shape != (*self.size, 4):
            raise InputError(
                f"{path}: got {image.dtype}{list(image.shape)}, expected an 8-bit RGBA picture of {self.size[1]}x{self.size[0]} pixels"
            )
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)

    def with_poses_of(self, path) -> Capture:
        """This capture with the poses and translations of another capture.npz of the same frames. Raises InputError
        naming the file."""
        path = pathlib.Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected poses as 'dinar fit' writes them")
        raw = read_arrays(path, ("poses", "transl"), MAX_BYTES)
        try:
            poses = checked("poses", raw["poses"], (len(self), JOINTS, 3), MAX_ANGLE)
            return replace(self, poses=poses, transl=checked("transl", raw["transl"], (len(self), 3), 1e4))
        except InputError as e:
            raise InputError(f"{path}: {e}") from None

    def write_poses(self, path) -> None:
        """Write poses and translations as an .npz, for `with_poses_of`. The file appears whole."""
        path = pathlib.Path(path)
        part = path.with_name(path.name + ".part.npz")
        np.savez_compressed(part, poses=self.poses, transl=self.transl)
        os.replace(part, path)

    def premultiplied(self, i: int) -> np.ndarray:
        """The picture of frame i: u8[H,W,4] RGBA, colour multiplied by alpha as renderers return it."""
        return premultiplied(self.image(i))


def premultiplied(rgba: np.ndarray) -> np.ndarray:
    """u8[...,4] of straight alpha with its colour multiplied by alpha, rounded."""
    out = rgba.copy()
    out[..., :3] = (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127) // 255
    return out


def _fields(raw: dict[str, np.ndarray]) -> dict:
    """The constructor's arguments from the arrays of capture.npz, checked. Raises InputError naming the
    field."""
    n = len(raw["poses"]) if raw["poses"].ndim else 0
    if not 1 <= n <= MAX_FRAMES:
        raise InputError(
            f"poses: got shape {list(raw['poses'].shape)}, expected [N,{JOINTS},3] with N in 1..{MAX_FRAMES}"
        )
    width, height = checked("image_size", raw["image_size"], (2,), 1e5).tolist()
    if not all(1 <= s <= MAX_SIDE and s == int(s) for s in (width, height)):
        raise InputError(
            f"image_size: got {[width, height]}, expected (width, height) as whole pixels in 1..{MAX_SIDE}"
        )
    fields = {
        "poses": checked("poses", raw["poses"], (n, JOINTS, 3), MAX_ANGLE),
        "transl": checked("transl", raw["transl"], (n, 3), 1e4),
        "betas": checked("betas", raw["betas"], (-1,), 50.0),
        "expression": checked("expression", raw["expression"], (n, -1), 100.0),
        "K": checked("K", raw["K"], (n, 3, 3), 1e6),
        "world_to_camera": checked("world_to_camera", raw["world_to_camera"], (n, 4, 4), 1e4),
        "size": (int(height), int(width)),
    }
    for key, values in (("split", 256), ("close_up", len(FRAMINGS))):  # other splits are only in "all"
        value = raw[key]
        if value.shape != (n,) or value.dtype.kind not in "biu" or value.min() < 0 or value.max() >= values:
            raise InputError(
                f"{key}: got {value.dtype}{list(value.shape)}, expected {n} whole numbers in 0..{values - 1}"
            )
        fields[key] = value.astype(np.uint8)
        fields[key].flags.writeable = False
    if "estimated" in raw:
        fields["estimated"] = bool(checked("estimated", raw["estimated"], (), 1.0))
    if "time" in raw:
        fields["time"] = checked("time", raw["time"], (n,), 1e6).astype(np.float64)
        if (np.diff(fields["time"]) <= 0).any():
            raise InputError("time: does not ascend, expected the seconds of the frames in their order")
    return fields
