"""How fast this machine is, so that figures of different machines compare: convolutions and memory copies.
Takes about a second."""

import time

import numpy as np

_CHANNELS, _SIZE, _LAYERS = 64, 128, 4
_RUNS = 12
_COPY_BYTES = 64 * 2**20  # beyond the caches of most machines


def yardstick(threads: int = 0) -> dict[str, float | None]:
    """conv_gflops_f32, conv_gflops_bf16 (None without bf16 instructions), memcpy_gbps; each the best of
    several runs.

    conv: four 3x3 convolutions of 64 -> 64 channels at 128x128 in OpenVINO on `threads` threads (0 = all); a
        multiply-add counts as two.
    memcpy: numpy copies of 64 MiB on one thread, 1 GB = 1e9 bytes copied. Raises ImportError without
        openvino.
    """
    from dinar_live.engines.openvino.quiet_import import openvino  # heavy, and only needed here

    core = openvino.Core()
    from .openvino.engine import has_bf16_convolutions

    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and has_bf16_convolutions()
    return {
        "conv_gflops_f32": _convolution_gflops(openvino, core, "f32", threads),
        "conv_gflops_bf16": _convolution_gflops(openvino, core, "bf16", threads) if has_bf16 else None,
        "memcpy_gbps": _memcpy_gbps(),
    }


def _convolution_gflops(openvino, core, precision: str, threads: int) -> float:
    op = openvino.opset13
    rng = np.random.default_rng(0)
    x = picture = op.parameter([1, _CHANNELS, _SIZE, _SIZE], np.float32)
    for _ in range(_LAYERS):
        weight = rng.standard_normal((_CHANNELS, _CHANNELS, 3, 3), np.float32) * np.float32(
            np.sqrt(2 / (9 * _CHANNELS))
        )
        x = op.relu(op.convolution(x, op.constant(weight), [1, 1], [1, 1], [1, 1], [1, 1]))
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,
    }
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    # the mean keeps the conversion of a large output out of the time
    mean = op.reduce_mean(x, op.constant(np.array([2, 3])), keep_dims=True)
    request = core.compile_model(openvino.Model([mean], [picture]), "CPU", config).create_infer_request()
    request.get_input_tensor().data[...] = rng.standard_normal((1, _CHANNELS, _SIZE, _SIZE), np.float32)
    flop = 2 * _LAYERS * (_CHANNELS * _SIZE * 3) ** 2
    return round(flop / _best_seconds(request.infer) / 1e9, 1)


def _memcpy_gbps() -> float:
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    return round(_COPY_BYTES / _best_seconds(lambda: np.copyto(target, source)) / 1e9, 2)


def _best_seconds(call) -> float:
    call()
    best = float("inf")
    for _ in range(_RUNS):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
