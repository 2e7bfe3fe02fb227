"""Writes what was found in a photo: the fit as `dinar export --smplx` reads it, the mask, the overlay."""

from __future__ import annotations

import os
import pathlib

import cv2
import numpy as np

from .solver.photo_fit import PhotoFit


def write_fit(path, fit: PhotoFit) -> None:
    """An .npz with poses [1,55,3], transl, betas, expression, K, world_to_camera, image_size (docs/avatars.md).
    Written beside its place and renamed."""
    path = pathlib.Path(path)
    pose, camera = fit.pose, fit.camera
    part = path.with_name(path.name + ".part.npz")
    np.savez(
        part,
        poses=pose.body[None],
        transl=pose.transl[None],
        betas=fit.betas.astype(np.float32),
        expression=pose.expression[None],
        K=camera.K[None],
        world_to_camera=camera.world_to_camera[None],
        image_size=np.array([fit.size[1], fit.size[0]]),
    )
    os.replace(part, path)


def write_picture(path, image: np.ndarray) -> None:
    """u8[H,W] or RGB u8[H,W,3] as the file's name says; written beside its place and renamed."""
    path = pathlib.Path(path)
    image = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(f"{path}: OpenCV cannot write {path.suffix} files")
    part = path.with_name(path.name + ".part")
    part.write_bytes(data.tobytes())
    os.replace(part, path)
