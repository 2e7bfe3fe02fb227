"""The network that an engine is given: as the avatar brings it, or for int8 with the ranges of its layers on the
avatar's own frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np

from dinar_live import engines
from dinar_live.engines.cache import EngineCache, EngineKey
from dinar_live.runtime.avatar import Avatar, RendererSpec

from . import parity
from .window import padded

INT8 = "int8"
SIZE = (256, 256)
"""(height, width) in pixels of the frames that are looked at."""


def network_for(avatar: Avatar, spec: RendererSpec, precision: str) -> bytes:
    """The ONNX file for an engine of this precision. For int8 frames of the avatar's check poses are put through the
    network in float32, once for each network: what was found is kept in the engine cache. EngineError where that is
    impossible."""
    if precision != INT8:
        return spec.network
    from dinar_live.engines.onnx.quantize import with_ranges
    from dinar_live.engines.onnx.ranges import measured_ranges

    digest = hashlib.sha256(spec.network).hexdigest()
    key = EngineKey("ranges", digest, (), "", "", "", "", (f"frames={SIZE}",))
    cache = EngineCache()
    kept = cache.load(key)
    ranges = json.loads(bytes(kept)) if kept else None
    if ranges is None:
        ranges = measured_ranges(spec.network, _frames(avatar, spec))
        try:
            cache.store(key, json.dumps(ranges).encode())
        except engines.EngineError:
            pass  # a full disk: measured again at the next start
    return with_ranges(spec.network, ranges)


def _frames(avatar: Avatar, spec: RendererSpec) -> Iterator[np.ndarray]:
    size = padded(SIZE, spec.stride)
    return parity.inputs_for(avatar, spec, (1, *size), size)
