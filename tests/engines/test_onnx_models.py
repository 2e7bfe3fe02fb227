"""Models and sizes that engines must take or refuse: broken, hostile, unknown operators, wrong shapes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dinar_live.engines import EngineError, create_engine

ENGINES = ("openvino", "torch")


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def model_of(nodes, inputs, outputs, initializers=(), opset=17, **extra):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **extra}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


# models


def test_path_and_bytes(tiny, name, tmp_path, run):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny)
    for source in (path, str(path), bytearray(tiny)):
        session = create_engine(source, name).compile((1, 2, 2))
        run(session, 1.0)
        assert (session.outputs["rgb"] == 2).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: b"",
        lambda m: b"not a model",
        lambda m: m[:-5],
        lambda m: m[:40],
        lambda m: b"\x3a" + b"\xff" * 11,
        lambda m: b"\x3a\x00",
    ],
)
def test_broken_bytes(tiny, name, damage):
    with pytest.raises(EngineError, match="not a valid ONNX model"):
        create_engine(damage(tiny), name)


def test_damaged_bytes_end_in_an_engine_error_or_a_model(tiny, name):
    """Flipped bytes: whatever they hit, the caller sees an EngineError or a working engine, never another
    exception."""
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(60):
        data = bytearray(tiny)
        data[rng.integers(len(data))] = rng.integers(256)
        try:
            create_engine(bytes(data), name).compile((1, 2, 2))
        except EngineError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    "source, text",
    [
        (42, "is a int"),
        ("/no/such/model.onnx", "cannot read the model /no/such/model.onnx"),
        ("/", "cannot read"),
    ],
)
def test_unreadable_source(source, text):
    with pytest.raises(EngineError, match=text):
        create_engine(source)


def external(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    return tensor


def external_initializer(model):
    external(model.graph.initializer[0])
    return model


def external_constant(model):
    del model.graph.initializer[0]
    constant = helper.make_node(
        "Constant", [], ["weight"], value=numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32))
    )
    external(constant.attribute[0].t)
    model.graph.node.insert(0, constant)
    return model


def external_in_a_branch(model):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["w2"])],
        "branch",
        [],
        [value("w2", 1, 4, 1, 1)],
        [external(numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "w"))],
    )
    model.graph.node.insert(
        0, helper.make_node("If", ["yes"], ["weight2"], then_branch=branch, else_branch=branch)
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return model


@pytest.mark.parametrize("make", [external_initializer, external_constant, external_in_a_branch])
def test_external_data_is_refused(tiny, name, make):
    with pytest.raises(EngineError, match="another file; only self-contained"):
        create_engine(make(onnx.load_model_from_string(tiny)).SerializeToString(), name)


def test_deeply_nested_graphs_are_refused():
    def message(field, content):  # onnx cannot write this
        length = (
            bytes([len(content) & 127 | 128, len(content) >> 7])
            if len(content) > 127
            else bytes([len(content)])
        )
        return bytes([field << 3 | 2]) + length + content

    graph = b""
    for _ in range(40):
        graph = message(1, message(5, message(6, graph)))  # node, attribute, graph
    with pytest.raises(EngineError, match="nested"):
        create_engine(message(7, graph))


def test_unknown_operator_names_it_and_its_node():
    model = model_of(
        [helper.make_node("Hardmax", ["features"], ["rgb"], name="strange")],
        [value("features", "N", 3, "H", "W")],
        [value("rgb", "N", 3, "H", "W")],
    )
    with pytest.raises(EngineError, match=r"operator Hardmax of node 'strange'"):
        create_engine(model.SerializeToString(), "torch")
    custom = model_of(
        [helper.make_node("Warp", ["features"], ["rgb"], name="mine", domain="acme")],
        [value("features", "N", 3, "H", "W")],
        [value("rgb", "N", 3, "H", "W")],
        acme=1,
    )
    for engine in ENGINES:
        with pytest.raises(EngineError, match="Warp"):
            create_engine(custom.SerializeToString(), engine)


def test_uncovered_use_of_an_operator_names_the_node():
    nodes = [helper.make_node("Resize", ["features", "", "scales"], ["rgb"], name="bicubic", mode="cubic")]
    model = model_of(
        nodes,
        [value("features", "N", 3, "H", "W")],
        [value("rgb", "N", 3, "H2", "W2")],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")],
    )
    with pytest.raises(EngineError, match="node 'bicubic'.*cubic"):
        create_engine(model.SerializeToString(), "torch").compile((1, 4, 4))


def test_old_opset_is_refused_by_torch():
    model = model_of(
        [helper.make_node("Relu", ["features"], ["rgb"])],
        [value("features", "N", 3, "H", "W")],
        [value("rgb", "N", 3, "H", "W")],
        opset=11,
    )
    with pytest.raises(EngineError, match="opset 11.*13 or newer"):
        create_engine(model.SerializeToString(), "torch")


def test_inputs_must_be_float32():
    model = model_of(
        [helper.make_node("Identity", ["features"], ["rgb"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT16, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("rgb", TensorProto.FLOAT16, ["N", 3, "H", "W"])],
    )
    with pytest.raises(EngineError, match="'features' must be a float32 tensor"):
        create_engine(model.SerializeToString())


# sizes


@pytest.mark.parametrize("size", [(1, 2), (1, 0, 4), (1, -8, 8), (1, 8.0, 8), (1, True, 8), None, 8, "888"])
def test_wrong_sizes(tiny, name, size):
    with pytest.raises(EngineError, match=r"expected \(N, H, W\)"):
        create_engine(tiny, name).compile(size)


def test_size_that_the_network_cannot_take(name, light):
    with pytest.raises(EngineError, match="stride"):
        create_engine(light.build(16), name).compile((1, 100, 100))


def test_fixed_sizes(name):
    model = model_of(
        [helper.make_node("Relu", ["features"], ["rgb"])],
        [value("features", 1, 3, 8, "W")],
        [value("rgb", 1, 3, 8, "W")],
    )
    engine = create_engine(model.SerializeToString(), name)
    assert engine.compile((1, 8, 6)).outputs["rgb"].shape == (1, 3, 8, 6)
    with pytest.raises(EngineError, match="fixed shape"):
        engine.compile((1, 9, 6))
