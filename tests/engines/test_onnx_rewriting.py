"""Folding and writing in float16: the same pictures, fewer nodes, the types that were meant."""

import collections

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dinar_live.engines import EngineError, create_engine
from dinar_live.engines.onnx.file import load_onnx
from dinar_live.engines.onnx.fold import fold
from dinar_live.engines.onnx.graph import at_least_opset, element_types, load_proto, opset_of, static
from dinar_live.engines.onnx.lower import lower

C = 6
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def rng(seed=0):
    return np.random.default_rng(seed)


def f32(*shape, low=-1.0, high=1.0, seed=0):
    return rng(seed).uniform(low, high, shape).astype(np.float32)


def number(value):
    return np.array(value, np.float32)


def model(*steps, opset=18, outputs=("y",), channels=C):
    """features [N,C,H,W] through steps (op, inputs, attributes[, results]); arrays among the inputs are
    weights, X is the last result."""
    nodes, weights, last = [], [], "features"
    for i, (op, inputs, attributes, *results) in enumerate(steps):
        names = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                weights.append(numpy_helper.from_array(value, f"w{len(weights)}"))
                names.append(weights[-1].name)
            else:
                names.append(last if value is X else value)
        results = results[0] if results else ["y" if i == len(steps) - 1 else f"t{i}"]
        nodes.append(helper.make_node(op, names, results, name=f"n{i}", **attributes))
        last = results[0]
    graph = helper.make_graph(
        nodes, "case", [helper.make_tensor_value_info("features", FLOAT, ["N", channels, "H", "W"])],
        [helper.make_tensor_value_info(name, FLOAT, [None] * 4) for name in outputs], weights)  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return proto


X = object()


def evaluate(proto, x):
    return ReferenceEvaluator(proto).run(None, {"features": x})


def ops(proto):
    return collections.Counter(node.op_type for node in proto.graph.node)


def conv(n_out=8, n_in=C, k=3, seed=1, bias=True, **attributes):
    weights = [f32(n_out, n_in // attributes.get("group", 1), k, k, seed=seed)] + (
        [f32(n_out, seed=seed + 1)] if bias else []
    )
    return ("Conv", [X, *weights], {"kernel_shape": [k, k], "pads": [k // 2] * 4} | attributes)


def batch_norm(channels, seed=3):
    return (
        "BatchNormalization",
        [
            X,
            f32(channels, seed=seed),
            f32(channels, seed=seed + 1),
            f32(channels, seed=seed + 2),
            # fmt: skip
            f32(channels, low=0.5, high=2, seed=seed + 3),
        ],
        {"epsilon": 1e-3},
    )


ACT = ("LeakyRelu", [X], {"alpha": 0.2})
PADS = np.array([0, 0, 1, 2, 0, 0, 0, 1])
FOLDED = {
    "batch norm after conv": ((conv(), batch_norm(8), ACT), {"Conv": 1, "LeakyRelu": 1}),
    "batch norm after conv without bias": ((conv(bias=False), batch_norm(8)), {"Conv": 1}),
    "batch norm after grouped conv": ((conv(group=2), batch_norm(8)), {"Conv": 1}),
    "batch norm after transposed conv": (
        (("ConvTranspose", [X, f32(C, 4, 2, 2, seed=8)], {"strides": [2, 2], "group": 2}), batch_norm(8)), {"ConvTranspose": 1}),
    "batch norm alone": ((("Relu", [X], {}), batch_norm(C)), {"Relu": 1, "Mul": 1, "Add": 1}),
    "equalised weights": (
        (("Mul", [f32(8, C, 3, 3), number(0.1)], {}), ("Conv", ["features", X], {"pads": [1] * 4})), {"Conv": 1}),
    "gain behind activation": ((conv(), ACT, ("Mul", [X, number(2**0.5)], {})), {"Conv": 1, "LeakyRelu": 1}),
    "negative gain stays": ((conv(), ACT, ("Mul", [X, number(-2)], {})), {"Conv": 1, "LeakyRelu": 1, "Mul": 1}),
    "scale and shift after": ((conv(), ("Mul", [X, f32(8, 1, 1)], {}), ("Add", [f32(1, 8, 1, 1, seed=9), X], {}),
                               ("Sub", [number(1), X], {}), ("Div", [X, f32(8, 1, 1, low=1, high=2)], {})), {"Conv": 1}),
    "scale before": ((("Mul", [X, f32(C, 1, 1)], {}), conv()), {"Conv": 1}),
    "scale that makes channels stays": (
        (("Slice", [X, np.array([0]), np.array([1]), np.array([1])], {}), ("Mul", [X, f32(C, 1, 1)], {}), conv()),
        {"Slice": 1, "Mul": 1, "Conv": 1}),
    "scale before groups stays": ((("Mul", [X, f32(C, 1, 1)], {}), conv(group=2)), {"Mul": 1, "Conv": 1}),
    "shift before stays": ((("Add", [X, f32(C, 1, 1)], {}), conv()), {"Add": 1, "Conv": 1}),
    "scale along the width stays": ((conv(), ("Mul", [X, f32(12)], {})), {"Conv": 1, "Mul": 1}),
    "zero padding": ((("Pad", [X, PADS], {}), conv()), {"Conv": 1}),
    "reflected padding stays": ((("Pad", [X, PADS], {"mode": "reflect"}), conv()), {"Pad": 1, "Conv": 1}),
    "padding with ones stays": ((("Pad", [X, PADS, number(1)], {}), conv()), {"Pad": 1, "Conv": 1}),
    "identities": ((("Identity", [X], {}), conv(), ("Dropout", [X], {}), ACT, ("Identity", [X], {})), {"Conv": 1, "LeakyRelu": 1}),
    "nobody needs it": ((conv(), ("Relu", ["features"], {}, ["unused"]), ("Sigmoid", ["t0"], {})), {"Conv": 1, "Sigmoid": 1}),
    "used twice stays": ((conv(C), ("Mul", [X, f32(C, 1, 1)], {}), ("Add", ["t0", X], {})), {"Conv": 1, "Mul": 1, "Add": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED, ids=lambda name: name.replace(" ", "-"))
def test_fold_keeps_the_result_and_drops_the_nodes(case, run):
    steps, left = FOLDED[case]
    proto = model(*steps)
    before = proto.SerializeToString()
    folded = fold(proto)
    onnx.checker.check_model(folded, full_check=True)
    assert ops(folded) == left and proto.SerializeToString() == before
    results = []
    for each in (folded, proto):
        name = (
            "openvino" if "Dropout" in ops(each) else "torch"
        )  # openvino cannot do one channel times many, torch no Dropout
        session = create_engine(each.SerializeToString(), name, "f32").compile((2, 10, 12))
        run(session, f32(2, C, 10, 12, seed=20))
        results.append(session.outputs["y"])
    np.testing.assert_allclose(*results, rtol=1e-5, atol=2e-5)


def test_fold_keeps_what_is_an_output():
    proto = model(conv(), ("Mul", [X, f32(8, 1, 1)], {}, ["scaled"]), outputs=("t0", "scaled"))
    folded = fold(proto)
    x = f32(1, C, 6, 6, seed=2)
    assert ops(folded) == {"Conv": 1, "Mul": 1}
    for got, want in zip(evaluate(folded, x), evaluate(proto, x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_branches_and_functions_are_refused():
    same = helper.make_node("Identity", ["features"], ["out"])
    branch = helper.make_graph([same], "b", [], [helper.make_tensor_value_info("out", FLOAT, None)])
    proto = model(("Relu", [X], {}))
    proto.graph.node.insert(
        0, helper.make_node("If", ["c"], ["unused"], name="fork", then_branch=branch, else_branch=branch)
    )
    with pytest.raises(EngineError, match="node 'fork' \\(If\\) holds a graph of its own"):
        fold(proto)
    proto = model(("Relu", [X], {}))
    proto.functions.append(
        helper.make_function("d", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    )
    with pytest.raises(EngineError, match="functions of its own"):
        lower(proto, "f16")


# float16


def half(proto, io="float32", precision="f16", shape=(1, C, 8, 12)):
    out = static(lower(proto, precision, io), {"features": shape})
    onnx.checker.check_model(out, full_check=True)
    return out


def types_of(proto):
    """op -> set of the types in which its nodes compute (that of the first result)."""
    types, found = element_types(proto), collections.defaultdict(set)
    for node in proto.graph.node:
        found[node.op_type].add(types[node.output[0]])
    return dict(found)


NORM = ("InstanceNormalization", [X, f32(8, low=0.5, high=1), f32(8, seed=3)], {})


@pytest.mark.parametrize("io", ["float32", "float16"])
def test_lowered_graph_has_the_types_that_were_meant(io):
    proto = model(conv(), NORM, ACT, conv(4, 8), ("Sigmoid", [X], {}))
    low = half(proto, io)
    types = types_of(low)
    assert types["Conv"] == types["LeakyRelu"] == types["Sigmoid"] == {HALF} and types[
        "InstanceNormalization"
    ] == {FLOAT}
    assert {value.type.tensor_type.elem_type for value in (*low.graph.input, *low.graph.output)} == {
        HALF if io == "float16" else FLOAT
    }
    assert ops(low)["Cast"] == {"float32": 4, "float16": 2}[io]
    assert [d.dim_value for d in low.graph.output[0].type.tensor_type.shape.dim] == [1, 4, 8, 12]
    x = f32(1, C, 8, 12, seed=7)
    (got,), (want,) = evaluate(low, x.astype(io)), evaluate(proto, x)
    assert got.dtype == io and 1e-6 < np.abs(got - want).max() < 4e-3


def test_weights_are_rounded_to_the_nearest():
    proto = model(conv())
    (weight,) = [numpy_helper.to_array(t) for t in half(proto).graph.initializer if len(t.dims) == 4]
    np.testing.assert_array_equal(weight, f32(8, C, 3, 3, seed=1).astype(np.float16))


def test_epsilons_and_their_neighbours_stay_in_float32():
    """A normalization written out: mean of squares + 1e-8, root, division. In float16 the epsilon would be 0
    and the squares infinite."""
    steps = (("Mul", [X, X], {}), ("ReduceMean", [X, np.array([2, 3])], {}), ("Add", [X, number(1e-8)], {}), ("Sqrt", [X], {}),
             ("Div", ["features", X], {}))  # fmt: skip
    proto = model(*steps)
    low = half(proto)
    types = types_of(low)
    assert types["ReduceMean"] == types["Add"] == types["Sqrt"] == {FLOAT} and types["Div"] == {HALF}
    zeros = np.zeros((1, C, 8, 12), np.float32)
    assert np.isfinite(evaluate(low, zeros)[0]).all()


def test_a_weight_beyond_float16_keeps_its_node_in_float32():
    big = f32(C, 1, 1)
    big[0] = 1e5
    proto = model(("Mul", [X, big], {}), ("Mul", [X, number(1e-5)], {}), ("Sigmoid", [X], {}))
    types = types_of(half(proto))
    assert types["Mul"] == {FLOAT} and types["Sigmoid"] == {HALF}
    x = f32(1, C, 8, 12)
    np.testing.assert_allclose(evaluate(half(proto), x)[0], evaluate(proto, x)[0], atol=1e-3)


def test_positions_are_sampled_in_float32_and_scales_stay():
    grid = f32(1, 8, 12, 2)
    steps = (
        ("Resize", [X, "", np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest"}),
        ("GridSample", [X, grid], {"align_corners": 1}),
    )
    low = half(model(*steps))
    types = types_of(low)
    assert types["GridSample"] == {FLOAT} and types["Resize"] == {HALF}
    assert element_types(low)[next(n for n in low.graph.node if n.op_type == "Resize").input[2]] == FLOAT


def test_shapes_comparisons_and_casts():
    """Shape arithmetic, booleans and integers keep their types; floats made of integers are cast where they
    are used."""
    steps = (
        ("Shape", ["features"], {"start": 2, "end": 3}, ["height"]), ("Cast", ["height"], {"to": FLOAT}, ["as_float"]),
        ("Div", ["features", "as_float"], {}, ["scaled"]), ("Greater", ["scaled", number(0)], {}, ["positive"]),
        ("Where", ["positive", "scaled", number(0)], {}, ["relu"]), ("Cast", ["relu"], {"to": FLOAT}, ["y"]),
    )  # fmt: skip
    proto = model(*steps)
    x = f32(1, C, 8, 12)
    for io in ("float32", "float16"):
        np.testing.assert_allclose(
            evaluate(half(proto, io), x.astype(io))[0], np.maximum(x / 8, 0), atol=1e-3
        )


def test_sizes_times_a_factor_are_computed_in_float32():
    """Enlarging by a factor as exporters write it: 2050 * 3 is 6152 in float16."""
    steps = (
        ("Shape", ["features"], {}, ["shape"]), ("Cast", ["shape"], {"to": FLOAT}, ["floats"]),
        ("Mul", ["floats", np.array([1, 1, 1, 3], np.float32)], {}, ["times"]), ("Cast", ["times"], {"to": TensorProto.INT64}, ["sizes"]),
        ("Resize", ["features", "", "", "sizes"], {"mode": "nearest"}, ["y"]),
    )  # fmt: skip
    low = lower(model(*steps), "f16", "float16")
    assert types_of(low)["Mul"] == {FLOAT}
    (y,) = evaluate(low, np.zeros((1, C, 1, 2050), np.float16))
    assert y.shape == (1, C, 1, 6150)


def test_an_output_that_others_read_too():
    mean = ("ReduceMean", ["rgb", np.array([2, 3])], {}, ["mean"])
    proto = model(
        conv(4),
        ("Sigmoid", [X], {}, ["rgb"]),
        mean,
        ("Mul", ["rgb", "mean"], {}, ["y"]),
        outputs=("rgb", "mean", "y"),
    )
    x = f32(1, C, 8, 12)
    for io in ("float32", "float16"):
        low = half(proto, io)
        assert [value.name for value in low.graph.output] == ["rgb", "mean", "y"]
        for got, want in zip(evaluate(low, x.astype(io)), evaluate(proto, x), strict=True):
            assert got.dtype == io
            np.testing.assert_allclose(got, want, atol=2e-3)


def test_f32_changes_inputs_and_outputs_only():
    proto = model(conv(), ACT)
    assert half(proto, "float32", "f32").graph.node == proto.graph.node
    assert ops(half(proto, "float16", "f32")) == {"Conv": 1, "LeakyRelu": 1, "Cast": 2}


def test_static_names_a_size_that_does_not_fit():
    pool = ("MaxPool", ["a"], {"kernel_shape": [2, 2], "strides": [2, 2]}, ["small"])
    grow = ("Resize", ["small", "", np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest"}, ["big"])
    proto = model(("Relu", [X], {}, ["a"]), pool, grow, ("Add", ["a", "big"], {}, ["y"]))
    assert (
        static(proto, {"features": (1, C, 8, 8)}).graph.output[0].type.tensor_type.shape.dim[2].dim_value == 8
    )
    with pytest.raises(EngineError, match="multiples of the network's stride"):
        static(proto, {"features": (1, C, 7, 8)})


# the networks that ship


@pytest.fixture(scope="module")
def dinar_onnx():
    """The full DINAR renderer with random weights."""
    from dinar_live.export.checkpoint import load_checkpoint
    from dinar_live.export.dinar.bake import renderer_onnx
    from dinar_live.export.networks import random_state_dict

    return renderer_onnx(load_checkpoint(random_state_dict(0), networks=("renderer",)).renderer)


def documented(proto, fakes):
    return {node.op_type for node in proto.graph.node} <= fakes.tensorrt.OPERATORS and 18 <= opset_of(
        proto
    ) <= 20


def rewritten(data, io="float16", shape=None):
    proto = fold(at_least_opset(load_proto(load_onnx(data))))
    return half(proto, io, shape=shape)


def picture(channels, side, seed=0):
    """Features as the runtime makes them: a mask, texture and uv inside, uv -10 and zeros outside."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    mask = (rows**2 + columns**2 < 0.16).astype(np.float32)
    x = rng(seed).standard_normal((1, channels, side, side)).astype(np.float32) * mask
    x[0, -3:-1] = np.where(mask > 0, np.stack([columns, rows]) * 1.8, -10)
    x[0, -1] = mask
    return x


def test_light_network_in_float16(light, fakes, run):
    data = light.build(16)
    low = rewritten(data, shape=(1, 19, 64, 64))
    assert documented(low, fakes) and types_of(low)["Conv"] == {HALF} and ops(low)["Cast"] == 0
    x = picture(19, 64)
    session = create_engine(data, "openvino", "f32").compile((1, 64, 64))
    run(session, x)
    for got, want in zip(evaluate(low, x.astype(np.float16)), session.outputs.values(), strict=True):
        assert np.abs(got - want).max() <= 2 / 255


def test_dinar_renderer_in_float16(dinar_onnx, fakes, run):
    low = rewritten(dinar_onnx, shape=(1, 24, 24, 32))
    assert documented(low, fakes)
    assert types_of(low)["Conv"] == {HALF} and ops(low)["Cast"] == ops(low)["BatchNormalization"] == 0
    assert sum(len(t.raw_data) for t in low.graph.initializer) < 0.51 * len(dinar_onnx)
    heads = {node.output[0] for node in low.graph.node if node.op_type == "Sigmoid"}
    assert heads == {"rgb", "alpha"}
    x = picture(24, 16)
    session = create_engine(dinar_onnx, "openvino", "f32").compile((1, 16, 16))
    run(session, x)
    for got, want in zip(evaluate(low, x.astype(np.float16)), session.outputs.values(), strict=True):
        assert np.abs(got - want).max() <= 2 / 255


@pytest.mark.parametrize("precision, worst", [("f16", 6e-3), ("bf16", 5e-2)])
def test_torch_runs_the_lowered_graph_on_the_cpu(light, run, precision, worst):
    """The same arithmetic that a GPU gets."""
    data, x = light.build(16), picture(19, 32)
    results = {}
    for p in ("f32", precision):
        with create_engine(data, "torch", p, device="cpu") as engine:
            assert engine.info.precision == p
            session = engine.compile((1, 32, 32))
            run(session, x)
            results[p] = session.outputs
    for name in ("rgb", "alpha"):
        assert 1e-5 < np.abs(results["f32"][name] - results[precision][name]).max() < worst
