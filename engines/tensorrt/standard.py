"""The engine tensorrt: TensorRT proper. Importing this imports tensorrt."""

# TensorRT is not installed where types are checked, and this folder is taken for it.
# pyright: reportAttributeAccessIssue=false

import os

import tensorrt

from dinar_live.engines.base import Engine, Progress
from dinar_live.engines.cache import EngineCache
from dinar_live.engines.onnx.file import OnnxFile

from .engine import TensorRTEngine
from .int8 import Examples, with_examples
from .library import Library


def open_engine(
    model: OnnxFile,
    precision: str,
    threads: int,
    reason: str,
    *,
    device: str = "cuda",
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
    optimization_level: int | None = None,
    examples: Examples | None = None,
) -> Engine:
    """Engine for one model on device "cuda" (the first GPU, as is "auto") or "cuda:N".

    cache_dir: where plans are kept (default: the user's cache folder). progress: called with (fraction, what)
        while a plan is built.
    optimization_level: 0 (fastest build) to 5 (fastest plan); None takes the best plan that is kept, and
        builds with 3 where there is none. examples: inputs of the network, for the precision int8.
    """
    cache = EngineCache(cache_dir)
    model = with_examples(model, precision, examples, cache)
    return TensorRTEngine(
        Library(tensorrt), model, precision, reason, device, cache, progress, optimization_level
    )


def describe_gpu() -> str:
    """See EngineModule."""
    return f"TensorRT {tensorrt.__version__}"
