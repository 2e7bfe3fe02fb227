"""A strict fake of TensorRT's Python bindings over fake_cuda.py: plans hold the ONNX file, runs evaluate it
with onnx's own evaluator.

What the real bindings have not, this has not, for reading and for writing (test_tensorrt_api.py compares
them). The parser takes only what the documented list of operators has, strongly typed networks only, static
shapes only.
"""

import enum
import threading
import types

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT32 = 3


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorFormat(enum.IntEnum):
    LINEAR = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ExecutionContextAllocationStrategy(enum.IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class Strict:
    """Attributes can be set only where they are declared."""

    _settable = ()

    def __setattr__(self, name, value):
        if not name.startswith("_") and name not in self._settable:
            raise AttributeError(f"{type(self).__name__} has no settable attribute {name}")
        object.__setattr__(self, name, value)


def strings(operators):
    return frozenset(operators.split())


# TensorRT's documented list (operators.md of its ONNX parser), as far as a renderer could want them in
# float16
OPERATORS = strings(
    "Abs Add AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos "
    "DepthToSpace Div Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool Greater GreaterOrEqual "
    "GridSample GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less "
    "LessOrEqual Log MatMul Max MaxPool Min Mul Neg Not Or And Pad Pow PRelu Range Reciprocal ReduceMax ReduceMean ReduceMin "
    "ReduceSum Relu Reshape Resize Round Shape Sigmoid Sin Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Tanh "
    "Tile Transpose Unsqueeze Where "
)


def make_rtx(cuda, version="1.7.1.116"):
    """The module `tensorrt_rtx_bindings`, as `make`."""
    return make(cuda, version, rtx=True)


def make(cuda, version="10.15.1.29", rtx=False):
    """The module `tensorrt`, with `world` to look into it and to make it fail. rtx: TensorRT for RTX: no timing cache,
    what is compiled for a GPU goes into a runtime cache."""
    switches = "refuse_timing refuse_plan fail_build fail_enqueue fail_capture stale_graph empty_graph no_builder no_context wrong".split()
    seen = {"builds": 0, "executed": 0, "parsed": None, "log": None, "timing_seen": None, "settings": None}
    seen |= {"compiled": 0, "capabilities": None, "not_capturable": False}
    world = types.SimpleNamespace(cuda=cuda, version=version, **seen, **dict.fromkeys(switches, False))

    class ILogger:
        Severity = enum.IntEnum(
            "Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4}
        )

        def __init__(self):
            self._made = True

        def log(self, severity, msg):
            raise NotImplementedError

    class IProgressMonitor:
        def __init__(self):
            self._made = True

        def phase_start(self, phase_name, parent_phase, num_steps):
            raise NotImplementedError

        def phase_finish(self, phase_name):
            raise NotImplementedError

        def step_complete(self, phase_name, step):
            raise NotImplementedError

    class IHostMemory(Strict):
        def __init__(self, data):
            self._data = data

        def __bytes__(self):
            return self._data

    class ITimingCache(Strict):
        def __init__(self, data):
            self._data = data

        def serialize(self):
            return IHostMemory(self._data or b"timings of " + world.version.encode())

    class IBuilderConfig(Strict):
        _settable = ("max_aux_streams", "progress_monitor") + (
            ("num_compute_capabilities",) if rtx else ("builder_optimization_level", "avg_timing_iterations")
        )

        def create_timing_cache(self, serialized_timing_cache):
            world.timing_seen = bytes(serialized_timing_cache)
            return ITimingCache(world.timing_seen)

        def set_timing_cache(self, cache, ignore_mismatch):
            assert ignore_mismatch is False
            if world.refuse_timing and cache._data:
                world.log.log(ILogger.Severity.ERROR, "timing cache of another device")
                return False
            self._timing = cache
            return True

    class INetworkDefinition(Strict):
        _model = None

    class ParserError(Strict):
        def __init__(self, node, text):
            self._node, self._text = node, text

        def desc(self):
            return self._text

        def node_name(self):
            return self._node.name

        def node_operator(self):
            return self._node.op_type

    class OnnxParser(Strict):
        def __init__(self, network, logger):
            assert isinstance(network, INetworkDefinition) and logger._made
            self._network, self._logger, self._errors = network, logger, []

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

        def parse(self, model, path=None):
            assert path is None
            proto = onnx.load_model_from_string(bytes(model))
            world.parsed = proto
            onnx.checker.check_model(proto, full_check=True)
            assert 9 <= proto.opset_import[0].version <= 20
            for node in proto.graph.node:
                if node.op_type not in OPERATORS or node.domain:
                    self._errors.append(ParserError(node, "the operator is not supported"))
                    self._logger.log(ILogger.Severity.ERROR, f"no importer for {node.op_type}")
            for value in (*proto.graph.input, *proto.graph.output):
                assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), "a dynamic shape"
            self._network._model = bytes(model)
            return not self._errors

    class Builder(Strict):
        def __init__(self, logger):
            assert logger._made
            world.log = logger
            if world.no_builder:
                logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags=0):
            assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
            return INetworkDefinition()

        def create_builder_config(self):
            return IBuilderConfig()

        def build_serialized_network(self, network, config):
            assert config.max_aux_streams == 0
            world.builds += 1
            if rtx:
                world.capabilities = getattr(config, "_capability", None)
            else:
                assert config._timing is not None
                world.settings = (config.builder_optimization_level, config.avg_timing_iterations)
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None and not _report(monitor):
                return None
            if world.fail_build:
                world.log.log(
                    ILogger.Severity.INTERNAL_ERROR, "could not find any implementation for node conv"
                )
                return None
            return IHostMemory(world.version.encode() + b"\n" + network._model)

    def _report(monitor):
        """Phases as TensorRT reports them: nested, from a thread of its own."""
        answers = []

        def work():
            monitor.phase_start("Building", None, 2)
            answers.append(monitor.step_complete("Building", 0))
            monitor.phase_start("Tactics", "Building", 4)
            for step in range(4):
                answers.append(monitor.step_complete("Tactics", step))
            monitor.phase_finish("Tactics")
            answers.append(monitor.step_complete("Building", 1))
            monitor.phase_finish("Building")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return all(answers)

    class Runtime(Strict):
        def __init__(self, logger):
            assert logger._made
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            version, _, model = bytes(serialized_engine).partition(b"\n")
            if version != world.version.encode() or world.refuse_plan:
                self._logger.log(
                    ILogger.Severity.ERROR, f"Version tag does not match: {version.decode(errors='replace')}"
                )
                return None
            return ICudaEngine(onnx.load_model_from_string(model), self._logger)

    class ICudaEngine(Strict):
        def __init__(self, proto, logger):
            self._proto, self._logger = proto, logger
            self._values = [
                *((v, TensorIOMode.INPUT) for v in proto.graph.input),
                *((v, TensorIOMode.OUTPUT) for v in proto.graph.output),
            ]
            self._by_name = {value.name: (value, mode) for value, mode in self._values}

        @property
        def num_io_tensors(self):
            return len(self._values)

        def get_tensor_name(self, index):
            return self._values[index][0].name

        def get_tensor_mode(self, name):
            return self._by_name[name][1]

        def get_tensor_dtype(self, name):
            return {onnx.TensorProto.FLOAT: DataType.FLOAT, onnx.TensorProto.FLOAT16: DataType.HALF}[
                self._by_name[name][0].type.tensor_type.elem_type
            ]

        def get_tensor_format(self, name):
            return TensorFormat.LINEAR

        def get_tensor_shape(self, name):
            return tuple(dim.dim_value for dim in self._by_name[name][0].type.tensor_type.shape.dim)

        @property
        def device_memory_size_v2(self):
            return 64 * sum(int(np.prod(self.get_tensor_shape(value.name))) for value, _ in self._values)

        def create_execution_context(self, strategy=ExecutionContextAllocationStrategy.STATIC):
            if world.no_context:
                self._logger.log(ILogger.Severity.ERROR, "out of memory")
                return None
            context = IExecutionContext(self)
            context._managed = strategy == ExecutionContextAllocationStrategy.USER_MANAGED
            return context

    class IExecutionContext(Strict):
        def __init__(self, engine):
            self._engine, self._addresses = engine, {}
            self._managed, self._layers = False, None
            self._run = ReferenceEvaluator(engine._proto)

        def set_tensor_address(self, name, memory):
            if name not in self._engine._by_name or not memory:
                return False
            self._addresses[name] = memory
            return True

        def set_device_memory(self, memory, size):
            assert (
                self._managed
                and memory % 256 in range(0, 256, 16)
                and size >= self._engine.device_memory_size_v2
            )
            self._layers = (memory, size)

        def execute_async_v3(self, stream_handle):
            engine = self._engine
            assert not self._managed or self._layers, "memory between the layers was not given"
            capturing = world.cuda.capturing is not None
            if (
                world.fail_enqueue
                or (capturing and world.fail_capture)
                or self._addresses.keys() != engine._by_name.keys()
            ):
                engine._logger.log(ILogger.Severity.ERROR, "enqueueV3 failed: stream not accepted")
                return False
            dtypes = {DataType.FLOAT: "f4", DataType.HALF: "f2"}
            inputs = [value.name for value in engine._proto.graph.input]
            outputs = [value.name for value in engine._proto.graph.output]

            def work(stale={}):  # noqa: B006  (a memory on purpose)
                world.executed += 1
                if self._layers:  # other sessions that share it see that it was used
                    world.cuda.at(self._layers[0], (self._layers[1],), "u1")[...] = 0xAB
                if capturing and world.empty_graph:
                    return
                tensors = {
                    name: world.cuda.at(
                        pointer, engine.get_tensor_shape(name), dtypes[engine.get_tensor_dtype(name)]
                    )
                    for name, pointer in self._addresses.items()
                }
                if not (capturing and world.stale_graph and stale):
                    with np.errstate(all="ignore"):
                        stale.update(
                            zip(
                                outputs,
                                self._run.run(None, {name: tensors[name].copy() for name in inputs}),
                                strict=True,
                            )
                        )
                for name in outputs:
                    tensors[name][...] = stale[name] + (0.02 if world.wrong else 0)

            return world.cuda.queue(stream_handle, "network", work)

    class IRuntimeCache(Strict):
        _data = b""

        def serialize(self):
            return IHostMemory(self._data)

        def deserialize(self, blob):
            fits = bytes(blob) == b"for " + cuda.name.encode()
            self._data = bytes(blob) if fits else self._data
            return fits

    class IRuntimeConfig(Strict):
        _settable = ("cuda_graph_strategy",)

        def create_runtime_cache(self):
            return IRuntimeCache()

        def set_runtime_cache(self, cache):
            self._cache = cache
            return True

        def set_execution_context_allocation_strategy(self, strategy):
            self._strategy = strategy

    if rtx:
        del IBuilderConfig.create_timing_cache, IBuilderConfig.set_timing_cache
        IBuilderConfig.set_compute_capability = lambda self, compute_capability, index: (
            setattr(self, "_capability", compute_capability) is None and index == 0
        )
        make_context = ICudaEngine.create_execution_context

        def create_execution_context(self, runtime_config):
            if not runtime_config._cache._data:
                world.compiled += 1
                runtime_config._cache._data = b"for " + cuda.name.encode()
            strategy = getattr(runtime_config, "_strategy", ExecutionContextAllocationStrategy.STATIC)
            return make_context(self, strategy)

        ICudaEngine.create_execution_context = create_execution_context
        ICudaEngine.create_runtime_config = lambda self: IRuntimeConfig()
        IExecutionContext.is_stream_capturable = lambda self, stream: not world.not_capturable
    else:
        del IRuntimeCache, IRuntimeConfig
    module = types.ModuleType("tensorrt_rtx_bindings" if rtx else "tensorrt")
    module.__version__ = version
    if rtx:
        module.ComputeCapability = enum.IntEnum(
            "ComputeCapability", {"NONE": 0, "SM75": 75, "SM80": 80, "SM89": 89, "SM120": 120}
        )
        module.CudaGraphStrategy = enum.IntEnum(
            "CudaGraphStrategy", {"DISABLED": 0, "WHOLE_GRAPH_CAPTURE": 1}
        )
    local = dict(locals())
    for name, value in local.items():
        if isinstance(value, type):
            setattr(module, name, value)
    for value in (
        DataType,
        TensorIOMode,
        TensorFormat,
        NetworkDefinitionCreationFlag,
        ExecutionContextAllocationStrategy,
    ):
        setattr(module, value.__name__, value)
    module.world = world
    return module
