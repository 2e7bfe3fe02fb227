"""RendererPool: the renderers that an avatar's frames need, kept warm, made in the background."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.memory import MemoryBudget

MAX_RENDERERS = 4


class RendererKey(NamedTuple):
    """What a frame needs a Renderer of its own for: its size (height, width), straight colour, depth, and which
    of the avatar's renderers; "" = the default one."""

    size: tuple[int, int]
    straight: bool = False
    depth: bool = False
    renderer: str = ""


class RendererPool:
    """One Renderer per RendererKey, the MAX_RENDERERS used last for each of the avatar's `kinds` of renderers, and
    as many as the budget has room for.

    make: builds one; may take seconds where a network is compiled, and runs on `builder`'s thread. keep: the
    one that never goes; with it those that `hold` is told.
    budget: what renderers may hold together, also those of other pools; None = as much
    as they like. `ready`, `get` and `close` belong to the thread that renders, so that a renderer is never
    closed while it is used.
    """

    def __init__(
        self,
        make: Callable[[RendererKey], Renderer],
        builder: ThreadPoolExecutor,
        *,
        keep: RendererKey | None = None,
        budget: MemoryBudget | None = None,
        kinds: int = 1,
    ):
        self._make = make
        self._builder = builder
        self._keep = keep
        self._most = MAX_RENDERERS * kinds
        self._held = set() if keep is None else {keep}
        self._budget = budget
        self._per_pixel: dict[str, float] = {}  # bytes, of the first renderer of each kind
        self._renderers: OrderedDict[RendererKey, Renderer] = OrderedDict()
        self._building: dict[RendererKey, Future[Renderer]] = {}

    def ready(self, key: RendererKey, others: Collection[RendererKey] = ()) -> bool:
        """Whether `get` would return, or raise, at once. If not, the renderer is being made from now on.
        others: that are needed with it, so they do not go for it."""
        if key in self._renderers:
            return True
        if key not in self._building:
            self._build(key, others)
        return key in self._building and self._building[key].done()

    def there(self, key: RendererKey) -> bool:
        """Whether `get` would return, or raise, at once; begins nothing."""
        return key in self._renderers or (key in self._building and self._building[key].done())

    def hold(self, key: RendererKey) -> Renderer | None:
        """A renderer that never goes either; None where there is no room for it. Waits until it is made. Raises
        what making it raises."""
        if key not in self._renderers and self._budget is not None and not self._budget.room(self._need(key)):
            return None
        self._held.add(key)
        try:
            return self.get(key)
        except BaseException:
            self._held.discard(key)
            raise

    def prepare(self, key: RendererKey) -> None:
        """Has a renderer made in the background, unless there is one, or it would take the place of
        another."""
        if (
            key not in self._renderers
            and key not in self._building
            and len(self._renderers) + len(self._building) < self._most
            and (self._budget is None or self._budget.room(self._need(key)))
        ):
            self._build(key)

    def _need(self, key: RendererKey) -> int:
        per_pixel = self._per_pixel.get(key.renderer) or max(self._per_pixel.values(), default=0.0)
        return int(per_pixel * key.size[0] * key.size[1])

    def _build(self, key: RendererKey, others: Collection[RendererKey] = ()) -> None:
        """Begins to make one, in the place of one that nobody came for if there are too many already; else
        this one has to wait."""
        if len(self._building) >= self._most:
            for other, future in self._building.items():
                if future.cancel() or future.done():
                    self._discard(other, self._building.pop(other))
                    break
            else:
                return
        if self._budget is not None and key in self._held:
            self._budget.charge((self, key), self._need(key))
            self._building[key] = self._builder.submit(self._make, key)
            return
        if self._budget is None or self._budget.take(
            (self, key),
            self._need(key),
            lambda: self._give_up(key),
            heavy=True,
            spare=[(self, other) for other in (*self._held, *others)],
        ):
            self._building[key] = self._builder.submit(self._make, key)
            return
        refused: Future[Renderer] = Future()
        refused.set_exception(
            DinarError(
                f"{key.size[1]}x{key.size[0]} pixels need about {self._need(key) / 2**20:.0f} MiB, more than the "
                f"server's budget of {self._budget.limit / 2**20:.0f} MiB leaves; ask for a smaller size, or start "
                "the server with more --memory"
            )
        )
        self._building[key] = refused

    def _give_up(self, key: RendererKey) -> None:
        """Another one takes its place."""
        if key in self._renderers:
            self._builder.submit(self._renderers.pop(key).close)
        elif key in self._building:
            self._discard(key, self._building.pop(key))

    def _discard(self, key: RendererKey, future: Future[Renderer]) -> None:
        if self._budget is not None:
            self._budget.give_back((self, key))
        if not future.cancel():
            future.add_done_callback(self._closed)

    def _closed(self, future: Future[Renderer]) -> None:
        if not future.cancelled() and future.exception() is None:
            future.result().close()

    def get(self, key: RendererKey) -> Renderer:
        """The renderer for `key`; waits where it is still being made. Raises what making it raised, once per
        attempt, and DinarError where the budget has no room for it."""
        if key not in self._renderers:
            while key not in self._building:
                self._build(key)
            future = self._building.pop(key)
            try:
                renderer = future.result()
            except BaseException:
                if self._budget is not None:
                    self._budget.give_back((self, key))
                raise
            self._renderers[key] = renderer
            self._account(key, renderer)
            while len(self._renderers) > self._most:
                oldest = next(k for k in self._renderers if k != key and k not in self._held)
                if self._budget is not None:
                    self._budget.give_back((self, oldest))
                self._builder.submit(self._renderers.pop(oldest).close)
        self._renderers.move_to_end(key)
        if self._budget is not None:
            self._budget.touch((self, key))
        return self._renderers[key]

    def _account(self, key: RendererKey, renderer: Renderer) -> None:
        if self._budget is None:
            return
        self._per_pixel.setdefault(key.renderer, renderer.memory / (key.size[0] * key.size[1]))
        self._budget.charge((self, key), renderer.memory)

    def __len__(self) -> int:
        return len(self._renderers)

    def close(self) -> None:
        """Closes every renderer. One that is still being made is closed when it is done, for nothing can
        interrupt a compiler."""
        while self._building:
            self._discard(*self._building.popitem())
        while self._renderers:
            key, renderer = self._renderers.popitem()
            if self._budget is not None:
                self._budget.give_back((self, key))
            renderer.close()


def builder() -> ThreadPoolExecutor:
    """One thread that makes renderers, one after the other: two at once would take the cores away from the
    frames."""
    return ThreadPoolExecutor(1, thread_name_prefix="dinar-build")
