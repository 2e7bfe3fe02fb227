"""The kernels on a device. A step of a frame is described once, as a list of launches, and run as often as
needed: nothing in it depends on the pose, the camera or the window's place."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dinar_live.kernels import _check
from dinar_live.kernels.lbs import NEAR

from . import compiler, launches
from .device import Device, Stream
from .driver import call
from .errors import CudaError
from .launches import Launch

BLOCK = 16  # channels of the four pixels of a block, as in half.h
KERNELS = (
    "pose_joints",
    "skin_vertices",
    "skin_posed_vertices",
    "clear_visibility",
    "draw_triangles",
    "draw_tiles",
    "gather_f16",
    "gather_f32",
    "compose",
    "gather_half_f16",
    "gather_half_f32",
    "compose_half",
    "smooth_edges_f16",
    "smooth_edges_f32",
    "nvdiffrast_vertices",
    "nvdiffrast_faces",
    "nvdiffrast_pixels",
)


class Planes(NamedTuple):
    """Planes of H x W inside a larger array, for compose: pointer to the first plane of the first view; size
    (H, W); dtype float16 or float32; stride: elements from one view to the next."""

    pointer: int
    size: tuple[int, int]
    dtype: np.dtype
    stride: int

    @classmethod
    def of(cls, array, first: int = 0) -> Planes:
        """Of anything with pointer, shape [views,C,H,W] and dtype (DeviceArray, an engine's tensor), from
        channel `first` on."""
        _, C, H, W = array.shape
        dtype = np.dtype(array.dtype)
        if dtype not in (np.float16, np.float32) or not 0 <= first < C:
            raise ValueError(
                f"channel {first} of {dtype} {tuple(array.shape)}; expected float16 or float32 [views,C,H,W]"
            )
        return cls(int(array.pointer) + first * H * W * dtype.itemsize, (H, W), dtype, C * H * W)


class Program:
    """All kernels, compiled for `device` (from the user's cache, else by NVRTC in about a second).

    `lbs`, `rasterize`, `gather` and `compose` check shapes and types and return launches, which may be joined
    (`+`); `run` puts them on a stream, eagerly or into a graph that is being captured. Arrays are
    DeviceArrays or anything with `pointer`, `shape` and `dtype`; the launches keep them alive, a graph does
    not. Raises CudaError, and ValueError for what does not fit together.
    """

    def __init__(self, device: Device):
        self.device = device
        try:
            self._module = call("cuModuleLoadData", compiler.cubin(device.arch))
        except CudaError as e:
            version = "{}.{}".format(*compiler.nvrtc_version())
            supported = "{}.{}".format(*device.driver_version)
            raise CudaError(
                f"the kernels compiled by NVRTC {version} do not load: {e}; the driver supports CUDA {supported}: "
                f"update it, or install cuda-bindings and NVRTC of that major version"
            ) from e
        device.finalizer(self, call, "cuModuleUnload", self._module)
        self._functions = {name: call("cuModuleGetFunction", self._module, name.encode()) for name in KERNELS}

    def run(self, stream: Stream, steps: list[Launch]) -> None:
        """Put launches on the stream, in order: asynchronous, without waiting or allocating."""
        for launch in steps:
            call(
                "cuLaunchKernel",
                self._functions[launch.kernel],
                *launch.grid,
                *launch.block,
                0,
                stream.handle,
                launch.packed[1],
                0,
            )

    def lbs(self, body, parameters, projective, vertices=None) -> list[Launch]:
        """Skin `body` (DeviceBody) and project it into every view.

        parameters: FrameParameters, uploaded. Writes projective f32[views,V,3] = (px*z, py*z, z),
        body.posed_joints and, if given, vertices f32[V,3] (world, metres).
        """
        _expect("projective", projective, (parameters.views, body.vertices, 3), np.float32)
        if vertices is not None:
            _expect("vertices", vertices, (body.vertices, 3), np.float32)
        _expect("parameters.body", parameters.device["body"], (body.joints, 3), np.float32)
        _expect("parameters.expression", parameters.device["expression"], (body.expressions,), np.float32)
        return launches.lbs(body, parameters, projective, vertices)

    def rasterize(
        self,
        scene,
        parameters,
        projective,
        target,
        *,
        samples: int = 1,
        cull: bool = True,
        near: float = NEAR,
    ) -> list[Launch]:
        """Draw the scene's faces into `target` (RasterTarget), one window a view: the same triangles as
        kernels.rasterize.

        The window has the target's size, in samples, and lies at parameters["origins"] pixels, each of
        samples x samples samples; the matrices contain that factor. target.visibility is written in full.
        """
        self._window(scene, parameters, projective, target, samples, near)
        return launches.rasterize(
            scene,
            parameters,
            projective,
            target,
            samples=samples,
            cull=cull,
            near=near,
            multiprocessors=self.device.multiprocessors,
        )

    def gather(
        self,
        scene,
        parameters,
        projective,
        target,
        features,
        depth=None,
        *,
        samples: int = 1,
        near: float = NEAR,
    ) -> list[Launch]:
        """From visibility to the network's input: features [views,C+3,H,W] of the scene's dtype (C texture
        channels, u, v, mask), as kernels.gather_uv, and, if given, depth f32[views,H,W] in metres. Both are
        written in full."""
        self._window(scene, parameters, projective, target, samples, near)
        _expect(
            "features", features, (target.views, scene.channels + 3, target.height, target.width), scene.dtype
        )
        if depth is not None:
            _expect("depth", depth, (target.views, target.height, target.width), np.float32)
        return launches.gather(
            scene, parameters, projective, target, features, depth, samples=samples, near=near
        )

    def compose(
        self,
        parameters,
        rgb: Planes,
        alpha: Planes,
        rgba,
        *,
        mask: Planes | None = None,
        depth=None,
        depth_out=None,
        samples: int = 1,
        threshold: float = 0.0,
        background=None,
        straight: bool = False,
    ) -> list[Launch]:
        """Write rgba u8[views,Hf,Wf,4] in full, the window at parameters["origins"]; arguments as in
        kernels.compose.

        rgb: three planes a view, alpha and mask one (Planes.of). depth f32[views,H,W] fills depth_out
            f32[views,Hf,Wf].
        """
        H, W = rgb.size
        if samples not in (1, 2, 4) or H % samples or W % samples:
            raise ValueError(
                f"samples is {samples} for planes of {H} x {W}; expected 1, 2 or 4, and a divisor of both"
            )
        for name, planes in (("alpha", alpha), ("mask", mask)):
            if planes is not None and planes.size != rgb.size:
                raise ValueError(f"{name} has planes of {planes.size}; expected {rgb.size}")
        _frame(parameters.views, (H, W), rgba, depth, depth_out, threshold, background)
        return launches.compose(
            parameters,
            rgb,
            alpha,
            rgba,
            mask=mask,
            depth=depth,
            depth_out=depth_out,
            samples=samples,
            threshold=threshold,
            background=background,
            straight=straight,
        )

    def gather_half(
        self, scene, parameters, projective, target, features, depth=None, *, near: float = NEAR
    ) -> list[Launch]:
        """From visibility to the input of a network at half resolution: features [views,16+C,H/2,W/2] of the scene's
        dtype, the channels of kernels.gather_half as planes, and, if given, depth f32[views,H,W] in metres. Both are
        written in full. The scene has a neural texture of C channels and a colour texture of three."""
        self._window(scene, parameters, projective, target, 1, near)
        H, W = target.height, target.width
        if scene.neural is None or scene.channels != 3:
            raise ValueError(
                "scene has no neural texture, or another number of colours than three; expected both"
            )
        if H % 2 or W % 2:
            raise ValueError(f"target is {H} x {W}; expected even numbers")
        _expect(
            "features", features, (target.views, BLOCK + scene.neural_channels, H // 2, W // 2), scene.dtype
        )
        if depth is not None:
            _expect("depth", depth, (target.views, H, W), np.float32)
        return launches.gather_half(scene, parameters, projective, target, features, depth, near=near)

    def compose_half(
        self,
        parameters,
        features: Planes,
        correction: Planes,
        rgba,
        *,
        depth=None,
        depth_out=None,
        hardsegm: bool = False,
        threshold: float = 0.0,
        background=None,
        straight: bool = False,
    ) -> list[Launch]:
        """Write rgba u8[views,Hf,Wf,4] in full, the window at parameters["origins"]; arguments as in
        kernels.compose_half, features and correction as planes. depth f32[views,H,W] fills depth_out
        f32[views,Hf,Wf]."""
        h, w = features.size
        if correction.size != features.size:
            raise ValueError(f"correction has planes of {correction.size}; expected {features.size}")
        _frame(parameters.views, (2 * h, 2 * w), rgba, depth, depth_out, threshold, background)
        return launches.compose_half(
            parameters,
            features,
            correction,
            rgba,
            depth=depth,
            depth_out=depth_out,
            hardsegm=hardsegm,
            threshold=threshold,
            background=background,
            straight=straight,
        )

    def smooth_edges(
        self,
        scene,
        parameters,
        projective,
        target,
        fine,
        features,
        depth=None,
        *,
        samples: int = 1,
        straight: bool = False,
        near: float = NEAR,
    ) -> list[Launch]:
        """Colour and mask of pixels at edges from 2x2 points of them, in place: kernels.smooth_edges on what `gather`
        or `gather_half` wrote, in the views where parameters["smooth"] is not 0. target: what they read; fine: a
        RasterTarget of twice its size, which is drawn here. depth: as they wrote it, or None."""
        self._window(scene, parameters, projective, target, samples, near)
        if (fine.height, fine.width, fine.views) != (2 * target.height, 2 * target.width, target.views):
            raise ValueError(
                f"fine is {fine.views} x {fine.height} x {fine.width}; expected twice the target's size and as many views"
            )
        if scene.channels < 3:
            raise ValueError(f"scene has {scene.channels} channels; expected a colour of three, or more")
        half = features.shape[2] != target.height
        H, W = (n // 2 if half else n for n in (target.height, target.width))
        _expect("features", features, (target.views, None, H, W), scene.dtype)
        least = BLOCK if half else scene.channels + 3
        if features.shape[1] < least:
            raise ValueError(f"features has {features.shape[1]} channels; expected {least} or more")
        if depth is not None:
            _expect("depth", depth, (target.views, target.height, target.width), np.float32)
        return launches.rasterize(
            scene,
            parameters,
            projective,
            fine,
            samples=samples,
            cull=True,
            near=near,
            multiprocessors=self.device.multiprocessors,
            scale=2,
            enabled=parameters.device["smooth"],
        ) + launches.smooth_edges(
            scene,
            parameters,
            projective,
            target,
            fine,
            features,
            depth,
            samples=samples,
            straight=straight,
            near=near,
        )

    @staticmethod
    def _window(scene, parameters, projective, target, samples, near) -> None:
        _check.integer("samples", samples, 1, 4)
        if not (math.isfinite(near) and near >= 1e-6):
            raise ValueError(f"near is {near!r}; expected a distance of at least 1e-6 metres")
        if target.views != parameters.views:
            raise ValueError(f"target has {target.views} views; the parameters have {parameters.views}")
        _expect("projective", projective, (target.views, scene.vertices, 3), np.float32)


def _frame(views: int, size, rgba, depth, depth_out, threshold, background) -> None:
    """What compose and compose_half check alike, for planes of `size` (height, width) samples."""
    _expect("rgba", rgba, (views, None, None, 4), np.uint8)
    if (depth is None) != (depth_out is None):
        raise ValueError("depth and depth_out belong together; pass both or neither")
    if depth is not None:
        _expect("depth", depth, (views, *size), np.float32)
        _expect("depth_out", depth_out, tuple(rgba.shape[:3]), np.float32)
    if not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold!r}; expected a finite number")
    if background is not None and not (len(background) == 3 and all(0 <= c <= 1 for c in background)):
        raise ValueError(f"background is {background!r}; expected three numbers in [0,1]")


def _expect(name: str, array, shape: tuple, dtype) -> None:
    got = tuple(array.shape)
    if (
        np.dtype(array.dtype) != dtype
        or len(got) != len(shape)
        or any(w is not None and w != g for w, g in zip(shape, got, strict=True))
    ):
        raise ValueError(
            f"{name} is {np.dtype(array.dtype)} {got}; expected {np.dtype(dtype)} "
            f"{tuple('any' if n is None else n for n in shape)}"
        )
