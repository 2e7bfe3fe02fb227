"""How long each engine takes for a network on this machine's GPU, as `dinar compile` measured it: what "auto" goes
by where it knows. Kept in the engine cache, a note for each network and GPU."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable

from .base import EngineError
from .cache import EngineCache, EngineKey, platform_name

_log = logging.getLogger(__name__)


def measured(digest: str, gpu: str, cache_dir: str | os.PathLike | None = None) -> dict[str, float]:
    """Engine name -> ms of a run at the size for which most engines were measured; {} where nothing is known.

    digest: sha256 of the ONNX file. gpu: its name.
    """
    sizes: dict[str, dict[str, float]] = {}
    for size, engine, ms in _entries(digest, gpu, cache_dir):
        sizes.setdefault(size, {})[engine] = ms
    return max(sizes.values(), key=len, default={})


def record(
    digest: str,
    gpu: str,
    size: tuple[int, int, int],
    engine: str,
    ms: float,
    cache_dir: str | os.PathLike | None = None,
) -> None:
    """A run of (N, H, W) took `ms`. What cannot be kept is logged."""
    shape = "x".join(map(str, size))
    known = {(s, e): v for s, e, v in _entries(digest, gpu, cache_dir)} | {(shape, engine): ms}
    rows = [[s, e, v] for (s, e), v in sorted(known.items())]
    try:
        EngineCache(cache_dir).store(_key(digest, gpu), json.dumps(rows).encode())
    except EngineError as error:
        _log.warning("what was measured cannot be kept: %s", error)


def in_measured_order(names: Iterable[str], times: dict[str, float]) -> tuple[list[str], str]:
    """(names, those that were measured in the order of their times, in the places that they had; why). Nothing
    changes, and why is "", where fewer than two of them were measured."""
    names = list(names)
    known = sorted((times[name], name) for name in names if name in times)
    if len(known) < 2:
        return names, ""
    fastest = iter(name for _, name in known)
    ordered = [next(fastest) if name in times else name for name in names]
    return ordered, "dinar compile measured " + ", ".join(f"{name} {ms:.2f} ms" for ms, name in known)


def _key(digest: str, gpu: str) -> EngineKey:
    return EngineKey("measured", digest, (), "", gpu, "", platform_name(), ())


def _entries(digest: str, gpu: str, cache_dir) -> list[tuple[str, str, float]]:
    try:
        data = EngineCache(cache_dir).load(_key(digest, gpu))
        rows = json.loads(bytes(data)) if data else []
        return [(str(size), str(engine), float(ms)) for size, engine, ms in rows if 0 < float(ms) < 1e6]
    except (EngineError, ValueError, TypeError):
        return []
