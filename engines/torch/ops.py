"""ONNX operators in torch: `OPERATORS[op_type](attributes, opset, *inputs) -> tensor or tuple`.

Semantics: onnx/docs/Operators.md, opset 13 and newer, forward only.
Float tensors live on the engine's device; integers (shapes, indices) and the inputs of HOST_INPUTS stay on
the CPU, and nothing here makes the CPU wait for the device. What is made from shapes alone is kept per node
(`_table`), so that a second run copies nothing to the device. An absent optional input is None. What is not
covered raises OperatorError.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

OPERATORS: dict[str, Callable] = {}
HOST_INPUTS = {
    "Resize": (1, 2),
    "Pad": (2,),
    "Range": (0, 1, 2),
}  # positions of float inputs that are read by the host
_MAX_TABLES = 64  # per node: sizes a server may meet


class OperatorError(Exception):
    """A use of an operator that this table does not cover."""


def operator(*names: str):
    def add(function):
        for name in names:
            OPERATORS[name] = function
        return function

    return add


def _simple(name: str, function: Callable) -> None:
    OPERATORS[name] = lambda a, opset, *x: function(*x)


def ints_of(x: Tensor) -> list[int]:
    return [int(v) for v in x.reshape(-1).tolist()]


def axes_of(axes, rank: int) -> list[int]:
    return [axis + rank if axis < 0 else axis for axis in axes]


def table(a, key: tuple, make: Callable[[], Tensor]) -> Tensor:
    """make() on the device, made once per node and key."""
    tables = a["tables"]
    if key not in tables:
        if len(tables) >= _MAX_TABLES:
            tables.clear()
        tables[key] = make().to(a["device"])
    return tables[key]


# element by element

for _name, _function in {
    "Identity": lambda x: x,
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Erf": torch.erf,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Softplus": F.softplus,
    "HardSwish": F.hardswish,
    "Not": torch.logical_not,
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Pow": lambda x, y: torch.pow(x, y).to(x.dtype),
    "MatMul": torch.matmul,
    "Equal": torch.eq,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Where": torch.where,
    "GlobalAveragePool": lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, ints_of(shape))),
    "Tile": lambda x, repeats: x.repeat(ints_of(repeats)),
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
}.items():
    _simple(_name, _function)


@operator("Div")
def _div(a, opset, x, y):
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("Max", "Min")
def _extreme(a, opset, *xs):
    function = torch.maximum if a["op_type"] == "Max" else torch.minimum
    result = xs[0]
    for x in xs[1:]:
        result = function(result, x)
    return result


@operator("LeakyRelu")
def _leaky_relu(a, opset, x):
    return F.leaky_relu(x, a.get("alpha", 0.01))


@operator("Elu")
def _elu(a, opset, x):
    return F.elu(x, a.get("alpha", 1.0))


@operator("HardSigmoid")
def _hard_sigmoid(a, opset, x):
    return (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1)


@operator("Gelu")
def _gelu(a, opset, x):
    return F.gelu(x, approximate=a.get("approximate", "none"))


@operator("Clip")
def _clip(a, opset, x, low=None, high=None):
    return x if low is None and high is None else torch.clamp(x, low, high)


@operator("Softmax")
def _softmax(a, opset, x):
    return torch.softmax(x, a.get("axis", -1))


@operator("Cast")
def _cast(a, opset, x):
    kinds = {
        1: torch.float32,
        6: torch.int32,
        7: torch.int64,
        9: torch.bool,
        10: torch.float16,
        16: torch.bfloat16,
    }
    if a["to"] not in kinds:
        raise OperatorError(
            f"a cast to ONNX type {a['to']}; covered are float32, float16, bfloat16, int32, int64, bool"
        )
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


@operator("Conv")
def _conv(a, opset, x, weight, bias=None):
    _, strides, pads, dilations = _spatial(a, x, weight.shape[2:])
    if pads[:2] == pads[2:]:
        return F.conv2d(x, weight, bias, strides, pads[:2], dilations, a.get("group", 1))
    return F.conv2d(_pad_sides(x, pads), weight, bias, strides, 0, dilations, a.get("group", 1))


@operator("ConvTranspose")
def _conv_transpose(a, opset, x, weight, bias=None):
    _, strides, pads, dilations = _spatial(a, x, weight.shape[2:])
    if "output_shape" in a:
        raise OperatorError("output_shape; write pads and output_padding out")
    bottom, right = a.get("output_padding", [0, 0])
    y = F.conv_transpose2d(x, weight, bias, strides, 0, 0, a.get("group", 1), dilations)
    if bottom or right:  # outside the window of every input: only the bias reaches it
        y = F.pad(y, (0, right, 0, bottom))
        if bias is not None:
            h, w = y.shape[2] - bottom, y.shape[3] - right
            y[:, :, h:] = bias.view(1, -1, 1, 1)
            y[:, :, :, w:] = bias.view(1, -1, 1, 1)
    return y[:, :, pads[0] : y.shape[2] - pads[2], pads[1] : y.shape[3] - pads[3]]


@operator("Gemm")
def _gemm(a, opset, x, y, z=None):
    result = a.get("alpha", 1.0) * torch.matmul(
        x.T if a.get("transA", 0) else x, y.T if a.get("transB", 0) else y
    )
    return result if z is None else result + a.get("beta", 1.0) * z


# pooling


def _no_ceil(a) -> None:
    if a.get("ceil_mode", 0):
        raise OperatorError("ceil_mode 1; covered is 0")


@operator("MaxPool")
def _max_pool(a, opset, x):
    kernel, strides, pads, dilations = _spatial(a, x, a["kernel_shape"])
    _no_ceil(a)
    return F.max_pool2d(_pad_sides(x, pads, -math.inf), kernel, strides, 0, dilations)


@operator("AveragePool")
def _average_pool(a, opset, x):
    kernel, strides, pads, dilations = _spatial(a, x, a["kernel_shape"])
    _no_ceil(a)
    if dilations != [1, 1]:
        raise OperatorError(f"dilations {dilations}; covered is [1, 1]")
    total = F.avg_pool2d(_pad_sides(x, pads), kernel, strides, divisor_override=1)
    if a.get("count_include_pad", 0):
        return total / (kernel[0] * kernel[1])
    return total / F.avg_pool2d(
        _pad_sides(torch.ones_like(x[:1, :1]), pads), kernel, strides, divisor_override=1
    )


def _reduce(function):
    def reduce(a, opset, x, axes=None):
        dims = ints_of(axes) if axes is not None else list(a.get("axes", []))
        if not dims and a.get("noop_with_empty_axes", 0):
            return x
        return function(x, dims or list(range(x.ndim)), bool(a.get("keepdims", 1)))

    return reduce


OPERATORS["ReduceMean"] = _reduce(torch.mean)
OPERATORS["ReduceSum"] = _reduce(torch.sum)
OPERATORS["ReduceMax"] = _reduce(torch.amax)
OPERATORS["ReduceMin"] = _reduce(torch.amin)


# normalization


@operator("BatchNormalization")
def _batch_normalization(a, opset, x, scale, bias, mean, variance):
    if a.get("training_mode", 0):
        raise OperatorError("training_mode 1; export the model in evaluation mode")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_normalization(a, opset, x, scale, bias):
    return F.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


@operator("GroupNormalization")
def _group_normalization(a, opset, x, scale, bias):
    if opset < 21:
        raise OperatorError("the form before opset 21, which ONNX withdrew; export with opset 21 or newer")
    return F.group_norm(x, a["num_groups"], scale, bias, a.get("epsilon", 1e-5))


# shapes


@operator("Concat")
def _concat(a, opset, *xs):
    return torch.cat(xs, a["axis"])


@operator("Split")
def _split(a, opset, x, split=None):
    axis = a.get("axis", 0)
    if split is not None:
        return torch.split(x, ints_of(split), axis)
    parts = a.get("num_outputs", a["n_outputs"])
    return torch.split(x, -(-x.shape[axis] // parts), axis)


@operator("Slice")
def _slice(a, opset, x, starts, ends, axes=None, steps=None):
    starts, ends = ints_of(starts), ints_of(ends)
    dims = axes_of(ints_of(axes), x.ndim) if axes is not None else range(len(starts))
    for axis, start, end, step in zip(
        dims, starts, ends, ints_of(steps) if steps is not None else [1] * len(starts), strict=True
    ):
        size = x.shape[axis]
        if step > 0:
            x = x[(slice(None),) * axis + (slice(start, end, step),)]
        else:  # torch has no negative steps; an end before the first element means "to the beginning"
            picked = range(size)[slice(start, None if end < -size else end, step)]
            x = x.index_select(
                axis,
                table(a, (axis, picked), lambda: torch.tensor(list(picked), dtype=torch.int64)),  # noqa: B023
            )
    return x


@operator("Reshape")
def _reshape(a, opset, x, shape):
    new = [x.shape[i] if v == 0 and not a.get("allowzero", 0) else v for i, v in enumerate(ints_of(shape))]
    return x.reshape(new)


@operator("Flatten")
def _flatten(a, opset, x):
    axis = axes_of([a.get("axis", 1)], x.ndim)[0]
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Transpose")
def _transpose(a, opset, x):
    return x.permute(a.get("perm", list(range(x.ndim))[::-1]))


@operator("Unsqueeze")
def _unsqueeze(a, opset, x, axes):
    for axis in sorted(axes_of(ints_of(axes), x.ndim + axes.numel())):
        x = x.unsqueeze(axis)
    return x


@operator("Squeeze")
def _squeeze(a, opset, x, axes=None):
    return x.squeeze() if axes is None else x.squeeze(tuple(axes_of(ints_of(axes), x.ndim)))


@operator("Shape")
def _shape(a, opset, x):
    return torch.tensor(list(x.shape)[a.get("start", 0) : a.get("end", None)], dtype=torch.int64)


@operator("Gather")
def _gather(a, opset, x, index):
    axis = axes_of([a.get("axis", 0)], x.ndim)[0]
    flat = torch.where(index < 0, index + x.shape[axis], index).reshape(-1)
    if x.device != flat.device:  # a picture on the GPU by indices of the graph: they depend on shapes alone
        flat = table(a, tuple(flat.tolist()), lambda: flat)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


@operator("Range")
def _range(a, opset, start, limit, delta):
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("ConstantOfShape")
def _constant_of_shape(a, opset, shape):
    value = torch.from_numpy(np.array(a["value"])) if "value" in a else torch.zeros(1)
    if value.is_floating_point():
        value = table(a, (), lambda: value)
    return value.reshape(()).expand(ints_of(shape))
