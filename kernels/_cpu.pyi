"""The compiled CPU kernels (kernels/cpu/module.cpp). Private: the Python files beside it check shapes, types and
ranges; here arrays are C-contiguous and of exactly these types. `threads` 0 = all cores."""

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]
_I32 = NDArray[np.int32]

class Body:
    def __init__(
        self,
        vertices: _F32,
        joints: _F32,
        parents: _I32,
        skin_index: NDArray[np.uint16],
        skin_weight: _F32,
        expression_vertex: _I32,
        expression_dirs: _F32,
        expression_joint_dirs: _F32,
        pose_dirs: _F32 | None,
    ) -> None: ...
    def lbs(
        self, body: _F32, transl: _F32, expression: _F32, out: _F32, joints_out: _F32 | None, threads: int
    ) -> None: ...

def project(
    points: _F32, matrix: NDArray[np.float64], near: float, out: _F32
) -> tuple[float, float, float, float] | None: ...
def rasterize(
    projective: _F32,
    faces: _I32,
    origin_x: int,
    origin_y: int,
    cull: bool,
    near: float,
    triangle_id: _I32,
    barycentrics: _F32,
    depth: _F32,
    threads: int,
) -> None: ...
def gather(
    triangle_id: _I32,
    barycentrics: _F32,
    uv: _F32,
    uv_faces: _I32,
    texture: _F32,
    out: _F32,
    threads: int,
) -> None: ...
def compose(
    rgb: _F32,
    alpha: _F32,
    mask: _F32 | None,
    depth: _F32 | None,
    threshold: float,
    has_background: bool,
    red: float,
    green: float,
    blue: float,
    straight: bool,
    samples: int,
    origin_x: int,
    origin_y: int,
    out: NDArray[np.uint8],
    depth_out: _F32 | None,
    threads: int,
) -> None: ...
def smooth_edges(
    projective: _F32,
    faces: _I32,
    origin_x: int,
    origin_y: int,
    cull: bool,
    near: float,
    triangle_id: _I32,
    uv: _F32,
    uv_faces: _I32,
    uv_boxes: _F32,
    gap: float,
    texture: _F32,
    samples: int,
    straight: bool,
    colour: _F32 | None,
    mask: _F32 | None,
    blocks: _F32 | None,
    depth: _F32 | None,
    threads: int,
) -> int: ...
def gather_half(
    triangle_id: _I32,
    barycentrics: _F32,
    uv: _F32,
    uv_faces: _I32,
    texture: _F32 | NDArray[np.uint8],
    neural: _F32 | NDArray[np.uint8],
    out: _F32,
    spans: _I32 | None,
    threads: int,
) -> None: ...
def compose_half(
    features: _F32,
    correction: _F32,
    spans: _I32 | None,
    depth: _F32 | None,
    hardsegm: bool,
    threshold: float,
    has_background: bool,
    red: float,
    green: float,
    blue: float,
    straight: bool,
    origin_x: int,
    origin_y: int,
    out: NDArray[np.uint8],
    depth_out: _F32 | None,
    threads: int,
) -> None: ...
def variants() -> list[str]:
    """Instruction sets that this build and this CPU have."""

def variant() -> str:
    """The one in use."""

def use_variant(name: str) -> None:
    """Force one, for tests and benchmarks. ValueError for one that is not there."""

def available_threads() -> int: ...
