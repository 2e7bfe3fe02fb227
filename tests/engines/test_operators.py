"""Every operator of the torch table against onnx's own evaluator and, where it can, OpenVINO in f32."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dinar_live.engines import create_engine
from dinar_live.engines.torch.ops import OPERATORS

N, C, H, W = 2, 4, 6, 8
X = object()  # stands for the tested operator's input
ENGINES = ("torch", "openvino")
RNG = np.random.default_rng(0)


def f32(*shape, low=-1.0, high=1.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


class Case:
    """One operator on `x` [N,C,H,W] (symbolic N, H, W), or on `inputs`, in which X stands for x; steps before
    and after bring other types.

    judges: whose results count; onnx's evaluator knows not everything, and OpenVINO leaves out or defines
        otherwise what no renderer uses.
    """

    def __init__(
        self,
        op,
        *constants,
        inputs=None,
        before=(),
        after=(),
        opset=17,
        low=-2.0,
        high=2.0,
        n_out=1,
        label="",
        judges=("reference", "torch", "openvino"),
        **attributes,
    ):
        self.op, self.inputs, self.attributes, self.opset = op, inputs or (X, *constants), attributes, opset
        self.before, self.after, self.low, self.high, self.n_out = before, after, low, high, n_out
        self.label, self.judges = label, judges

    def model(self) -> bytes:
        nodes, initializers = [], []

        def constant(value):
            if value is None:
                return ""
            initializers.append(numpy_helper.from_array(np.asarray(value), f"c{len(initializers)}"))
            return initializers[-1].name

        def chain(name, steps, prefix):
            for i, (op, arguments, attributes) in enumerate(steps):
                nodes.append(
                    helper.make_node(op, [name, *map(constant, arguments)], [f"{prefix}{i}"], **attributes)
                )
                name = f"{prefix}{i}"
            return name

        x = chain("x", self.before, "before")
        results = [f"r{i}" for i in range(self.n_out)]
        nodes.append(
            helper.make_node(
                self.op,
                [x if value is X else constant(value) for value in self.inputs],
                results,
                name="tested",
                **self.attributes,
            )
        )
        outputs = []
        for i, result in enumerate(results):
            nodes.append(helper.make_node("Identity", [chain(result, self.after, f"after{i}_")], [f"y{i}"]))
            outputs.append(f"y{i}")
        graph = helper.make_graph(
            nodes,
            "case",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", C, "H", "W"])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, [None] * 4) for y in outputs],
            initializers,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9
        ).SerializeToString()


def cast(to=TensorProto.FLOAT):
    return ("Cast", (), {"to": to})


TO_4D = ("Reshape", (ints(1, 1, 1, -1),), {})
FLOAT_4D = (cast(), TO_4D)
COUNT = (("Shape", (), {}),)  # int64 [4]: N, C, H, W
POSITIVE = ("Less", (np.float32(0.3),), {})

GRID = f32(N, 5, 3, 2, low=-1.4, high=1.4)  # leaves the picture

CASES = [
    *(
        Case(op)
        for op in "Identity Relu Sigmoid Tanh Exp Erf Abs Neg Floor Ceil Sin Cos Softplus HardSwish GlobalAveragePool".split()
    ),
    *(Case(op, low=0.2) for op in "Log Sqrt Reciprocal".split()),
    Case("Round"),
    Case("LeakyRelu"),
    Case("LeakyRelu", alpha=0.2),
    Case("Elu", alpha=0.7),
    Case("HardSigmoid"),
    Case("HardSigmoid", alpha=0.3, beta=0.4),
    Case("Gelu", opset=20),
    Case("Gelu", opset=20, approximate="tanh"),
    Case("PRelu", f32(C, 1, 1)),
    *(Case(op, f32(C, 1, 1)) for op in "Add Sub Mul".split()),
    Case("Div", f32(C, 1, 1, low=0.5, high=2)),
    Case("Add", f32(1, 1, 1, 3), before=(("Slice", (ints(0), ints(3), ints(3)), {}),), label="narrow"),
    Case("Pow", np.float32(2)),
    Case("Pow", np.float32(0.7), low=0.1),
    Case("Max", f32(C, 1, 1), f32(1)),
    Case("Min", f32(C, 1, 1), f32(1)),
    Case("Clip", np.float32(-0.5), np.float32(0.8)),
    Case("Clip", np.float32(0)),
    Case("Clip", None, np.float32(0.8)),
    Case("Clip"),
    Case("Softmax", axis=1),
    Case("Softmax"),
    Case("Cast", to=TensorProto.INT64, after=(cast(),)),
    Case("Cast", to=TensorProto.INT32, after=(cast(),)),
    *(Case(op, np.float32(0.1), after=(cast(),)) for op in "Less LessOrEqual Greater GreaterOrEqual".split()),
    Case(
        "Equal",
        np.float32(2),
        before=(("Clip", (np.float32(0), np.float32(0)), {}), ("Add", (np.float32(2),), {})),
        after=(cast(),),
    ),
    Case("Not", before=(POSITIVE,), after=(cast(),)),
    Case("And", np.array([True, False] * 4), before=(POSITIVE,), after=(cast(),)),
    Case("Or", np.array([True, False] * 4), before=(POSITIVE,), after=(cast(),)),
    Case("Where", f32(C, 1, 1), f32(1), before=(POSITIVE,)),
    # convolutions
    Case("Conv", f32(5, C, 3, 3), f32(5), pads=[1, 1, 1, 1]),
    Case("Conv", f32(5, C, 3, 3)),
    Case("Conv", f32(6, 2, 3, 3), group=2, pads=[1] * 4),
    Case("Conv", f32(C, 1, 3, 3), group=C, pads=[1] * 4, label="depthwise"),
    Case("Conv", f32(5, C, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
    Case(
        "Conv", f32(5, C, 3, 3), f32(5), strides=[2, 1], pads=[0, 1, 2, 1], dilations=[1, 2], label="uneven"
    ),
    Case("Conv", f32(5, C, 1, 1)),
    Case("ConvTranspose", f32(C, 5, 2, 2), f32(5), strides=[2, 2]),
    Case("ConvTranspose", f32(C, 5, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
    Case(
        "ConvTranspose",
        f32(C, 3, 3, 3),
        group=2,
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
        judges=ENGINES,
    ),
    Case("ConvTranspose", f32(C, 5, 2, 2), f32(5), strides=[3, 3], output_padding=[2, 1], label="holes"),
    Case("ConvTranspose", f32(C, 5, 3, 3), f32(5), dilations=[2, 1], pads=[0, 1, 1, 0]),
    Case("MatMul", f32(W, 3)),
    Case(
        "Gemm",
        f32(7, H * W),
        f32(7),
        before=(("Reshape", (ints(-1, H * W),), {}),),
        after=(TO_4D,),
        transB=1,
        alpha=0.5,
        beta=2.0,
    ),
    Case("Gemm", f32(N * C, 3), before=(("Reshape", (ints(N * C, -1),), {}),), after=(TO_4D,), transA=1),
    # pooling and reductions
    Case("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    Case("MaxPool", kernel_shape=[3, 3], pads=[1, 0, 1, 2], strides=[1, 2]),
    Case("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    Case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 0]),
    Case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    Case("ReduceMean", axes=[1], opset=17),
    Case("ReduceMean", ints(2, 3), opset=18),
    Case("ReduceSum", ints(1)),
    Case("ReduceMax", axes=[2, 3]),
    Case("ReduceMin", ints(-1), opset=18),
    Case("ReduceSum", ints(), noop_with_empty_axes=1),
    Case("ReduceMean", after=(TO_4D,)),
    # normalization
    Case("BatchNormalization", f32(C), f32(C), f32(C), f32(C, low=0.5), epsilon=1e-3),
    Case("InstanceNormalization", f32(C), f32(C)),
    Case("GroupNormalization", f32(C), f32(C), opset=21, num_groups=2),
    # pixels
    *(Case("DepthToSpace", blocksize=2, mode=mode) for mode in ("DCR", "CRD")),
    Case("SpaceToDepth", blocksize=2),
    *(
        Case(
            "Resize",
            None,
            np.array([1, 1, *scale], np.float32),
            mode=mode,
            coordinate_transformation_mode=how,
        )
        for scale in ((2, 2), (1.5, 0.5), (0.5, 3))
        for mode in ("nearest", "linear")
        for how in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    ),
    *(
        Case("Resize", None, np.array([1, 1, 2, 1.5], np.float32), mode="nearest", nearest_mode=how)
        for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    Case("Resize", None, None, ints(N, C, 9, 5), mode="linear"),
    Case("Resize", None, None, ints(12, 4), axes=[2, 3], opset=18, mode="nearest"),
    Case("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0)),
    Case("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)),
    Case("Pad", ints(0, 0, 1, 2, 0, 0, 3, 1), mode="edge"),
    Case("Pad", ints(0, 1, 1, 2, 0, 0, 3, 5), mode="reflect"),
    Case("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    Case("Pad", ints(1, 2), np.float32(1), ints(3), opset=18),
    *(
        Case(
            "GridSample",
            GRID,
            mode=mode,
            opset=opset,
            padding_mode=padding,
            align_corners=corners,
            judges=judges,
        )
        for padding in ("zeros", "border", "reflection")
        for corners in (0, 1)
        for mode, opset, judges in (
            ("linear", 20, ("reference", "torch")),
            ("bilinear", 17, ENGINES),
            ("nearest", 17, ("reference", *ENGINES)),
        )
    ),
    # shapes
    Case("Concat", inputs=(X, f32(N, 2, H, W), X), axis=1),
    Case("Split", axis=1, n_out=2),
    Case("Split", ints(1, 3), axis=1, n_out=2),
    Case("Split", opset=18, axis=3, num_outputs=3, n_out=3, judges=("reference", "torch")),
    Case("Split", opset=18, axis=3, num_outputs=4, n_out=4),
    Case("Slice", ints(1, 0), ints(5, 100), ints(2, 3)),
    Case("Slice", ints(-1), ints(-100), ints(2), ints(-1)),
    Case("Slice", ints(6, 0), ints(1, -1), ints(3, 1), ints(-2, 1)),
    Case("Slice", ints(0, 1), ints(2, 3)),
    Case("Slice", ints(0), ints(8), ints(-1), ints(3)),
    Case("Reshape", ints(0, 2, -1, 4)),
    Case("Flatten", after=(TO_4D,)),
    Case("Flatten", axis=-2, after=(TO_4D,)),
    Case("Transpose", perm=[0, 2, 3, 1]),
    Case("Transpose"),
    Case("Unsqueeze", ints(0, -1), after=(TO_4D,)),
    Case("Squeeze", ints(1), before=(("Slice", (ints(0), ints(1), ints(1)), {}),), after=(TO_4D,)),
    Case("Squeeze", before=(("Slice", (ints(0), ints(1), ints(1)), {}),), after=(TO_4D,)),
    Case("Shape", after=FLOAT_4D),
    Case("Shape", start=2, after=FLOAT_4D),
    Case("Shape", start=-3, end=-1, after=FLOAT_4D),
    Case("Gather", ints(2, -1, 0), axis=1),
    Case("Gather", np.int64(3), before=COUNT, after=FLOAT_4D),
    Case("Gather", ints([1, -1], [0, 2]), axis=-1, after=(TO_4D,)),
    Case("Expand", ints(1, 3, 1, 1, 1, 1), after=(TO_4D,)),
    Case("Tile", ints(1, 2, 1, 3)),
    Case("ConstantOfShape", before=COUNT, value=numpy_helper.from_array(np.array([0.25], np.float32))),
    Case("ConstantOfShape", before=COUNT),
    Case(
        "ConstantOfShape",
        before=COUNT,
        value=numpy_helper.from_array(np.array([7], np.int64)),
        after=(cast(),),
    ),
    Case("Range", np.int64(20), np.int64(3), before=(*COUNT, ("Gather", (np.int64(3),), {})), after=FLOAT_4D),
    Case(
        "Div",
        ints(3, -3, 4, -5),
        before=COUNT,
        after=FLOAT_4D,
        label="integers",
        judges=("reference", "torch"),
    ),
    Case("Div", ints(3, 3, 4, 5), before=COUNT, after=FLOAT_4D, label="positive"),
]


def name_of(case):
    parts = [
        case.op,
        case.label,
        f"opset{case.opset}" if case.opset != 17 else "",
        *(str(v) for k, v in case.attributes.items() if isinstance(v, (str, int, float))),
    ]
    return "-".join(p for p in parts if p)


def run(model, engine, x, **options):
    session = create_engine(model, engine, "f32", **options).compile((N, H, W))
    session.inputs["x"][...] = x
    for y in session.outputs.values():
        y.fill(np.nan)
    session.enqueue()
    session.synchronize()
    return [y.copy() for y in session.outputs.values()]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_operator_against_reference(case):
    model = case.model()
    x = f32(N, C, H, W, low=case.low, high=case.high)
    results = {name: run(model, name, x) for name in ENGINES if name in case.judges}
    if "reference" in case.judges:
        results["reference"] = ReferenceEvaluator(onnx.load_model_from_string(model)).run(None, {"x": x})
    first, *others = results.values()
    assert others
    for other in others:
        for got, want in zip(first, other, strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_every_operator_has_a_case():
    assert set(OPERATORS) <= {case.op for case in CASES} | {
        step[0] for case in CASES for step in (*case.before, *case.after)
    }


@pytest.mark.parametrize("sides", [(1, 1, 1, 1), (3, 2, 0, 4), (0, 0, 2, 0)])
def test_mirrored_edges_keep_the_order_channels_last(sides):
    """The same numbers as torch's own padding, without a turn into planes and back."""
    import torch

    from dinar_live.engines.torch import pixel_ops  # noqa: F401  (joins the table)

    top, bottom, left, right = sides
    x = torch.randn(2, 5, 6, 7).contiguous(memory_format=torch.channels_last)
    pads = torch.tensor([0, 0, top, left, 0, 0, bottom, right])
    got = OPERATORS["Pad"]({"mode": "reflect", "tables": {}, "device": x.device}, 18, x, pads)
    want = torch.nn.functional.pad(x, (left, right, top, bottom), mode="reflect")
    assert torch.equal(got, want) and got.is_contiguous(memory_format=torch.channels_last)
