"""What stays on the GPU from frame to frame, and the buffers that a frame goes through."""

from __future__ import annotations

import numpy as np

from dinar_live.kernels import _check
from dinar_live.kernels.lbs import BodyModel
from dinar_live.kernels.rasterize import MAX_SIZE
from dinar_live.kernels.smooth_edges import GAP_TEXELS

from . import layout
from .device import Device
from .memory import DeviceArray, Scratch

QUEUED_TRIANGLE = 64  # bytes, as in rasterize.cu
TILE_W, TILE_H = 32, 8  # pixels, as in rasterize.cu
TILE_BITS = 40  # as in rasterize.cu


class DeviceBody:
    """A BodyModel on the GPU, with the small arrays that skinning leaves there.

    vertices, joints, slots, expressions: counts. arrays: by the name of the kernels' argument. After
    Program.lbs: `posed_joints` f32[J,3] (metres, world). One frame at a time may use it; frames in flight
    together need one each (`share` keeps one copy of the directions). Raises ValueError for more joints than
    the kernels take, CudaError.
    """

    def __init__(self, device: Device, model: BodyModel):
        self.device = device
        self.model = model
        self.arrays = {name: device.upload(a) for name, a in layout.body_arrays(model).items()}
        self._allocate()

    def _allocate(self) -> None:
        model = self.model
        self.vertices = len(model.vertices)
        self.joints = len(model.joints)
        self.slots = model.skin_index.shape[1]
        self.expressions = model.expression_count
        self.expression_rows = len(model.expression_vertex)
        self.levels = self.arrays["level_start"].shape[0] - 1
        self.columns = self.device.empty((self.joints, 16), np.float32)
        self.posed_joints = self.device.empty((self.joints, 3), np.float32)
        self.active = self.device.empty((2 + self.joints + self.expressions,), np.int32)
        self.features = (
            self.device.empty((9 * (self.joints - 1),), np.float32) if "pose_dirs" in self.arrays else None
        )

    def share(self) -> DeviceBody:
        """The same body with small arrays of its own, for another frame in flight."""
        other = object.__new__(DeviceBody)
        other.device = self.device
        other.model = self.model
        other.arrays = self.arrays
        other._allocate()
        return other


class DeviceScene:
    """What is drawn: faces i32[F,3] of the body, uv f32[T,2], uv_faces i32[F,3], texture f32[Ht,Wt,C] as in
    kernels.gather_uv; neural f32[ht,wt,C]: the second texture of Program.gather_half, or None.

    dtype float16 or float32: of the textures on the GPU and of the features that Program.gather writes.
    Indices are checked here. Raises TypeError, ValueError, CudaError.
    """

    def __init__(
        self, device: Device, vertices: int, faces, uv, uv_faces, texture, dtype=np.float16, neural=None
    ):
        self.dtype = np.dtype(dtype)
        self.vertices = vertices
        self.channels = np.shape(texture)[-1]
        arrays = layout.scene_arrays(vertices, faces, uv, uv_faces, texture, dtype)
        self.faces = device.upload(arrays["faces"])
        self.corner_uv = device.upload(arrays["corner_uv"])
        self.uv_boxes = device.upload(arrays["uv_boxes"])
        self.gap = GAP_TEXELS / max(np.shape(texture)[:2])
        self.texture = device.upload(arrays["texture"])
        self.neural_channels = 0 if neural is None else np.shape(neural)[-1]
        self.neural = None if neural is None else device.upload(layout.texels("neural", neural, dtype, 0))


class FrameParameters:
    """Everything that changes from frame to frame, in one block that one copy brings to the GPU, so that a
    captured graph replays as is.

    host: numpy record over page-locked memory, to be filled before `upload`:
        host["body"] f32[J,3], host["transl"] f32[3], host["expression"] f32[E] (all of it: unused
        coefficients are 0), host["matrices"] f64[views,3,4] = K @ world_to_camera[:3], times the samples a
        pixel (diag(s, s, 1) @ ...), host["origins"] i32[views,2] = x0, y0 of the window in the frame, pixels,
            host["smooth"] i32[views]: see Program.smooth_edges, 1 at the start.
    device[name]: the same fields as DeviceArray. A frame in flight needs its own block: the copy reads `host`
    when it runs.
    """

    def __init__(self, device: Device, joints: int, expressions: int, views: int = 1):
        dtype = layout.parameters_dtype(joints, expressions, _check.integer("views", views, 1, 64))
        self.views = views
        self._bytes = device.pinned((dtype.itemsize,), np.uint8)
        self.host = self._bytes.view(dtype)[0]
        self.host["smooth"] = 1
        self._block = device.empty((dtype.itemsize,), np.uint8)
        self.device = {
            name: self._block.view(offset, field.shape, field.base)
            for name, (field, offset, *_) in (dtype.fields or {}).items()
        }

    def upload(self, stream) -> None:
        """One asynchronous copy of `host`."""
        self._block.copy_from(self._bytes, stream)


class RasterTarget:
    """Visibility of `views` windows of (height, width) samples, and the rasterizer's queue for `faces`
    triangles.

    visibility u64[views,H,W]: key of what is seen (Program.rasterize; ~0 = empty, else the triangle in the
    low 32 bits). scratch: where its memory comes from, shared with other targets of the same name; None = its own.
    Raises ValueError, CudaError.
    """

    def __init__(
        self,
        device: Device,
        height: int,
        width: int,
        faces: int,
        views: int = 1,
        *,
        scratch: Scratch | None = None,
        name: str = "target",
    ):
        self.height, self.width = _check.pair("size", (height, width), 1, MAX_SIZE)
        self.views = _check.integer("views", views, 1, 64)
        pixels = self.views * self.height * self.width
        self.capacity = max(1, 2 * faces * self.views)
        tiles = -(-self.width // TILE_W) * -(-self.height // TILE_H)
        if 6 * faces * self.views * tiles >= 1 << TILE_BITS:
            raise ValueError(
                f"{faces} faces in {views} windows of {height} x {width}; too many for the rasterizer's queue"
            )
        self.pairs = (pixels + 1) // 2
        own = device.empty

        def memory(part: str, shape: tuple[int, ...], dtype) -> DeviceArray:
            return own(shape, dtype) if scratch is None else scratch.take(f"{name} {part}", shape, dtype)

        self._storage = memory("pixels", (2 * self.pairs,), np.uint64)
        self.visibility: DeviceArray = self._storage.view(0, (self.views, self.height, self.width), np.uint64)
        self.counter = memory("counter", (1,), np.uint64)
        self.queue = memory("queue", (self.capacity, QUEUED_TRIANGLE), np.uint8)
