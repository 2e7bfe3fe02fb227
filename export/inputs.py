"""What a user gives: photos, masks and SMPL-X fits, read and checked."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.formats.npz import Npz

MAX_SIDE = 8192
MAX_FIT_BYTES = 16 << 20
FIT_KEYS = ("poses", "transl", "betas", "expression", "K", "world_to_camera", "image_size")


@dataclass(frozen=True, eq=False)
class View:
    """One photo of a posed person. rgb u8[H,W,3]; mask f32[H,W] in [0,1]; pose, camera (K for this picture's
    size), betas f32[B]."""

    name: str
    rgb: np.ndarray
    mask: np.ndarray
    pose: Pose
    camera: Camera
    betas: np.ndarray


def read_image(path, flags: int) -> np.ndarray:
    """An 8-bit picture as OpenCV reads it. Raises InputError naming the file."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such picture")
    image = cv2.imdecode(np.fromfile(path, np.uint8), flags) if path.stat().st_size else None
    if image is None:
        raise InputError(f"{path}: not a picture that OpenCV can read; expected PNG or JPEG")
    if max(image.shape[:2]) > MAX_SIDE:
        raise InputError(
            f"{path}: {image.shape[1]}x{image.shape[0]} pixels, expected at most {MAX_SIDE} a side"
        )
    return image


def read_arrays(
    path: pathlib.Path, keys: Sequence[str], max_bytes: int, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays `keys` of an .npz of at most so many bytes, as they are, and those of `optional` that are there.
    Raises InputError naming file and keys."""
    try:
        with Npz(path, max_bytes) as z:
            if missing := [k for k in keys if k not in z.keys]:
                raise InputError(
                    f"{path}: keys {missing} are missing, got {sorted(z.keys)}, expected {list(keys)}"
                )
            return {k: z.read(k) for k in (*keys, *(k for k in optional if k in z.keys))}
    except InputError:
        raise
    except (ValueError, OSError) as e:
        raise InputError(f"{path}: not a readable .npz of plain arrays ({e})") from e


def read_fit(path) -> dict[str, np.ndarray]:
    """Arrays of an SMPL-X fit (.npz with poses [1,55,3], transl, betas, expression, K, world_to_camera,
    image_size (width, height); a leading 1 may be absent). Raises InputError naming file and field."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; expected the .npz of an SMPL-X fit with {', '.join(FIT_KEYS)}"
        )
    fit = read_arrays(path, FIT_KEYS, MAX_FIT_BYTES)
    ranks = {
        "poses": 2,
        "transl": 1,
        "betas": 1,
        "expression": 1,
        "K": 2,
        "world_to_camera": 2,
        "image_size": 1,
    }
    for key, rank in ranks.items():
        if fit[key].ndim == rank + 1 and len(fit[key]) == 1:
            fit[key] = fit[key][0]
        if fit[key].ndim != rank:
            raise InputError(
                f"{path}: {key} has shape {list(fit[key].shape)}, expected the values of one photo"
            )
    return fit


def read_photo(photo, mask) -> tuple[np.ndarray, np.ndarray]:
    """A photo u8[H,W,3] and its mask u8[H,W] (white = person; an RGBA picture's alpha works too). Raises
    InputError naming the file."""
    rgb = cv2.cvtColor(read_image(photo, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    image = read_image(mask, cv2.IMREAD_UNCHANGED)
    alpha = image if image.ndim == 2 else image[..., 3] if image.shape[2] == 4 else image[..., 0]
    if alpha.dtype != np.uint8:
        raise InputError(f"{mask}: got {alpha.dtype} pixels, expected 8 bit")
    if alpha.shape != rgb.shape[:2]:
        raise InputError(
            f"{mask}: {alpha.shape[1]}x{alpha.shape[0]} pixels, expected {rgb.shape[1]}x{rgb.shape[0]} as in {photo}"
        )
    if not (alpha > 127).any():
        raise InputError(f"{mask}: is empty, expected the person in white")
    return rgb, np.ascontiguousarray(alpha)


def placed(fit: Mapping[str, np.ndarray], image_size: tuple[int, int]) -> tuple[Pose, Camera, np.ndarray]:
    """Pose, camera and betas f32[B] of `read_fit`'s arrays, for a photo of `image_size` (height, width) pixels:
    K is scaled to it. Raises InputError naming the field."""
    height, width = image_size
    size = checked("image_size", fit["image_size"], (2,), 1e5)
    if size.min() < 1:
        raise InputError(f"image_size: got {size.tolist()}, expected (width, height) in pixels")
    scale = np.array([width, height]) / size
    if abs(scale[0] / scale[1] - 1) > 0.01:
        raise InputError(
            f"image_size: got {size.astype(int).tolist()}, but the photo is {width}x{height}: another aspect ratio"
        )
    K = np.diag([*scale, 1.0]) @ checked("K", fit["K"], (3, 3)).astype(np.float64)
    pose = Pose(fit["poses"], fit["transl"], fit["expression"])
    return pose, Camera(K, fit["world_to_camera"]), checked("betas", fit["betas"], (-1,), 50.0)


def read_view(photo, mask, fit_path) -> View:
    """A photo, its mask and its fit. Raises InputError naming file and field."""
    rgb, alpha = read_photo(photo, mask)
    fit = read_fit(fit_path)
    try:
        pose, camera, betas = placed(fit, (rgb.shape[0], rgb.shape[1]))
    except InputError as e:
        raise InputError(f"{fit_path}: {e}") from None
    return View(pathlib.Path(photo).stem, rgb, alpha.astype(np.float32) / 255, pose, camera, betas)
