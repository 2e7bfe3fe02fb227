"""OpenVINO on the CPU: static sizes, bf16 where the processor has it, buffers shared without a copy.

Settings, measured on 2 cores (Zen 4 with avx512_bf16) with the light network of benchmarks/ at batch 1:
static shapes are 1.25x faster than dynamic ones, 2 threads 1.95x faster than 1, bf16 2x faster than f32. The
TBB partitioner, denormal handling and a bf16 input (each within 5 %) are left alone. Convolutions work with
channels last there, so a large input in that order needs no copy: the networks of form 2 get theirs so.
"""

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterable

import numpy as np

from dinar_live.engines.base import (
    Engine,
    EngineError,
    EngineInfo,
    Session,
    aligned_zeros,
    static_input_shapes,
)
from dinar_live.engines.onnx.file import OnnxFile

from . import int8
from .quiet_import import openvino

_ERRORS = (RuntimeError, ValueError)  # ValueError: a message that quotes damaged names is not UTF-8
# What OpenVINO takes for a size beside our arrays: in those of its layers' tensors that are alive at one time, and in
# bytes. Resident memory grew by what this says within 10 % (networks light and lite of the demo avatar, f32 and bf16,
# 512x512 to 2048x2048; 2026.4.1).
_OVERHEAD = 1.1
_FIXED_BYTES = 4 << 20
_CAPABILITY = {"bf16": "BF16", "f16": "FP16", "f32": "FP32", "int8": "INT8"}
_ranges: dict[bytes, int8.Ranges] = {}  # of networks that were opened in int8, for further sizes of frames
_ranges_lock = threading.Lock()


def open_engine(
    model: OnnxFile,
    precision: str,
    threads: int,
    reason: str,
    *,
    cache_dir: str | os.PathLike | None = None,
    examples: Callable[[], Iterable[np.ndarray]] | None = None,
) -> Engine:
    """Engine for one model; cache_dir: folder where OpenVINO keeps compiled models (a light network compiles
    in about 50 ms without). examples: makes inputs, for the precision int8."""
    return OpenVINOEngine(model, precision, threads, reason, cache_dir, examples)


class OpenVINOEngine(Engine):
    """See `create_engine`."""

    name = "openvino"
    device = "CPU"  # OpenVINO's name of it
    channels_last = True

    def __init__(
        self,
        model: OnnxFile,
        precision: str,
        threads: int,
        reason: str,
        cache_dir: str | os.PathLike | None,
        examples: Callable[[], Iterable[np.ndarray]] | None = None,
    ):
        self._core = openvino.Core()
        capabilities = self._capabilities()
        precision, why = self._choose_precision(precision, capabilities)
        self._source = model.source
        self.inputs = model.inputs
        self.outputs = model.outputs
        self._config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,
            **self._settings(threads),
        }
        if cache_dir is not None:
            self._config["CACHE_DIR"] = os.fspath(cache_dir)
        try:
            opened = self._core.read_model(model.data)
        except _ERRORS as error:
            raise EngineError(f"OpenVINO cannot read {model.source}: {_tail(error)}") from error
        self._tensor_names_present(opened)
        if precision == "int8":
            opened = self._quantized(opened, model, examples)
        self._model: openvino.Model | None = opened
        device = self._core.get_property(self.device, "FULL_DEVICE_NAME").strip()
        version = openvino.__version__.split("-")[0]
        self.info = EngineInfo(
            self.name, version, device, precision, self._threads_used(), f"{reason}; {precision}: {why}"
        )

    def _capabilities(self) -> list[str]:
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        missing = ["BF16"] if "BF16" in capabilities and not has_bf16_convolutions() else []
        return [name for name in capabilities if name not in missing]

    def _choose_precision(self, precision: str, capabilities: list[str]) -> tuple[str, str]:
        """(precision, why)"""
        if precision == "auto":
            return (
                ("bf16", "this CPU has bf16 instructions")
                if "BF16" in capabilities
                else ("f32", "this CPU has no bf16 instructions")
            )
        if _CAPABILITY[precision] not in capabilities:
            have = [name for name, flag in _CAPABILITY.items() if flag in capabilities]
            raise EngineError(
                f"precision {precision} needs instructions that this CPU lacks; choose auto or one it has: {', '.join(have)}"
            )
        return precision, "asked for"

    def _settings(self, threads: int) -> dict[str, object]:
        settings: dict[str, object] = {
            "NUM_STREAMS": "1",
            "ENABLE_HYPER_THREADING": False,  # two threads of one core only slow each other in convolutions
            # others share these cores, and a pinned thread cannot move away (next to a process busy 40 % of
            # the time: 7 % faster unpinned)
            "ENABLE_CPU_PINNING": False,
        }
        return settings | ({"INFERENCE_NUM_THREADS": threads} if threads else {})

    def _quantized(self, opened: openvino.Model, model: OnnxFile, examples) -> openvino.Model:
        if examples is None or len(opened.inputs) != 1:
            raise EngineError(
                f"precision int8 needs `examples`, inputs of the network, and a network with one input; {model.source} "
                f"has {len(opened.inputs)}, examples is {'missing' if examples is None else 'given'}"
            )
        key = hashlib.sha256(model.data).digest()
        with _ranges_lock:
            if key not in _ranges:
                _ranges[key] = int8.activation_ranges(self._core, opened, examples())
            return int8.quantized(opened, _ranges[key])

    def _tensor_names_present(self, opened: openvino.Model) -> None:
        for kind, names, ports in (
            ("input", self.inputs, opened.inputs),
            ("output", self.outputs, opened.outputs),
        ):
            known = set().union(*(port.get_names() for port in ports))
            lost = sorted(set(names) - known)
            if lost:
                raise EngineError(
                    f"OpenVINO lost the {kind} {', '.join(lost)} of {self._source}: is it used by no operator?"
                )

    def _threads_used(self) -> int:
        x = openvino.opset13.parameter([1], np.float32)
        config = {key: value for key, value in self._config.items() if key != "CACHE_DIR"}
        relu = openvino.opset13.relu(x)
        model = openvino.Model([relu], [x])  # pyright: ignore[reportGeneralTypeIssues]  (its stub names another class)
        probe = self._core.compile_model(model, "CPU", config)
        return int(probe.get_property("INFERENCE_NUM_THREADS"))

    def compile(self, size: tuple[int, int, int]) -> Session:
        return self._compile(size, channels_last=False)

    def compile_channels_last(self, size: tuple[int, int, int]) -> Session:
        return self._compile(size, channels_last=True)

    def _compile(self, size: tuple[int, int, int], channels_last: bool) -> Session:
        if self._model is None:
            raise EngineError("this engine is closed; create another one")
        shapes = static_input_shapes(self.inputs, size)
        model = self._model.clone()
        try:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            if channels_last:
                model = _turned(model)
            compiled = self._core.compile_model(model, self.device, self._config)
        except _ERRORS as error:
            raise EngineError(
                f"OpenVINO cannot compile {self._source} for (N, H, W) = {tuple(size)}; "
                f"are H and W multiples of the network's stride? {_tail(error)}"
            ) from error
        return OpenVINOSession(compiled, self.inputs, self.outputs, size)

    def close(self) -> None:
        self._model = None


class OpenVINOSession(Session):
    """One infer request whose tensors are our own arrays."""

    def __init__(self, compiled: openvino.CompiledModel, inputs, outputs, size: tuple[int, int, int]):
        super().__init__(
            {name: aligned_zeros(_static(compiled.input(name), name, size)) for name in inputs},
            {name: aligned_zeros(_static(compiled.output(name), name, size)) for name in outputs},
        )
        # the request does not keep the arrays alive: self.inputs and self.outputs do
        self._request = compiled.create_infer_request()
        for name, array in (*self.inputs.items(), *self.outputs.items()):
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        arrays = sum(array.nbytes for array in (*self.inputs.values(), *self.outputs.values()))
        self._memory = arrays + int(_OVERHEAD * peak_bytes(compiled.get_runtime_model())) + _FIXED_BYTES

    @property
    def memory(self) -> int:
        """See Session. By what its layers hand on to one another."""
        return self._memory

    def _start(self) -> None:
        try:
            self._request.start_async()
        except _ERRORS as error:
            raise EngineError(f"OpenVINO cannot start a run: {_tail(error)}") from error

    def _wait(self) -> None:
        try:
            self._request.wait()
        except _ERRORS as error:
            raise EngineError(f"an OpenVINO run failed: {_tail(error)}") from error

    def __del__(self):
        request = getattr(self, "_request", None)
        if request is not None and self._pending:
            request.wait()  # it still writes into arrays that are about to be freed


def _turned(model: openvino.Model) -> openvino.Model:
    """The model with every input and output of four dimensions as [N,H,W,C]."""
    steps = openvino.preprocess.PrePostProcessor(model)
    outer, inner = openvino.Layout("NHWC"), openvino.Layout("NCHW")
    for ports, step in ((model.inputs, steps.input), (model.outputs, steps.output)):
        for i, port in enumerate(ports):
            if len(port.get_partial_shape()) == 4:
                step(i).model().set_layout(inner)
                step(i).tensor().set_layout(outer)
    return steps.build()


def peak_bytes(model: openvino.Model) -> int:
    """The most that tensors of a compiled model take at one time, bytes, if each is kept until it was last
    read. Weights are not counted: all sizes share them."""
    operators = list(model.get_ordered_ops())
    last_read: dict[str, int] = {}
    for step, operator in enumerate(operators):
        for port in operator.inputs():
            last_read[port.get_source_output().get_node().get_friendly_name()] = step
    now = most = 0
    freed: dict[int, int] = {}
    for step, operator in enumerate(operators):
        if operator.get_type_name() != "Constant":
            size = sum(
                int(np.prod(port.get_shape())) * port.get_element_type().size for port in operator.outputs()
            )
            now += size
            last = last_read.get(operator.get_friendly_name(), step)
            freed[last] = freed.get(last, 0) + size
            most = max(most, now)
        now -= freed.pop(step, 0)
    return most


@functools.cache
def has_bf16_convolutions() -> bool:
    """OpenVINO goes by the processor, and its convolutions by what is left of that: ONEDNN_MAX_CPU_ISA, or a virtual
    machine, may take instructions away, and then they do not compile."""
    x = openvino.opset13.parameter([1, 16, 8, 8], np.float32)
    weights = openvino.opset13.constant(np.ones((16, 16, 3, 3), np.float32))
    convolution = openvino.opset13.convolution(x, weights, [1, 1], [1, 1], [1, 1], [1, 1])
    model = openvino.Model([convolution], [x])  # pyright: ignore[reportGeneralTypeIssues]  (its stub names another class)
    try:
        openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    except _ERRORS:
        return False
    return True


def _static(port, name: str, size: tuple[int, int, int]) -> tuple[int, ...]:
    shape = port.get_partial_shape()
    if shape.is_dynamic or port.get_element_type() != openvino.Type.f32:
        raise EngineError(
            f"tensor {name!r} is {port.get_element_type()} {shape} for (N, H, W) = {size}; expected f32 and a fixed shape"
        )
    return tuple(shape.to_shape())


def _tail(error: Exception) -> str:
    """The part of an OpenVINO message that says what failed: it begins with the places in its sources."""
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("Exception from")
    ]
    return " ".join(lines)[:600] or repr(error)
