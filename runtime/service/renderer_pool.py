"""RendererPool: the renderers that an avatar's frames need, kept warm, made in the background."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from dinar_live.runtime.render import Renderer

MAX_RENDERERS = 4


class RendererKey(NamedTuple):
    """What a frame needs a Renderer of its own for: its size (height, width), straight colour, depth."""

    size: tuple[int, int]
    straight: bool = False
    depth: bool = False


class RendererPool:
    """One Renderer per RendererKey, the MAX_RENDERERS used last.

    make: builds one; may take seconds where a network is compiled, and runs on `builder`'s thread. `ready`,
    `get` and `close` belong to the thread that renders, so that a renderer is never closed while it is used.
    """

    def __init__(self, make: Callable[[RendererKey], Renderer], builder: ThreadPoolExecutor):
        self._make = make
        self._builder = builder
        self._renderers: OrderedDict[RendererKey, Renderer] = OrderedDict()
        self._building: dict[RendererKey, Future[Renderer]] = {}

    def ready(self, key: RendererKey) -> bool:
        """Whether `get` would return, or raise, at once. If not, the renderer is being made from now on."""
        if key in self._renderers:
            return True
        if key not in self._building:
            self._build(key)
        return key in self._building and self._building[key].done()

    def prepare(self, key: RendererKey) -> None:
        """Has a renderer made in the background, unless there is one, or it would take the place of
        another."""
        if (
            key not in self._renderers
            and key not in self._building
            and len(self._renderers) + len(self._building) < MAX_RENDERERS
        ):
            self._build(key)

    def _build(self, key: RendererKey) -> None:
        """Begins to make one, in the place of one that nobody came for if there are too many already; else
        this one has to wait."""
        if len(self._building) >= MAX_RENDERERS:
            for other, future in self._building.items():
                if future.cancel() or future.done():
                    del self._building[other]
                    self._discard(future)
                    break
            else:
                return
        self._building[key] = self._builder.submit(self._make, key)

    def _discard(self, future: Future[Renderer]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._builder.submit(future.result().close)  # may wait for a compiler

    def get(self, key: RendererKey) -> Renderer:
        """The renderer for `key`; waits where it is still being made. Raises what making it raised, once per
        attempt."""
        if key not in self._renderers:
            while key not in self._building:
                self._build(key)
            self._renderers[key] = self._building.pop(key).result()
            while len(self._renderers) > MAX_RENDERERS:
                self._builder.submit(self._renderers.popitem(last=False)[1].close)  # may wait for a compiler
        self._renderers.move_to_end(key)
        return self._renderers[key]

    def __len__(self) -> int:
        return len(self._renderers)

    def close(self) -> None:
        """Closes every renderer, also those that are still being made."""
        while self._building:
            future = self._building.popitem()[1]
            if not future.cancel() and future.exception() is None:
                future.result().close()
        while self._renderers:
            self._renderers.popitem()[1].close()


def builder() -> ThreadPoolExecutor:
    """One thread that makes renderers, one after the other: two at once would take the cores away from the
    frames."""
    return ThreadPoolExecutor(1, thread_name_prefix="dinar-build")
