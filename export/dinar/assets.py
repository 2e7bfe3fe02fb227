"""What belongs to the body's texture layout: seam vertices, coverage, eyes and hands, part colours; read from
files or derived."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.export.fill import extend
from dinar_live.export.inputs import read_image
from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.skeleton import JOINT_NAMES, PARENTS

TEXTURE = 256  # texels a side
MAP = 1024  # of the coverage before it is shrunk, as published
FILES = (
    "v_inds.npy",
    "uv_faces.npy",
    "uv.npy",
    "SMPLX-mesh-neutral.png",
    "SMPLX-eyes-hands-mask.png",
    "gradient_texture_preprocessed.png",
)
MAX_VERTICES = 400_000
SMOOTHING = 30  # averaging steps that soften the borders of part colours over the mesh

# Colours of parts that may cover each other, RGB: neighbours along a limb are near, limbs are far from each
# other and from the trunk.
PART_COLOURS = {
    "pelvis": (128, 128, 128),
    "head": (255, 255, 128),
    "left_hip": (255, 64, 0),
    "left_knee": (255, 0, 64),
    "right_hip": (0, 64, 255),
    "right_knee": (64, 0, 255),
    "left_shoulder": (0, 255, 64),
    "left_elbow": (64, 255, 0),
    "left_wrist": (160, 255, 0),
    "right_shoulder": (255, 0, 255),
    "right_elbow": (255, 0, 160),
    "right_wrist": (255, 96, 192),
}


@dataclass(frozen=True, eq=False)
class Layout:
    """The texture's own mesh: v_inds i32[T], the body vertex of each texture vertex; faces i32[F,3] into
    these; uv f32[T,2], v down."""

    v_inds: np.ndarray
    faces: np.ndarray
    uv: np.ndarray


@dataclass(frozen=True, eq=False)
class Assets:
    """layout; binary_uv f32[256,256] in [0,1], 1 where the texture has surface; additive_uv f32[256,256] in
    [0,1], eyes and hands; part_colours f32[3,256,256], 0..255, one colour per limb with soft borders."""

    layout: Layout
    binary_uv: np.ndarray
    additive_uv: np.ndarray
    part_colours: np.ndarray


def match_layout(body_faces: np.ndarray, uv_faces: np.ndarray, uv: np.ndarray) -> Layout:
    """Find v_inds from faces in the same order: body_faces i[F,3] into vertices, uv_faces i[F,3] into uv
    f[T,2] (v down).

    Every corner of every face must agree. Texture vertices that no face uses get vertex 0.
    Raises InputError for a layout of another body.
    """
    if body_faces.shape != uv_faces.shape:
        raise InputError(
            f"UV layout: got {len(uv_faces)} faces, the body has {len(body_faces)}; it belongs to another body"
        )
    faces = _indices("UV layout: faces", uv_faces, (-1, 3), len(uv))
    v_inds = np.full(len(uv), -1, np.int64)
    v_inds[faces.ravel()] = body_faces.ravel()
    wrong = (v_inds[faces] != body_faces).any(1)
    if wrong.any():
        raise InputError(
            f"UV layout: {int(wrong.sum())} of {len(wrong)} faces disagree with the body's (first: {np.argmax(wrong)}); "
            "it belongs to another body, or its faces are in another order"
        )
    return Layout(np.maximum(v_inds, 0).astype(np.int32), faces, _uv("UV layout: uv", uv))


def derive_assets(body: Body, uv_faces: np.ndarray | None = None, uv: np.ndarray | None = None) -> Assets:
    """All assets from the body: v_inds from matching faces, coverage from the layout, eyes, hands and parts
    from skinning weights.

    uv_faces i[F,3], uv f[T,2] (v down): the checkpoint's layout, else the body's. Raises InputError for a
    layout of another body.
    """
    layout = match_layout(
        body.faces, body.uv_faces if uv_faces is None else uv_faces, body.uv if uv is None else uv
    )
    painted, hit = paint(layout, np.concatenate([_eyes_and_hands(body.weights), _part_colours(body)], 1), MAP)
    binary = _shrink(hit.astype(np.uint8) * 255)
    additive = _shrink((painted[0] > 0.5).astype(np.uint8) * 255)
    colours, small = paint(layout, _part_colours(body), TEXTURE)
    colours = extend(colours.transpose(1, 2, 0), small).transpose(2, 0, 1)
    return Assets(layout, binary, additive, np.ascontiguousarray(np.rint(colours)))


def load_assets(folder, body: Body) -> Assets:
    """Read the published repository's asset folder, checked against the body. Raises InputError naming file
    and fault."""
    folder = pathlib.Path(folder)
    if missing := [f for f in FILES if not (folder / f).is_file()]:
        raise InputError(
            f"{folder}: {missing} are missing, expected {list(FILES)}; without --assets they are derived from the body"
        )
    uv = _uv(str(folder / "uv.npy"), _load(folder / "uv.npy"))
    v_inds = _indices(
        str(folder / "v_inds.npy"), _load(folder / "v_inds.npy"), (len(uv),), len(body.template)
    )
    faces = _indices(str(folder / "uv_faces.npy"), _load(folder / "uv_faces.npy"), (-1, 3), len(uv))
    if faces.shape != body.faces.shape or not np.array_equal(
        np.sort(v_inds[faces], 1), np.sort(body.faces, 1)
    ):
        raise InputError(
            f"{folder}: its layout does not belong to this body ({len(faces)} faces, the body has {len(body.faces)}); "
            "give the body model it was made for with --body"
        )
    binary, additive = (_map(folder / f)[0] / np.float32(255) for f in FILES[3:5])
    return Assets(Layout(v_inds, faces, uv), binary, additive, _map(folder / FILES[5]))


def paint(layout: Layout, values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Body vertex values f32[V,C] painted into the texture, f32[C,size,size], and where it has surface,
    bool[size,size].

    The texel in row i, column j shows u = (j+0.5)/size, v = (i+0.5)/size.
    """
    plane = np.ones((len(layout.uv), 3), np.float32)
    plane[:, :2] = layout.uv * size
    raster = kernels.rasterize(plane, layout.faces, (size, size), cull=False)
    hit = raster.triangle_id >= 0
    out = np.zeros((values.shape[1], size, size), np.float32)
    corners = values[layout.v_inds[layout.faces[raster.triangle_id[hit]]]].astype(np.float32)
    out[:, hit] = np.einsum("nk,nkc->cn", raster.barycentrics[hit], corners)
    return out, hit


def _eyes_and_hands(weights: np.ndarray) -> np.ndarray:
    names = [i for i, n in enumerate(JOINT_NAMES) if i >= 23 or "wrist" in n]
    return weights[:, names].sum(1, keepdims=True)


def _part_colours(body: Body) -> np.ndarray:
    """f32[V,3]: each joint has the colour of its nearest named ancestor, mixed by skinning weights and
    softened over the mesh."""
    colour = np.zeros((len(JOINT_NAMES), 3), np.float32)
    for i, name in enumerate(JOINT_NAMES):
        colour[i] = PART_COLOURS[name] if name in PART_COLOURS else colour[PARENTS[i]]
    values = (body.weights / np.maximum(body.weights.sum(1, keepdims=True), 1e-9)) @ colour
    i, j = (
        np.concatenate([body.faces[:, a] for a in order])
        for order in ((0, 1, 2, 1, 2, 0), (1, 2, 0, 0, 1, 2))
    )
    degree = np.maximum(np.bincount(i, minlength=len(values)), 1)
    for _ in range(SMOOTHING):
        mean = np.stack([np.bincount(i, values[j, c], len(values)) for c in range(3)], 1) / degree[:, None]
        values = 0.5 * (values + mean)
    return values.astype(np.float32)


def _shrink(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (TEXTURE, TEXTURE), interpolation=cv2.INTER_LINEAR).astype(
        np.float32
    ) / np.float32(255)


def _map(path: pathlib.Path) -> np.ndarray:
    """A map as the published loader takes it: RGB, resized bilinearly to 256x256, f32[3,256,256], 0..255."""
    picture = cv2.resize(
        read_image(path, cv2.IMREAD_COLOR)[..., ::-1], (TEXTURE, TEXTURE), interpolation=cv2.INTER_LINEAR
    )
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)


def _load(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as e:
        raise InputError(f"{path}: not a readable .npy of plain numbers ({e})") from e


def _indices(name: str, value: np.ndarray, shape: Sequence[int], limit: int) -> np.ndarray:
    value = np.asarray(value)
    if (
        value.dtype.kind not in "iu"
        or value.ndim != len(shape)
        or any(s not in (-1, n) for s, n in zip(shape, value.shape, strict=True))
    ):
        raise InputError(
            f"{name}: got {value.dtype}{list(value.shape)}, expected whole numbers {list(shape)}"
        )
    if value.size and not (0 <= int(value.min()) and int(value.max()) < limit):
        raise InputError(
            f"{name}: holds indices {int(value.min())}..{int(value.max())}, expected 0..{limit - 1}"
        )
    return np.ascontiguousarray(value, np.int32)


def _uv(name: str, value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    if (
        value.dtype.kind != "f"
        or value.ndim != 2
        or value.shape[1] != 2
        or not 3 <= len(value) <= MAX_VERTICES
    ):
        raise InputError(f"{name}: got {value.dtype}{list(value.shape)}, expected floats [T,2]")
    if not np.isfinite(value).all() or value.min() < 0 or value.max() > 1:
        raise InputError(f"{name}: holds values outside 0..1")
    return np.ascontiguousarray(value, np.float32)
