"""Ranges for int8 out of examples of a network's inputs, once a network: they are kept beside its plans."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable

import numpy as np

from dinar_live.engines.base import EngineError
from dinar_live.engines.cache import EngineCache, EngineKey
from dinar_live.engines.onnx.file import OnnxFile, load_onnx
from dinar_live.engines.onnx.quantize import KEY, with_ranges

Examples = Callable[[], Iterable[np.ndarray]]


def with_examples(model: OnnxFile, precision: str, examples: Examples | None, cache: EngineCache) -> OnnxFile:
    """The model as it is, for int8 with the ranges of its layers (see quantize.with_ranges), unless it has some.
    EngineError where that is impossible."""
    if precision != "int8" or KEY.encode() in model.data:
        return model
    if examples is None:
        raise EngineError("precision int8 needs `examples`, inputs of the network, or a network with ranges")
    digest = hashlib.sha256(model.data).hexdigest()
    key = EngineKey("ranges", digest, (), "", "", "", "", ())
    kept = cache.load(key)
    if kept:
        ranges = json.loads(bytes(kept))
    else:
        from dinar_live.engines.onnx.ranges import measured_ranges

        ranges = measured_ranges(model.data, examples())
        with contextlib.suppress(EngineError):  # a full disk: measured again at the next start
            cache.store(key, json.dumps(ranges).encode())
    return load_onnx(with_ranges(model.data, ranges))
