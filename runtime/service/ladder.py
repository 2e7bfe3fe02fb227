"""Ladder: the renderers of an avatar that requests may get, and which of them each does."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import cv2
import numpy as np

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.stream import RenderRequest

from .demand import Demand, high
from .quality import FIT, OTHER_MS, SCALES, Quality, Rung
from .renderer_pool import RendererKey, RendererPool

log = logging.getLogger(__name__)

MEASURE_QUANTILE = 0.75
MEASURE_FRAMES, MEASURE_SECONDS, LEAST_FRAMES = 16, 1.5, 3  # of each renderer at the start
SCALED_COST = 1.5  # exponent: what does not depend on the pixels is about as dear as half of what does


class Ladder:
    """Which renderer a request gets: the one that it names, else the one that holds the rate.

    default: the renderer that all get until `measure`, and for ever where demand is None. names: of the
    avatar's renderers among which it may be chosen.
    quality: the choice, once measured. For the thread that renders.
    """

    def __init__(
        self, avatar: Avatar, default: str, names: Sequence[str], pool: RendererPool, demand: Demand | None
    ):
        self._avatar = avatar
        self._default = default
        self._names = list(names)
        self._pool = pool
        self.demand = demand
        self.quality: Quality | None = None
        self._on_gpu = False
        self._last: tuple[RenderRequest, Callable[[Rung], object]] | None = None
        self._candidate: Rung | None = None

    # ---- at the start --------------------------------------------------------------------------------------

    def measure(
        self,
        size: tuple[int, int],
        poses: Sequence[Pose],
        camera: Camera,
        warm: Callable[[Renderer], object],
    ) -> None:
        """Makes the renderers of `size` (height, width), as far as there is room for them, and measures what a
        frame of each costs. warm: to be called before one is measured. One that cannot be made is logged and left
        out."""
        if self.demand is None:
            return
        costs: dict[Rung, float] = {}
        for name in sorted(self._names, key=lambda name: name != self._default):
            network = self._avatar.renderers[name].type.needs_network
            if network and self._ample(costs):
                continue
            try:
                renderer = self._pool.hold(self._key(size, Rung(name)))
            except DinarError as e:
                if name == self._default:
                    raise
                log.warning("renderer %s is left out of the choice: %s", name, e)
                continue
            if renderer is not None:
                self._on_gpu = self._on_gpu or renderer.device != "cpu"
                warm(renderer)
                costs[Rung(name)] = self._cost(renderer, poses, camera)
        cheapest = min(costs, key=lambda rung: costs[rung])
        too_slow = costs[cheapest] > FIT * (1e3 / self.demand.most - OTHER_MS)
        for scale in SCALES:
            rung = Rung(cheapest.renderer, scale)
            costs[rung] = costs[cheapest] * scale**SCALED_COST
            if too_slow:
                renderer = self._pool.get(self._key(size, rung))
                smaller = scaled_camera(camera, size, renderer.size)
                for pose in poses:
                    renderer.render(pose, smaller)
                costs[rung] = self._cost(renderer, poses, smaller)
        self.quality = Quality(self.demand.most, costs, demand=self.demand, clock=self.demand.clock)

    def _ample(self, costs: dict[Rung, float]) -> bool:
        """Whether another network is not worth its minutes of building: on a GPU, where one needs less than half
        of the time that there is."""
        assert self.demand is not None  # else nothing is measured
        most = FIT / 2 * max(1e3 / self.demand.most - OTHER_MS, 1.0)
        return self._on_gpu and any(cost <= most for cost in costs.values())

    def _cost(self, renderer: Renderer, poses: Sequence[Pose], camera: Camera) -> float:
        """Milliseconds of a frame, but for one in four: what else the machine does while it starts is no reason."""
        assert self.demand is not None  # else nothing is measured
        clock, taken = self.demand.clock, []
        begun = clock()
        while len(taken) < MEASURE_FRAMES and (
            clock() - begun < MEASURE_SECONDS or len(taken) < LEAST_FRAMES
        ):
            start = clock()
            renderer.render(poses[len(taken) % len(poses)], camera)
            taken.append((clock() - start) * 1e3)
        return high(taken, MEASURE_QUANTILE)

    # ---- for each request ----------------------------------------------------------------------------------

    def check(self, request: RenderRequest) -> None:
        """Raises InputError where it names a renderer that the avatar does not have."""
        if request.renderer and request.renderer not in self._avatar.renderers:
            raise InputError(
                f"renderer: got {request.renderer!r}, the avatar has {', '.join(self._avatar.renderers)}"
            )

    def rung(self, request: RenderRequest) -> Rung:
        """What to render it with: the choice, or, while that is still being made for such frames, the nearest
        one that is there. Raises InputError."""
        self.check(request)
        wanted = self._wanted(request)
        if request.renderer or self.quality is None or self._there(request, wanted):
            return wanted
        return next((rung for rung in self._instead(request, wanted) if self._there(request, rung)), wanted)

    def ready(self, request: RenderRequest) -> bool:
        """Whether it can be rendered at once; what is missing for it is made from now on."""
        try:
            wanted = self._wanted(request)
            self.check(request)
        except InputError:
            return True  # `rung` says what is wrong
        keys = self.keys(request, wanted)
        if all([self._pool.ready(key, keys) for key in keys]):
            return True
        if request.renderer or self.quality is None:
            return False
        return any(self._there(request, rung) for rung in self._instead(request, wanted))

    def prepare(self, request: RenderRequest) -> None:
        """Has what such requests may need made in the background, where it takes nobody's place."""
        rungs = [self._wanted(request)]
        if self.quality is not None and not request.renderer:
            rungs += [rung for rung in self._instead(request, rungs[0]) if rung.scale == 1]
        for rung in rungs:
            for key in self.keys(request, rung):
                self._pool.prepare(key)

    def rendered(
        self, request: RenderRequest, rung: Rung, began: float, again: Callable[[Rung], object]
    ) -> bool:
        """A frame was rendered from `began` (seconds) until now; whether another rung was chosen for that. again:
        renders it once more, with another rung."""
        if self.quality is None or self.demand is None:
            return False
        self._last = (request, again)
        milliseconds = (self.demand.clock() - began) * 1e3
        chosen = None if request.renderer else rung
        return self.quality.note(request.client, request.asked, chosen, milliseconds, began)

    def keys(self, request: RenderRequest, rung: Rung) -> list[RendererKey]:
        """The renderers that a request needs: one if its cameras have one size, else one each."""
        return [self._key(key.size, rung, key.straight, key.depth) for key in renderer_keys(request)]

    def chosen_key(self, size: tuple[int, int]) -> RendererKey | None:
        """The renderer of the choice for whole frames of `size`; None without a choice."""
        return None if self.quality is None else self._key(size, Rung(self.quality.choice.rung.renderer))

    # ---- spare time ----------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether a better choice should be tried now."""
        self._candidate = None
        if self.quality is None or self._last is None or (rung := self.quality.candidate) is None:
            return False
        request = self._last[0]
        if request.renderer:
            return False
        if not self._there(request, rung):
            for key in self.keys(request, rung):
                self._pool.prepare(key)
            return False
        self._candidate = rung
        return True

    def use(self) -> bool:
        """Tries it; whether it was chosen for that."""
        if self.quality is None or self.demand is None or self._last is None or self._candidate is None:
            return False
        request, again = self._last
        start = self.demand.clock()
        again(self._candidate)
        taken = (self.demand.clock() - start) * 1e3
        return self.quality.tried(self._candidate, request.client, taken)

    # ---- parts ---------------------------------------------------------------------------------------------

    def _wanted(self, request: RenderRequest) -> Rung:
        if request.renderer:
            return Rung(request.renderer)
        if self.quality is None:
            return Rung(self._default)
        return self._allowed(request, self.quality.choice.rung)

    @staticmethod
    def _allowed(request: RenderRequest, rung: Rung) -> Rung:
        """Depth and colours that are not multiplied by alpha cannot be scaled up without wrong edges."""
        return Rung(rung.renderer) if request.format.straight or request.format.depth else rung

    def _instead(self, request: RenderRequest, wanted: Rung) -> Iterable[Rung]:
        """Others that may serve: cheaper ones, the nearest first, then dearer ones."""
        assert self.quality is not None  # asked by whoever has a choice
        rungs = self.quality.rungs
        at = rungs.index(wanted)
        for rung in [*rungs[at + 1 :], *reversed(rungs[:at])]:
            if self._allowed(request, rung) == rung:
                yield rung

    def _there(self, request: RenderRequest, rung: Rung) -> bool:
        return all(self._pool.there(key) for key in self.keys(request, rung))

    def _key(
        self, size: tuple[int, int], rung: Rung, straight: bool = False, depth: bool = False
    ) -> RendererKey:
        name = "" if rung.renderer == self._default else rung.renderer
        return RendererKey(scaled(size, rung.scale), straight, depth, name)


def renderer_keys(request: RenderRequest) -> list[RendererKey]:
    """The default renderers for a request: one if its cameras have one size, else one each."""
    sizes = [view.size for view in request.cameras]
    return [
        RendererKey(size, request.format.straight, request.format.depth != 0)
        for size in (sizes[:1] if len(set(sizes)) == 1 else sizes)
    ]


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) of what is rendered for a frame of `size`."""
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def scaled_camera(camera: Camera, size: tuple[int, int], smaller: tuple[int, int]) -> Camera:
    """The same view in a picture of another size, both (height, width): the edges stay where they are."""
    if size == smaller:
        return camera
    across, down = smaller[1] / size[1], smaller[0] / size[0]
    return Camera(np.diag([across, down, 1.0]).astype(np.float32) @ camera.K, camera.world_to_camera)


def enlarged(rgba: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Premultiplied u8[h,w,4] scaled up to `size` (height, width), edges to edges."""
    if rgba.shape[:2] == size:
        return rgba
    return cv2.resize(rgba, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def differs(old: Mapping | None, new: Mapping | None) -> bool:
    """Whether what clients are told of a choice is out of date."""
    if old is None or new is None:
        return old is not new
    same = old["renderer"] == new["renderer"] and old["scale"] == new["scale"]
    return not same or not 0.9 <= (old["holds"] + 1e-3) / (new["holds"] + 1e-3) <= 1.1
