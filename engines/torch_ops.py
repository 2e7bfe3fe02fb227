"""ONNX operators in torch: `OPERATORS[op_type](attributes, opset, *inputs) -> tensor or tuple`.

Semantics: onnx/docs/Operators.md, opset 13 and newer, forward only.
Float tensors live on the engine's device, integers (shapes, indices) stay on the CPU.
An absent optional input is None. What is not covered raises OperatorError.
"""
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

OPERATORS: dict[str, Callable] = {}


class OperatorError(Exception):
    """A use of an operator that this table does not cover."""


def _operator(*names: str):
    def add(function):
        for name in names:
            OPERATORS[name] = function
        return function
    return add


def _simple(name: str, function: Callable) -> None:
    OPERATORS[name] = lambda a, opset, *x: function(*x)


def _ints(x: Tensor) -> list[int]:
    return [int(v) for v in x.reshape(-1).tolist()]


def _axes(axes, rank: int) -> list[int]:
    return [axis + rank if axis < 0 else axis for axis in axes]


# element by element

for _name, _function in {
    "Identity": lambda x: x, "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Exp": torch.exp, "Log": torch.log,
    "Sqrt": torch.sqrt, "Erf": torch.erf, "Abs": torch.abs, "Neg": torch.neg, "Floor": torch.floor, "Ceil": torch.ceil,
    "Round": torch.round, "Reciprocal": torch.reciprocal, "Sin": torch.sin, "Cos": torch.cos, "Softplus": F.softplus,
    "HardSwish": F.hardswish, "Not": torch.logical_not,
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": lambda x, y: torch.pow(x, y).to(x.dtype), "MatMul": torch.matmul,
    "Equal": torch.eq, "Less": torch.lt, "LessOrEqual": torch.le, "Greater": torch.gt, "GreaterOrEqual": torch.ge,
    "And": torch.logical_and, "Or": torch.logical_or, "Where": torch.where,
    "GlobalAveragePool": lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, _ints(shape))),
    "Tile": lambda x, repeats: x.repeat(_ints(repeats)),
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
}.items():
    _simple(_name, _function)


@_operator("Div")
def _div(a, opset, x, y):
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@_operator("Max", "Min")
def _extreme(a, opset, *xs):
    function = torch.maximum if a["op_type"] == "Max" else torch.minimum
    result = xs[0]
    for x in xs[1:]:
        result = function(result, x)
    return result


@_operator("LeakyRelu")
def _leaky_relu(a, opset, x):
    return F.leaky_relu(x, a.get("alpha", 0.01))


@_operator("Elu")
def _elu(a, opset, x):
    return F.elu(x, a.get("alpha", 1.0))


@_operator("HardSigmoid")
def _hard_sigmoid(a, opset, x):
    return (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1)


@_operator("Gelu")
def _gelu(a, opset, x):
    return F.gelu(x, approximate=a.get("approximate", "none"))


@_operator("Clip")
def _clip(a, opset, x, low=None, high=None):
    return x if low is None and high is None else torch.clamp(x, low, high)


@_operator("Softmax")
def _softmax(a, opset, x):
    return torch.softmax(x, a.get("axis", -1))


@_operator("Cast")
def _cast(a, opset, x):
    kinds = {1: x.dtype if x.is_floating_point() else a["float"], 6: torch.int32, 7: torch.int64, 9: torch.bool}
    if a["to"] not in kinds:
        raise OperatorError(f"a cast to ONNX type {a['to']}; covered are float32, int32, int64, bool")
    return x.to(kinds[a["to"]])


# convolutions and matrices

def _spatial(a, x: Tensor, kernel) -> tuple[list[int], list[int], list[int], list[int]]:
    """kernel, strides, pads (top, left, bottom, right), dilations of a 2-D window operator."""
    if x.ndim != 4:
        raise OperatorError(f"an input of {x.ndim} dimensions; covered is 4 (N, C, H, W)")
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise OperatorError(f"auto_pad {a['auto_pad']}; write the pads out")
    return list(kernel), a.get("strides", [1, 1]), a.get("pads", [0] * 4), a.get("dilations", [1, 1])


def _pad_sides(x: Tensor, pads, value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


@_operator("Conv")
def _conv(a, opset, x, weight, bias=None):
    _, strides, pads, dilations = _spatial(a, x, weight.shape[2:])
    if pads[:2] == pads[2:]:
        return F.conv2d(x, weight, bias, strides, pads[:2], dilations, a.get("group", 1))
    return F.conv2d(_pad_sides(x, pads), weight, bias, strides, 0, dilations, a.get("group", 1))


@_operator("ConvTranspose")
def _conv_transpose(a, opset, x, weight, bias=None):
    _, strides, pads, dilations = _spatial(a, x, weight.shape[2:])
    if "output_shape" in a:
        raise OperatorError("output_shape; write pads and output_padding out")
    bottom, right = a.get("output_padding", [0, 0])
    y = F.conv_transpose2d(x, weight, bias, strides, 0, 0, a.get("group", 1), dilations)
    if bottom or right:   # outside the window of every input: only the bias reaches it
        y = F.pad(y, (0, right, 0, bottom))
        if bias is not None:
            h, w = y.shape[2] - bottom, y.shape[3] - right
            y[:, :, h:] = bias.view(1, -1, 1, 1)
            y[:, :, :, w:] = bias.view(1, -1, 1, 1)
    return y[:, :, pads[0]:y.shape[2] - pads[2], pads[1]:y.shape[3] - pads[3]]


@_operator("Gemm")
def _gemm(a, opset, x, y, z=None):
    result = a.get("alpha", 1.0) * torch.matmul(x.T if a.get("transA", 0) else x, y.T if a.get("transB", 0) else y)
    return result if z is None else result + a.get("beta", 1.0) * z


# pooling

def _no_ceil(a) -> None:
    if a.get("ceil_mode", 0):
        raise OperatorError("ceil_mode 1; covered is 0")


@_operator("MaxPool")
def _max_pool(a, opset, x):
    kernel, strides, pads, dilations = _spatial(a, x, a["kernel_shape"])
    _no_ceil(a)
    return F.max_pool2d(_pad_sides(x, pads, -math.inf), kernel, strides, 0, dilations)


@_operator("AveragePool")
def _average_pool(a, opset, x):
    kernel, strides, pads, dilations = _spatial(a, x, a["kernel_shape"])
    _no_ceil(a)
    if dilations != [1, 1]:
        raise OperatorError(f"dilations {dilations}; covered is [1, 1]")
    total = F.avg_pool2d(_pad_sides(x, pads), kernel, strides, divisor_override=1)
    if a.get("count_include_pad", 0):
        return total / (kernel[0] * kernel[1])
    return total / F.avg_pool2d(_pad_sides(torch.ones_like(x[:1, :1]), pads), kernel, strides, divisor_override=1)


def _reduce(function):
    def reduce(a, opset, x, axes=None):
        dims = _ints(axes) if axes is not None else list(a.get("axes", []))
        if not dims and a.get("noop_with_empty_axes", 0):
            return x
        return function(x, dims or list(range(x.ndim)), bool(a.get("keepdims", 1)))
    return reduce


OPERATORS["ReduceMean"] = _reduce(torch.mean)
OPERATORS["ReduceSum"] = _reduce(torch.sum)
OPERATORS["ReduceMax"] = _reduce(torch.amax)
OPERATORS["ReduceMin"] = _reduce(torch.amin)


# normalization

@_operator("BatchNormalization")
def _batch_normalization(a, opset, x, scale, bias, mean, variance):
    if a.get("training_mode", 0):
        raise OperatorError("training_mode 1; export the model in evaluation mode")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


@_operator("InstanceNormalization")
def _instance_normalization(a, opset, x, scale, bias):
    return F.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


@_operator("GroupNormalization")
def _group_normalization(a, opset, x, scale, bias):
    if opset < 21:
        raise OperatorError("the form before opset 21, which ONNX withdrew; export with opset 21 or newer")
    return F.group_norm(x, a["num_groups"], scale, bias, a.get("epsilon", 1e-5))


# moving pixels

@_operator("DepthToSpace")
def _depth_to_space(a, opset, x):
    b = a["blocksize"]
    n, c, h, w = x.shape
    if a.get("mode", "DCR") == "CRD":
        return x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // (b * b), h * b, w * b)
    return x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


@_operator("SpaceToDepth")
def _space_to_depth(a, opset, x):
    b = a["blocksize"]
    n, c, h, w = x.shape
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@_operator("Pad")
def _pad(a, opset, x, pads, value=None, axes=None):
    amounts = _ints(pads)
    dims = range(x.ndim) if axes is None else _axes(_ints(axes), x.ndim)
    before, after = amounts[:len(amounts) // 2], amounts[len(amounts) // 2:]
    mode = a.get("mode", "constant")
    if mode == "constant":
        sides = [0] * (2 * x.ndim)
        for axis, first, last in zip(dims, before, after, strict=True):
            sides[2 * (x.ndim - 1 - axis)], sides[2 * (x.ndim - 1 - axis) + 1] = first, last
        return F.pad(x, sides, value=0 if value is None else value.item())
    for axis, first, last in zip(dims, before, after, strict=True):
        if first or last:
            index = torch.arange(-first, x.shape[axis] + last)
            if mode == "edge":
                index = index.clamp(0, x.shape[axis] - 1)
            elif mode == "reflect" and max(first, last) < x.shape[axis]:
                index = (x.shape[axis] - 1) - ((x.shape[axis] - 1) - index.abs()).abs()
            else:
                amount = max(first, last)
                raise OperatorError(f"mode {mode} by {amount} of {x.shape[axis]}; covered are constant, edge, reflect below the size")
            x = x.index_select(axis, index.to(x.device))
    return x


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
    "round_prefer_floor": lambda x: torch.ceil(x - 0.5), "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
    "floor": torch.floor, "ceil": torch.ceil,
}


@_operator("Resize")
def _resize(a, opset, x, roi=None, scales=None, sizes=None):
    mode = a.get("mode", "nearest")
    if mode not in ("nearest", "linear") or a.get("antialias", 0) or a.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise OperatorError(f"mode {mode} with antialias or an aspect policy; covered are plain nearest and linear")
    dims = _axes(a.get("axes", range(x.ndim)), x.ndim)
    if sizes is not None and sizes.numel():
        news = _ints(sizes)
        factors = [new / x.shape[axis] for axis, new in zip(dims, news, strict=True)]
    else:
        factors = [float(v) for v in scales.tolist()]
        news = [int(math.floor(x.shape[axis] * factor)) for axis, factor in zip(dims, factors, strict=True)]
    for axis, new, factor in zip(dims, news, factors, strict=True):
        size = x.shape[axis]
        if new == size and factor == 1:
            continue
        at = _source_positions(a.get("coordinate_transformation_mode", "half_pixel"), size, new, factor)
        if mode == "nearest":
            index = _ROUND[a.get("nearest_mode", "round_prefer_floor")](at).clamp(0, size - 1).long()
            x = x.index_select(axis, index.to(x.device))
        else:
            at = at.clamp(0, size - 1)
            low = at.floor().long()
            weight = (at - low).to(x.dtype).reshape([-1 if d == axis else 1 for d in range(x.ndim)]).to(x.device)
            high = (low + 1).clamp(max=size - 1)
            x = torch.lerp(x.index_select(axis, low.to(x.device)), x.index_select(axis, high.to(x.device)), weight)
    return x


@_operator("GridSample")
def _grid_sample(a, opset, x, grid):
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(a.get("mode", "bilinear"), a.get("mode", "bilinear"))
    return F.grid_sample(x, grid, mode, a.get("padding_mode", "zeros"), bool(a.get("align_corners", 0)))


# shapes

@_operator("Concat")
def _concat(a, opset, *xs):
    return torch.cat(xs, a["axis"])


@_operator("Split")
def _split(a, opset, x, split=None):
    axis = a.get("axis", 0)
    if split is not None:
        return torch.split(x, _ints(split), axis)
    parts = a.get("num_outputs", a["n_outputs"])
    return torch.split(x, -(-x.shape[axis] // parts), axis)


@_operator("Slice")
def _slice(a, opset, x, starts, ends, axes=None, steps=None):
    starts, ends = _ints(starts), _ints(ends)
    dims = _axes(_ints(axes), x.ndim) if axes is not None else range(len(starts))
    for axis, start, end, step in zip(dims, starts, ends, _ints(steps) if steps is not None else [1] * len(starts), strict=True):
        size = x.shape[axis]
        if step > 0:
            x = x[(slice(None),) * axis + (slice(start, end, step),)]
        else:   # torch has no negative steps; an end before the first element means "to the beginning"
            picked = range(size)[slice(start, None if end < -size else end, step)]
            x = x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64, device=x.device))
    return x


@_operator("Reshape")
def _reshape(a, opset, x, shape):
    new = [x.shape[i] if v == 0 and not a.get("allowzero", 0) else v for i, v in enumerate(_ints(shape))]
    return x.reshape(new)


@_operator("Flatten")
def _flatten(a, opset, x):
    axis = _axes([a.get("axis", 1)], x.ndim)[0]
    return x.reshape(math.prod(x.shape[:axis]), -1)


@_operator("Transpose")
def _transpose(a, opset, x):
    return x.permute(a.get("perm", list(range(x.ndim))[::-1]))


@_operator("Unsqueeze")
def _unsqueeze(a, opset, x, axes):
    for axis in sorted(_axes(_ints(axes), x.ndim + axes.numel())):
        x = x.unsqueeze(axis)
    return x


@_operator("Squeeze")
def _squeeze(a, opset, x, axes=None):
    return x.squeeze() if axes is None else x.squeeze(tuple(_axes(_ints(axes), x.ndim)))


@_operator("Shape")
def _shape(a, opset, x):
    return torch.tensor(list(x.shape)[a.get("start", 0):a.get("end", None)], dtype=torch.int64)


@_operator("Gather")
def _gather(a, opset, x, index):
    axis = _axes([a.get("axis", 0)], x.ndim)[0]
    flat = torch.where(index < 0, index + x.shape[axis], index).reshape(-1).to(x.device)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1:]])


@_operator("Range")
def _range(a, opset, start, limit, delta):
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@_operator("ConstantOfShape")
def _constant_of_shape(a, opset, shape):
    value = torch.from_numpy(np.array(a["value"])) if "value" in a else torch.zeros(1)
    if value.is_floating_point():
        value = value.to(a["device"], a["float"])
    return value.reshape(()).expand(_ints(shape))
