"""ONNX operators that move pixels: depth to space, padding, resizing, sampling. Part of the table of
ops.py; same rules."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .ops import OperatorError, axes_of, ints_of, operator, table


@operator("DepthToSpace")
def _depth_to_space(a, opset, x):
    b = a["blocksize"]
    n, c, h, w = x.shape
    if a.get("mode", "DCR") == "CRD":
        return (
            x.reshape(n, c // (b * b), b, b, h, w)
            .permute(0, 1, 4, 2, 5, 3)
            .reshape(n, c // (b * b), h * b, w * b)
        )
    return (
        x.reshape(n, b, b, c // (b * b), h, w)
        .permute(0, 3, 4, 1, 5, 2)
        .reshape(n, c // (b * b), h * b, w * b)
    )


@operator("SpaceToDepth")
def _space_to_depth(a, opset, x):
    b = a["blocksize"]
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)
    )


@operator("Pad")
def _pad(a, opset, x, pads, value=None, axes=None):
    amounts = ints_of(pads)
    dims = range(x.ndim) if axes is None else axes_of(ints_of(axes), x.ndim)
    before, after = amounts[: len(amounts) // 2], amounts[len(amounts) // 2 :]
    mode = a.get("mode", "constant")
    if mode == "constant":
        sides = [0] * (2 * x.ndim)
        for axis, first, last in zip(dims, before, after, strict=True):
            sides[2 * (x.ndim - 1 - axis)], sides[2 * (x.ndim - 1 - axis) + 1] = first, last
        return F.pad(x, sides, value=0 if value is None else value.item())
    if mode == "reflect" and _pads_only_pictures(x, dims, before, after):
        (top, left), (bottom, right) = (
            [dict(zip(dims, side, strict=True)).get(axis, 0) for axis in (2, 3)] for side in (before, after)
        )
        if (
            min(top, bottom, left, right) >= 0
            and max(top, bottom) < x.shape[2]
            and max(left, right) < x.shape[3]
        ):
            if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
                return _mirrored(x, (top, bottom, left, right))
            return F.pad(x, (left, right, top, bottom), mode="reflect")
    for axis, first, last in zip(dims, before, after, strict=True):
        if first or last:
            size, amount = x.shape[axis], max(first, last)
            if mode not in ("edge", "reflect") or (mode == "reflect" and amount >= size):
                raise OperatorError(
                    f"mode {mode} by {amount} of {size}; covered are constant, edge, reflect below the size"
                )
            x = x.index_select(
                axis,
                table(
                    a, (axis, size, first, last), functools.partial(_padded_index, mode, size, first, last)
                ),
            )
    return x


def _mirrored(x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """reflect padding (top, bottom, left, right) of a picture in the order channels last, in that order: one copy of
    the picture, and the rows and columns around it. torch's own turns it into planes first, and back behind."""
    top, bottom, left, right = sides
    n, c, h, w = x.shape
    out = torch.empty(
        (n, c, h + top + bottom, w + left + right),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    out[:, :, top : top + h, left : left + w] = x
    for i in range(top):
        out[:, :, i, left : left + w] = x[:, :, top - i]
    for i in range(bottom):
        out[:, :, top + h + i, left : left + w] = x[:, :, h - 2 - i]
    for i in range(left):
        out[:, :, :, i] = out[:, :, :, 2 * left - i]
    for i in range(right):
        out[:, :, :, left + w + i] = out[:, :, :, left + w - 2 - i]
    return out


def _pads_only_pictures(x: Tensor, dims, before, after) -> bool:
    return x.ndim == 4 and all(
        axis in (2, 3) or not (first or last) for axis, first, last in zip(dims, before, after, strict=True)
    )


def _padded_index(mode: str, size: int, first: int, last: int) -> Tensor:
    index = torch.arange(-first, size + last)
    return index.clamp(0, size - 1) if mode == "edge" else (size - 1) - ((size - 1) - index.abs()).abs()


def _source_positions(mode: str, size: int, new: int, scale: float) -> Tensor:
    """Where in the old axis each new sample lies, float64 [new]."""
    i = torch.arange(new, dtype=torch.float64)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and new > 1):
        return (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return torch.zeros(new, dtype=torch.float64)
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * ((size - 1) / (new - 1)) if new > 1 else torch.zeros(new, dtype=torch.float64)
    raise OperatorError(f"coordinate_transformation_mode {mode}")


_ROUND = {
    "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


@operator("Resize")
def _resize(a, opset, x, roi=None, scales=None, sizes=None):
    mode = a.get("mode", "nearest")
    if (
        mode not in ("nearest", "linear")
        or a.get("antialias", 0)
        or a.get("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise OperatorError(
            f"mode {mode} with antialias or an aspect policy; covered are plain nearest and linear"
        )
    dims = axes_of(a.get("axes", range(x.ndim)), x.ndim)
    if sizes is not None and sizes.numel():
        news = ints_of(sizes)
        factors = [new / x.shape[axis] for axis, new in zip(dims, news, strict=True)]
    elif scales is None:
        raise OperatorError("neither sizes nor scales are given")
    else:
        factors = [float(v) for v in scales.tolist()]
        news = [int(math.floor(x.shape[axis] * factor)) for axis, factor in zip(dims, factors, strict=True)]
    how, nearest = (
        a.get("coordinate_transformation_mode", "half_pixel"),
        a.get("nearest_mode", "round_prefer_floor"),
    )
    quick = _quick_resize(x, mode, how, nearest, dims, news, factors)
    if quick is not None:
        return quick
    for axis, new, factor in zip(dims, news, factors, strict=True):
        if new != x.shape[axis] or factor != 1:
            x = _resize_axis(a, x, axis, new, factor, mode, how, nearest)
    return x


def _resize_axis(
    a, x: Tensor, axis: int, new: int, factor: float, mode: str, how: str, nearest: str
) -> Tensor:
    size = x.shape[axis]
    key = (axis, size, new, factor)

    def positions() -> Tensor:
        return _source_positions(how, size, new, factor)

    if mode == "nearest":
        return x.index_select(
            axis, table(a, key, lambda: _ROUND[nearest](positions()).clamp(0, size - 1).long())
        )
    low = table(a, ("low", *key), lambda: positions().clamp(0, size - 1).floor().long())
    high = table(
        a, ("high", *key), lambda: (positions().clamp(0, size - 1).floor().long() + 1).clamp(max=size - 1)
    )
    weight = table(a, ("weight", *key), lambda: _fraction(positions().clamp(0, size - 1)))
    weight = weight.to(x.dtype).reshape([-1 if d == axis else 1 for d in range(x.ndim)])
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)


def _fraction(positions: Tensor) -> Tensor:
    return (positions - positions.floor()).float()


def _quick_resize(x: Tensor, mode: str, how: str, nearest: str, dims, news, factors) -> Tensor | None:
    """The same by torch's own kernel where it means the same: a whole picture, by factors that give whole
    sizes."""
    wanted = dict(zip(dims, zip(news, factors, strict=True), strict=True))
    if x.ndim != 4 or any(wanted.get(axis, (x.shape[axis], 1))[0] != x.shape[axis] for axis in (0, 1)):
        return None
    size = [wanted.get(axis, (x.shape[axis], 1.0))[0] for axis in (2, 3)]
    if any(axis in wanted and x.shape[axis] * wanted[axis][1] != wanted[axis][0] for axis in (2, 3)):
        return None
    if mode == "nearest" and how == "asymmetric" and nearest == "floor":
        return F.interpolate(x, size, mode="nearest")
    if mode == "linear" and how == "half_pixel":
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
    return None


@operator("GridSample")
def _grid_sample(a, opset, x, grid):
    named: str = a.get("mode", "bilinear")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(named, named)
    return F.grid_sample(x, grid, mode, a.get("padding_mode", "zeros"), bool(a.get("align_corners", 0)))
