"""Arithmetic for benchmarks/gpu_check.py: what a frame must move and compute at least, and how fast a GPU
moves and computes."""

from __future__ import annotations

import contextlib
import importlib.metadata

import numpy as np

COPY_BYTES = 256 << 20
REPEATS = 20


def stage_bytes(
    avatar, renderer: str, window: tuple[int, int], size: tuple[int, int], element: int
) -> dict[str, int]:
    """Bytes that each stage must read and write at least (the floors at the head of kernels/cuda/*.cu).

    window: height, width in pixels; size: of the picture; element: bytes of a feature (2 or 4).
    """
    rig, spec = avatar.rig, avatar.renderers[renderer]
    model, V, F = rig.model, len(rig.model.vertices), len(rig.faces)
    pixels, channels = window[0] * window[1] * spec.samples**2, spec.texture.shape[2] + 3
    pose = 0 if model.pose_dirs is None else model.pose_dirs.nbytes
    return {
        "lbs": V * (12 + 6 * model.skin_index.shape[1] + 4 + 12) + pose,
        "rasterize": 8 * pixels + 12 * F + 12 * V,
        "gather": pixels * (8 + channels * element),
        "compose": pixels * 5 * element + 4 * size[0] * size[1],
        "download": 4 * size[0] * size[1],
    }


def network_flop(model: bytes, n: int, height: int, width: int) -> float:
    """Arithmetic of the convolutions and matrix products of an ONNX file for (N, H, W); a multiply-add counts
    as two."""
    import onnx

    proto = onnx.load_model_from_string(model)
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, number in ((0, n), (2, height), (3, width)):
            dims[axis].ClearField("dim_param")
            dims[axis].dim_value = number
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes |= {w.name: list(w.dims) for w in graph.initializer}
    total = 0.0
    for node in graph.node:
        if node.op_type == "Conv":  # weights [out, in/groups, kh, kw], one product a weight and output pixel
            total += 2 * np.prod(shapes[node.output[0]][2:]) * np.prod(shapes[node.input[1]]) * n
        elif node.op_type == "ConvTranspose":
            total += 2 * np.prod(shapes[node.input[0]][2:]) * np.prod(shapes[node.input[1]]) * n
        elif node.op_type in ("MatMul", "Gemm"):
            total += 2 * np.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return float(total)


def bandwidth_gbps(gpu) -> float:
    """Bytes read plus bytes written in a second by copies within the GPU's memory, 1e9 a GB; the best of
    several."""
    from dinar_live.kernels.cuda.driver import call

    source, target = (gpu.device.empty((COPY_BYTES,), np.uint8) for _ in range(2))
    times = timed(
        gpu,
        lambda: call("cuMemcpyDtoDAsync", target.pointer, source.pointer, COPY_BYTES, gpu.stream.handle),
        10,
    )
    return 2 * COPY_BYTES / (times.min() * 1e-3) / 1e9


def versions() -> dict[str, str]:
    """Of the packages for a GPU; those that are not installed are left out."""
    found = {}
    for package in ("cuda-core", "cuda-bindings", "onnx", "tensorrt", "tensorrt-rtx-cu13-libs", "nvdiffrast"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def torch_with_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def tflops() -> float | None:
    """fp16 matrix products of torch on the GPU; None where torch has none."""
    if not torch_with_cuda():
        return None
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        torch.matmul(a, b)
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end))
    return 2 * 8192**3 / (best * 1e-3) / 1e12


def timed(gpu, put_on_stream, rounds: int) -> np.ndarray:
    """ms of each of `rounds` calls on the GPU's stream, measured by its events."""
    before, after = gpu.device.event(timing=True), gpu.device.event(timing=True)
    times = []
    for _ in range(rounds + 2):
        gpu.stream.record(before)
        put_on_stream()
        gpu.stream.record(after)
        gpu.stream.synchronize()
        times.append(after.elapsed_ms(before))
    return np.array(times[2:])


def timed_in_graph(gpu, put_on_stream, rounds: int) -> np.ndarray:
    """ms of one of REPEATS calls inside of one graph, `rounds` times: without the time of launching."""
    with gpu.stream.capture() as graph:
        for _ in range(REPEATS):
            put_on_stream()
    try:
        return timed(gpu, lambda: graph.launch(gpu.stream), rounds) / REPEATS
    finally:
        gpu.stream.synchronize()
        graph.close()
