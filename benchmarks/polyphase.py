"""Bilinear enlargement by two and the 3x3 convolution behind it as one convolution on the small picture, which gives
the four pixels of each 2x2 block as channels: `polyphase(proto)`. Equal but for the rounding of sums, borders included.

An experiment: the large picture of the full renderer's 1024, 512 and 256 channels is never written (355 MB less to
move in fp16 at 512x512, by arithmetic), for the same number of products. On a CPU it is 7 to 10 % slower (onnxruntime,
OpenVINO, f32, one thread, 128x128: the blocks have to be taken apart, and the borders are small steps of their own), so
nothing uses it; gpu_check.py times it beside the network as it is (--renderers full full-polyphase).

A row of the large picture is 1/4 and 3/4 of two rows of the small one, so each of the two rows of a block sees three
small rows: K = A W with, for the upper row and the taps above, at and below,

    A = 3/4 1/4  .        and for the lower   1/4 3/4  .
        1/4 3/4  .                             .  3/4 1/4
         .  3/4 1/4                            .  1/4 3/4

(columns the same). That is the same arithmetic without the large picture of all input channels, which is written and
read otherwise. At the border the enlargement repeats the outermost pixels, and the convolution sees zeros: what it
would see of the repeated ones is taken off again, in four strips.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dinar_live.engines.onnx.graph import constants_of, replace_nodes

_TAPS = np.array([[[3, 1, 0], [1, 3, 0], [0, 3, 1]], [[1, 3, 0], [0, 3, 1], [0, 1, 3]]]) / 4
"""[row of the block, tap of the kernel, small row above, at, below]"""


def polyphase(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 model with every such pair rewritten; others stay."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    weights = constants_of(out)
    nodes = list(out.graph.node)
    users: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    outputs = {value.name for value in out.graph.output}
    makers = {name: node for node in nodes for name in node.output}
    rewritten: list[onnx.NodeProto] = []
    gone: set[str] = set()
    for node in nodes:
        before = makers.get(node.input[0]) if node.op_type == "Conv" else None
        if (
            before is None
            or not _enlarges(before, weights)
            or not _plain(node, weights)
            or users[node.input[0]] != 1
            or node.input[0] in outputs
        ):
            rewritten.append(node)
            continue
        gone.add(node.input[0])
        rewritten += _rewritten(before, node, weights, out)
    replace_nodes(out, [node for node in rewritten if not gone.issuperset(node.output)])
    used = {name for node in out.graph.node for name in node.input}
    kept = [tensor for tensor in out.graph.initializer if tensor.name in used]
    copies = [onnx.TensorProto() for _ in kept]
    for copy, tensor in zip(copies, kept, strict=True):
        copy.CopyFrom(tensor)
    del out.graph.initializer[:]
    out.graph.initializer.extend(copies)
    del out.graph.value_info[:]
    return out


def _attributes(node: onnx.NodeProto) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _enlarges(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> bool:
    a = _attributes(node)
    scales = weights.get(node.input[2]) if node.op_type == "Resize" and len(node.input) == 3 else None
    half = a.get("coordinate_transformation_mode", b"half_pixel") == b"half_pixel"
    known = a.keys() <= {"coordinate_transformation_mode", "mode", "nearest_mode", "cubic_coeff_a"}
    return (
        scales is not None
        and scales.tolist() == [1, 1, 2, 2]
        and half
        and known
        and a.get("mode") == b"linear"
    )


def _plain(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> bool:
    a, kernel = _attributes(node), weights.get(node.input[1])
    return (
        kernel is not None
        and kernel.shape[2:] == (3, 3)
        and a.get("group", 1) == 1
        and list(a.get("pads", ())) == [1, 1, 1, 1]
        and list(a.get("strides", [1, 1])) == [1, 1]
        and list(a.get("dilations", [1, 1])) == [1, 1]
        and (len(node.input) < 3 or node.input[2] in weights)
    )


def _rewritten(
    resize: onnx.NodeProto, conv: onnx.NodeProto, weights: dict[str, np.ndarray], proto: onnx.ModelProto
) -> list[onnx.NodeProto]:
    x, name, kernel = resize.input[0], conv.output[0], weights[conv.input[1]].astype(np.float64)
    bias = weights[conv.input[2]] if len(conv.input) > 2 else None
    channels = len(kernel)
    # [out, in, block row, block column, small row, small column]
    phases = np.einsum("oiab,pay,qbx->oipqyx", kernel, _TAPS, _TAPS)
    phases = phases.transpose(0, 2, 3, 1, 4, 5).reshape(4 * channels, kernel.shape[1], 3, 3)

    def put(what: str, array) -> str:
        made = f"{name}.{what}"
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), made))
        return made

    def ints(what: str, *values: int) -> str:
        return put(what, np.array(values, np.int64))

    nodes: list[onnx.NodeProto] = []

    def node(kind: str, inputs: list[str], what: str, **attributes) -> str:
        made = f"{name}.{what}"
        nodes.append(helper.make_node(kind, inputs, [made], name=made, **attributes))
        return made

    around = node("Pad", [x, ints("one", 0, 0, 1, 1, 0, 0, 1, 1)], "around", mode="edge")
    small = [around, put("phases", phases.astype(np.float32))]
    small += [] if bias is None else [put("biases", np.repeat(bias, 4))]
    blocks = node("Conv", small, "blocks", kernel_shape=[3, 3])
    whole = node("DepthToSpace", [blocks], "whole", blocksize=2, mode="CRD")
    # The ring that the convolution must not see: rows -1 and 2H with their corners, columns -1 and 2W without.
    ends = {"first": (0, 1), "last": (-1, np.iinfo(np.int64).max)}
    for axis, side in ((2, "first"), (2, "last"), (3, "first"), (3, "last")):
        label, along = f"{'row' if axis == 2 else 'column'} {side}", 5 - axis
        start, stop = ends[side]
        bounds = [ints(f"{label} start", start), ints(f"{label} stop", stop), ints(f"{label} axis", axis)]
        strip = node("Slice", [x, *bounds], label)
        scales = np.ones(4, np.float32)
        scales[along] = 2
        strip = node("Resize", [strip, "", put(f"{label} scales", scales)], f"{label} large", mode="linear")
        pads = [0] * 8
        pads[along] = pads[along + 4] = 1
        mode = "edge" if axis == 2 else "constant"
        strip = node("Pad", [strip, ints(f"{label} pads", *pads)], f"{label} around", mode=mode)
        tap = 0 if side == "first" else 2
        part = kernel[:, :, tap : tap + 1] if axis == 2 else kernel[:, :, :, tap : tap + 1]
        seen = node("Conv", [strip, put(f"{label} kernel", part.astype(np.float32))], f"{label} seen")
        whole = _taken_off(node, ints, put, (whole, seen), (axis, label, bounds))
    nodes[-1].output[0] = name
    return nodes


def _taken_off(node, ints, put, tensors: tuple[str, str], place: tuple[int, str, list[str]]) -> str:
    """whole minus a strip, where the strip lies."""
    whole, strip = tensors
    axis, label, (start, stop, _) = place
    which = ints(f"{label} which", axis)
    edge = node("Slice", [whole, start, stop, which], f"{label} of it")
    less = node("Sub", [edge, strip], f"{label} less")
    zero, one, last = ints(f"{label} 0", 0), ints(f"{label} 1", 1), ints(f"{label} -1", -1)
    first = "first" in label
    limits = [one, ints(f"{label} end", np.iinfo(np.int64).max)] if first else [zero, last]
    rest = node("Slice", [whole, *limits, which], f"{label} rest")
    return node("Concat", [less, rest] if first else [rest, less], f"{label} done", axis=axis)
