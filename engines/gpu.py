"""The CUDA layer (kernels/cuda) for engines: a device, and its errors as EngineError. Importing this loads no
CUDA library."""

import contextlib
from collections.abc import Iterator

import numpy as np

from dinar_live.kernels import cuda

from . import nvidia
from .base import DeviceSession, EngineError


@contextlib.contextmanager
def cuda_errors() -> Iterator[None]:
    """A CudaError inside becomes an EngineError with the same words."""
    try:
        yield
    except cuda.CudaError as error:
        raise EngineError(str(error)) from error


def open_device(index: int = 0) -> cuda.Device:
    """GPU number `index`, current on the calling thread. EngineError in one sentence where a driver, a
    package or this GPU is missing."""
    problem = nvidia.nvidia_problem()
    if problem:
        raise EngineError(f"{problem}: install the driver for your GPU, or use the engine openvino")
    with cuda_errors():
        return cuda.Device(index)


def run_ms(device: cuda.Device, session: DeviceSession, rounds: int) -> float:
    """Milliseconds of a run of a device session, the middle one of `rounds`: in a CUDA graph where it can be captured.
    EngineError where it cannot run."""
    with cuda_errors():
        device.make_current()
        stream = device.stream()
        session.warm_up(stream.handle)
        graph = None
        if session.mode == "graph":
            with stream.capture() as graph:
                session.enqueue_on(stream.handle)
        before, after, times = device.event(timing=True), device.event(timing=True), []
        for _ in range(rounds + 1):
            stream.record(before)
            graph.launch(stream) if graph is not None else session.enqueue_on(stream.handle)
            stream.record(after)
            stream.synchronize()
            times.append(after.elapsed_ms(before))
        if graph is not None:
            graph.close()
    return float(np.median(times[1:]))


def run_once(
    device: cuda.Device,
    session: DeviceSession,
    inputs: dict[str, np.ndarray],
    stream: cuda.Stream | None = None,
) -> dict[str, np.ndarray]:
    """Outputs, as float32, of one run of a device session on host arrays (converted to the session's types).
    For checks, not for frames. stream: a new one by default; that of the frames where the session shares memory."""
    for name, tensor in session.inputs.items():
        if inputs[name].shape != tensor.shape:
            raise EngineError(
                f"input {name!r} has shape {inputs[name].shape}; the session takes {tensor.shape}"
            )
    with cuda_errors():
        device.make_current()
        stream = stream or device.stream()
        given = {name: device.pinned(t.shape, t.dtype) for name, t in session.inputs.items()}
        taken = {name: device.pinned(t.shape, t.dtype) for name, t in session.outputs.items()}
        try:
            for name, tensor in session.inputs.items():
                given[name][...] = inputs[name]
                device.wrap(tensor.pointer, tensor.shape, tensor.dtype).copy_from(given[name], stream)
            session.enqueue_on(stream.handle)
            for name, tensor in session.outputs.items():
                device.wrap(tensor.pointer, tensor.shape, tensor.dtype).copy_to(taken[name], stream)
        finally:
            stream.synchronize()  # also after an error: copies under way use the arrays
        return {name: array.astype(np.float32) for name, array in taken.items()}
