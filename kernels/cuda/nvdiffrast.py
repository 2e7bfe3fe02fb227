"""nvdiffrast (optional, never required) behind the interface of our rasterizer."""

from __future__ import annotations

import importlib.util
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinar_live.kernels.lbs import NEAR

from .errors import CudaError
from .launches import Launch, Pointer, blocks, ints, pointer
from .program import Program

INSTALL = (
    "pip install setuptools wheel ninja && pip install git+https://github.com/NVlabs/nvdiffrast.git --no-build-isolation "
    "(needs torch with CUDA and a CUDA toolkit; its licence allows research and evaluation only)"
)
MAX_FACES = 1 << 24  # triangle numbers come back as float32, exact up to here


@dataclass
class _Work:
    """What belongs to one target: torch's views of clip [views,1,V,4] and triangles [views,F,3], and the
    launches that write them."""

    arguments: tuple
    before: list[Launch]
    context: Any
    clip: Any
    triangles: Any
    rasters: list


class NvdiffrastRasterizer:
    """Fills a RasterTarget as Program.rasterize does, with nvdiffrast's rasterizer (0.4) instead of ours.

    It waits for the GPU in every call, one call a view, and may allocate, so it cannot be part of a CUDA
    graph (`capturable`). Back faces, which it would draw, are taken out beforehand by the same test as ours,
    so the same surface is seen. What differs: vertices are snapped to 1/16 of a pixel instead of 1/256, so
    outlines move by up to 1/32 pixel; equally near faces are decided otherwise; the bits of the depth in
    `visibility` are less exact (gather computes depth anew and does not read them). Use from one thread at a
    time. Raises CudaError where nvdiffrast or a torch with CUDA is missing.
    """

    name = "nvdiffrast"
    capturable = False

    def __init__(self, program: Program, *, cull: bool = True, near: float = NEAR):
        if (reason := self.missing()) is not None:
            raise CudaError(reason)
        try:
            import nvdiffrast.torch as nvdiffrast  # pyright: ignore[reportMissingImports]  (optional)
            import torch
        except Exception as e:  # a module compiled for another torch fails in many ways
            raise CudaError(
                f"nvdiffrast cannot be loaded ({e}); build it again for this torch: {INSTALL}"
            ) from e
        if not torch.cuda.is_available():
            raise CudaError(f"nvdiffrast needs a torch with CUDA; this one ({torch.__version__}) has none")
        self._torch = torch
        self._nvdiffrast = nvdiffrast
        self._program = program
        self._cull = cull
        self._near = near
        self._works: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be used, as far as can be said without loading it; None if it is installed."""
        for name in ("torch", "nvdiffrast"):
            if importlib.util.find_spec(name) is None:
                return f"{name} is not installed; for rasterizer nvdiffrast: {INSTALL}"
        return None

    def rasterize(self, stream, scene, parameters, projective, target, samples: int = 1) -> None:
        """As Program.rasterize followed by run; returns when nvdiffrast is done."""
        work = self._works.get(target)
        if work is None or work.arguments != (scene, parameters, projective, samples):
            work = self._works[target] = self._describe(scene, parameters, projective, target, samples)
        torch, index = self._torch, self._program.device.index
        with (
            torch.cuda.device(index),
            torch.cuda.stream(torch.cuda.ExternalStream(stream.handle, device=f"cuda:{index}")),
        ):
            self._program.run(stream, work.before)
            for view in range(target.views):
                raster, _ = self._nvdiffrast.rasterize(
                    work.context,
                    work.clip[view],
                    work.triangles[view],
                    (target.height, target.width),
                    grad_db=False,
                )
                work.rasters[view] = raster  # alive until the kernel after it has read it
                self._program.run(stream, [self._pixels(raster.data_ptr(), view, target)])

    def _describe(self, scene, parameters, projective, target, samples) -> _Work:
        self._program.rasterize(
            scene, parameters, projective, target, samples=samples, near=self._near
        )  # checks
        faces = scene.faces.shape[0]
        if faces >= MAX_FACES:
            raise ValueError(f"{faces} faces; nvdiffrast numbers {MAX_FACES - 1} exactly")
        device, views = self._program.device, target.views
        clip, triangles = (
            device.empty((views, 1, scene.vertices, 4), np.float32),
            device.empty((views, max(faces, 1), 3), np.int32),
        )
        near = np.float32(self._near)
        before = [
            Launch(
                "nvdiffrast_vertices",
                (blocks(scene.vertices, 128), views, 1),
                (128, 1, 1),
                (
                    *ints(scene.vertices, target.height, target.width, samples),
                    near,
                    pointer(projective),
                    pointer(parameters.device["origins"]),
                    pointer(clip),
                ),
            ),
            Launch(
                "nvdiffrast_faces",
                (blocks(faces, 128), views, 1),
                (128, 1, 1),
                (
                    *ints(scene.vertices, faces, self._cull),
                    near,
                    pointer(projective),
                    pointer(scene.faces),
                    pointer(triangles),
                ),
            ),
        ]
        where = f"cuda:{device.index}"
        context = self._nvdiffrast.RasterizeCudaContext(
            device=where
        )  # one per size: it reallocates when the size changes
        return _Work(
            (scene, parameters, projective, samples),
            before,
            context,
            self._torch.as_tensor(clip, device=where),
            self._torch.as_tensor(triangles, device=where),
            [None] * views,
        )

    def _pixels(self, raster: int, view: int, target) -> Launch:
        pixels = target.height * target.width
        return Launch(
            "nvdiffrast_pixels",
            (blocks(pixels, 256), 1, 1),
            (256, 1, 1),
            (
                np.int64(pixels),
                np.int32(view),
                np.float32(self._near),
                Pointer(raster),
                pointer(target.visibility),
            ),
        )
