"""Which kernel runs on how many threads with which arguments: plain data, made without a driver, one function
per step of a frame."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import numpy as np


class Pointer(int):
    """An address in device memory; 0 is null. `owner` keeps the memory alive as long as the launch."""

    owner: object = None


@dataclass(frozen=True, eq=False)
class Launch:
    """grid and block in x, y, z; arguments in the kernel's order: Pointer, np.int32, np.int64 or
    np.float32."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple

    @functools.cached_property
    def packed(self) -> tuple[object, int]:
        """As the driver wants the arguments: what keeps them in memory, and the address of their addresses.
        Made once."""
        values = [_TYPES[type(a)](a) for a in self.arguments]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        return (values, addresses), ctypes.addressof(addresses)


_TYPES = {
    Pointer: ctypes.c_uint64,
    np.int32: ctypes.c_int32,
    np.int64: ctypes.c_int64,
    np.float32: ctypes.c_float,
}


def blocks(n: int, size: int) -> int:
    """Blocks of `size` threads for n of them, at least one."""
    return max(1, -(-n // size))


def pointer(array) -> Pointer:
    """Where `array` is, keeping it alive; null for None."""
    address = Pointer(0 if array is None else array.pointer)
    address.owner = array
    return address


def ints(*values) -> tuple[np.int32, ...]:
    """Arguments of type int."""
    return tuple(np.int32(v) for v in values)


def lbs(body, parameters, projective, vertices=None) -> list[Launch]:
    """See Program.lbs."""
    a, p = (
        {n: pointer(x) for n, x in body.arrays.items()},
        {n: pointer(x) for n, x in parameters.device.items()},
    )
    columns, features, active = pointer(body.columns), pointer(body.features), pointer(body.active)
    pose = Launch(
        "pose_joints",
        (1, 1, 1),
        (128, 1, 1),
        (
            *ints(body.joints, body.expressions, body.levels),
            p["body"],
            p["transl"],
            p["expression"],
            a["rest_joints"],
            a["joint_dirs"],
            a["order"],
            a["parents"],
            a["level_start"],
            columns,
            pointer(body.posed_joints),
            features,
            active,
        ),
    )
    common = (
        *ints(body.vertices, body.joints, body.slots, body.expression_rows, parameters.views),
        a["rest"],
        a["skin_index"],
        a["skin_weight"],
        a["expression_row"],
        a["expression_dirs"],
        p["expression"],
        active,
        columns,
        p["matrices"],
        pointer(vertices),
        pointer(projective),
    )
    if body.features is None:
        skin = Launch("skin_vertices", (blocks(body.vertices, 128), 1, 1), (128, 1, 1), common)
    else:
        skin = Launch(
            "skin_posed_vertices",
            (blocks(body.vertices, 32), 1, 1),
            (24, 16, 1),
            (*common, a["pose_dirs"], features),
        )
    return [pose, skin]


def rasterize(
    scene,
    parameters,
    projective,
    target,
    *,
    samples: int,
    cull: bool,
    near: float,
    multiprocessors: int,
    scale: int = 1,
    enabled=None,
) -> list[Launch]:
    """See Program.rasterize. scale: the target is so many times as large as the projection. enabled: i32[views]
    on the device, views where it is 0 are not drawn; None = all are."""
    origins, faces = pointer(parameters.device["origins"]), scene.faces.shape[0]
    visibility, counter, queue = pointer(target.visibility), pointer(target.counter), pointer(target.queue)
    clear = Launch(
        "clear_visibility",
        (blocks(target.pairs, 256), 1, 1),
        (256, 1, 1),
        (np.int64(target.pairs), np.int32(target.views), pointer(enabled), visibility, counter),
    )
    if not faces:
        return [clear]
    size = ints(target.height, target.width, samples * scale)
    triangles = Launch(
        "draw_triangles",
        (blocks(faces, 128), target.views, 1),
        (128, 1, 1),
        (
            *ints(scene.vertices, faces),
            *size,
            np.int32(scale),
            np.int32(cull),
            np.float32(near),
            np.int32(target.capacity),
            pointer(projective),
            pointer(scene.faces),
            origins,
            pointer(enabled),
            visibility,
            counter,
            queue,
        ),
    )
    tiles = Launch(
        "draw_tiles",
        (4 * multiprocessors, 1, 1),
        (32, 8, 1),
        (*size, np.int32(target.capacity), origins, visibility, counter, queue),
    )
    return [clear, triangles, tiles]


def gather(
    scene, parameters, projective, target, features, depth=None, *, samples: int, near: float
) -> list[Launch]:
    """See Program.gather."""
    kernel = {np.dtype(np.float16): "gather_f16", np.dtype(np.float32): "gather_f32"}[scene.dtype]
    Ht, Wt, stride = scene.texture.shape
    return [
        Launch(
            kernel,
            (blocks(target.width, 32), blocks(target.height, 8), target.views),
            (32, 8, 1),
            (
                *ints(target.height, target.width, samples, scene.vertices, scene.channels, stride, Ht, Wt),
                np.float32(near),
                pointer(projective),
                pointer(scene.faces),
                pointer(scene.corner_uv),
                pointer(scene.texture),
                pointer(parameters.device["origins"]),
                pointer(target.visibility),
                pointer(features),
                pointer(depth),
            ),
        )
    ]


def compose(
    parameters, rgb, alpha, rgba, *, mask, depth, depth_out, samples, threshold, background, straight
) -> list[Launch]:
    """See Program.compose; rgb, alpha and mask are Planes."""
    views, out_height, out_width, _ = rgba.shape
    height, width = rgb.size
    colour = (0.0, 0.0, 0.0) if background is None else background
    half = [np.int32(p is not None and p.dtype == np.float16) for p in (rgb, alpha, mask)]
    return [
        Launch(
            "compose",
            (blocks(out_width, 32), blocks(out_height, 8), views),
            (32, 8, 1),
            (
                *ints(height, width, samples, out_height, out_width),
                np.int64(rgb.stride),
                np.int64(alpha.stride),
                np.int64(mask.stride if mask else 0),
                *half,
                np.int32(threshold != 0),
                np.float32(threshold),
                np.int32(background is not None),
                *(np.float32(c) for c in colour),
                np.int32(straight),
                pointer(rgb),
                pointer(alpha),
                pointer(mask),
                pointer(depth),
                pointer(parameters.device["origins"]),
                pointer(rgba),
                pointer(depth_out),
            ),
        )
    ]


def smooth_edges(
    scene, parameters, projective, target, fine, features, depth, *, samples: int, straight: bool, near: float
) -> list[Launch]:
    """See Program.smooth_edges; without the raster of `fine`."""
    kernel = {np.dtype(np.float16): "smooth_edges_f16", np.dtype(np.float32): "smooth_edges_f32"}[scene.dtype]
    Ht, Wt, stride = scene.texture.shape
    _, planes, height, _ = features.shape
    return [
        Launch(
            kernel,
            (blocks(target.width, 32), blocks(target.height, 8), target.views),
            (32, 8, 1),
            (
                *ints(target.height, target.width, samples, scene.vertices, stride, Ht, Wt),
                np.float32(near),
                np.float32(scene.gap),
                *ints(straight, height != target.height, planes, planes - 1),
                pointer(projective),
                pointer(scene.faces),
                pointer(scene.corner_uv),
                pointer(scene.uv_boxes),
                pointer(scene.texture),
                pointer(parameters.device["origins"]),
                pointer(parameters.device["smooth"]),
                pointer(target.visibility),
                pointer(fine.visibility),
                pointer(features),
                pointer(depth),
            ),
        )
    ]


def gather_half(scene, parameters, projective, target, features, depth=None, *, near: float) -> list[Launch]:
    """See Program.gather_half."""
    kernel = {np.dtype(np.float16): "gather_half_f16", np.dtype(np.float32): "gather_half_f32"}[scene.dtype]
    Ht, Wt, stride = scene.texture.shape
    ht, wt, neural_stride = scene.neural.shape
    return [
        Launch(
            kernel,
            (blocks(target.width // 2, 32), blocks(target.height // 2, 8), target.views),
            (32, 8, 1),
            (
                *ints(target.height, target.width, scene.vertices, stride, Ht, Wt),
                *ints(scene.neural_channels, neural_stride, ht, wt),
                np.float32(near),
                pointer(projective),
                pointer(scene.faces),
                pointer(scene.corner_uv),
                pointer(scene.texture),
                pointer(scene.neural),
                pointer(parameters.device["origins"]),
                pointer(target.visibility),
                pointer(features),
                pointer(depth),
            ),
        )
    ]


def compose_half(
    parameters, features, correction, rgba, *, depth, depth_out, hardsegm, threshold, background, straight
) -> list[Launch]:
    """See Program.compose_half; features and correction are Planes."""
    views, out_height, out_width, _ = rgba.shape
    h, w = features.size
    colour = (0.0, 0.0, 0.0) if background is None else background
    return [
        Launch(
            "compose_half",
            (blocks(out_width, 32), blocks(out_height, 8), views),
            (32, 8, 1),
            (
                *ints(2 * h, 2 * w, out_height, out_width),
                np.int64(features.stride),
                np.int64(correction.stride),
                *(np.int32(p.dtype == np.float16) for p in (features, correction)),
                np.int32(hardsegm),
                np.int32(threshold != 0),
                np.float32(threshold),
                np.int32(background is not None),
                *(np.float32(c) for c in colour),
                np.int32(straight),
                pointer(features),
                pointer(correction),
                pointer(depth),
                pointer(parameters.device["origins"]),
                pointer(rgba),
                pointer(depth_out),
            ),
        )
    ]
