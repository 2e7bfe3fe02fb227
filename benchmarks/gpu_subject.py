"""What benchmarks/gpu_check.py renders, and with which engines and rasterizers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace

import gpu_work
import light_network
import numpy as np

from dinar_live import engines
from dinar_live.kernels.cuda import NvdiffrastRasterizer
from dinar_live.runtime import Avatar
from dinar_live.runtime.avatar import RendererSpec

POLYPHASE = "full-polyphase"
"""The full renderer with its enlargements as polyphase.py writes them."""


def subject(path: str | None, wanted: list[str]) -> Avatar:
    """The avatar at `path` (default: the built-in one); where it has no "light" or "full" renderer, networks
    of random weights (the second needs torch)."""
    avatar = Avatar.load(path) if path else Avatar.demo()
    renderers, rng = dict(avatar.renderers), np.random.default_rng(0)
    texture = rng.standard_normal((256, 256, 16)).astype(np.float16)
    renderers.setdefault(
        "light",
        RendererSpec(
            texture,
            model=light_network.build(),
            margin=light_network.reach(),
            stride=light_network.STRIDE,
            hardsegm=True,
        ),
    )
    if {"full", POLYPHASE} & set(wanted) and importlib.util.find_spec("torch") is not None:
        from dinar_live.export.checkpoint import load_checkpoint
        from dinar_live.export.dinar.bake import renderer_onnx
        from dinar_live.export.networks import random_state_dict
        from dinar_live.export.networks.model import required

        checkpoint = load_checkpoint(random_state_dict(0), networks=("renderer",))
        model = renderer_onnx(required(checkpoint.renderer))
        texture = rng.standard_normal((256, 256, 21)).astype(np.float16)
        renderers.setdefault(
            "full", RendererSpec(texture, model=model, hardsegm=True, threshold=0.5, margin=64, stride=32)
        )
    if POLYPHASE in wanted and "full" in renderers:
        import onnx
        from polyphase import polyphase

        full = renderers["full"]
        rewritten = polyphase(onnx.load_model_from_string(full.network)).SerializeToString()
        renderers[POLYPHASE] = replace(full, model=rewritten)
    return replace(
        avatar, renderers={name: renderers[name] for name in wanted if name in renderers}, checks=None
    )


def missing_engines() -> dict[str, str]:
    """Engine for a GPU -> "" or why it cannot be tried."""
    why = engines.available_engines()
    found = {name: why[name] for name in engines.engine_names("gpu")}
    if not found["torch"] and not gpu_work.torch_with_cuda():
        found["torch"] = "torch sees no GPU: install its CUDA build"
    return found


def not_for(gpu, engine: str) -> str:
    """Why an engine may refuse this GPU, "" where it should not."""
    major, minor = gpu.device.compute_capability
    if engine == "tensorrt-rtx" and major in (9, 10):
        return f"TensorRT for RTX is for other GPUs than those of {major}.{minor}"
    return ""


def backends(avatar: Avatar) -> Iterator[tuple[str, dict]]:
    """(renderer, options of Renderer) of everything that can run here."""
    rasterizers = ["native"] + (["nvdiffrast"] if NvdiffrastRasterizer.missing() is None else [])
    usable = [name for name, why in missing_engines().items() if not why]
    for name, spec in avatar.renderers.items():
        for rasterizer in rasterizers:
            for engine in usable if spec.type.needs_network else ("auto",):
                yield name, {"renderer": name, "engine": engine, "rasterizer": rasterizer}
                if engine.startswith("tensorrt") and rasterizer == "native":
                    yield (
                        name,
                        {"renderer": name, "engine": engine, "rasterizer": rasterizer, "precision": "int8"},
                    )
