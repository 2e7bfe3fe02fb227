"""RendererPool: the renderers that an avatar's pictures need, kept warm, made in the background."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from .render import Renderer

MAX_RENDERERS = 4


class Kind(NamedTuple):
    """What a picture needs a Renderer of its own for: its size (height, width), straight colour, depth."""

    size: tuple[int, int]
    straight: bool = False
    depth: bool = False


class RendererPool:
    """One Renderer per Kind, the MAX_RENDERERS used last.

    make: builds one; may take seconds where a network is compiled, and runs on `builder`'s thread. `ready`, `get` and `close` belong to
    the thread that renders, so that a renderer is never closed while it is used.
    """

    def __init__(self, make: Callable[[Kind], Renderer], builder: ThreadPoolExecutor):
        self._make, self._builder = make, builder
        self._renderers: OrderedDict[Kind, Renderer] = OrderedDict()
        self._building: dict[Kind, Future[Renderer]] = {}

    def ready(self, kind: Kind) -> bool:
        """Whether `get` would return, or raise, at once. If not, the renderer is being made from now on."""
        if kind in self._renderers:
            return True
        self.prepare(kind)
        return self._building[kind].done()

    def prepare(self, kind: Kind) -> None:
        """Has a renderer made in the background, unless there is one."""
        if kind not in self._renderers and kind not in self._building:
            self._building[kind] = self._builder.submit(self._make, kind)

    def get(self, kind: Kind) -> Renderer:
        """The renderer for `kind`; waits where it is still being made. Raises what making it raised, once per attempt."""
        if kind not in self._renderers:
            self.prepare(kind)
            self._renderers[kind] = self._building.pop(kind).result()
            while len(self._renderers) > MAX_RENDERERS:
                self._builder.submit(self._renderers.popitem(last=False)[1].close)     # may wait for a compiler
        self._renderers.move_to_end(kind)
        return self._renderers[kind]

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
    """One thread that makes renderers, one after the other: two at once would take the cores away from the pictures."""
    return ThreadPoolExecutor(1, thread_name_prefix="dinar-build")
