"""CpuPipeline: the whole frame on the CPU, on preallocated buffers."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dinar_live import engines, kernels
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose

from .frame import RING, STAGES, Frame
from .options import RenderPlan
from .shading import SHADERS, Place, Seen
from .window import Window, enlarged, fit_window, inside


class _View:
    """What one camera has of its own. close: the body does not fit into the frame."""

    def __init__(self, plan: RenderPlan, vertices: int):
        H, W = plan.size
        self.close = False
        self.projective = np.empty((vertices, 3), np.float32)
        self.ring = [np.zeros((H, W, 4), np.uint8) for _ in range(RING)]
        self.depth_ring = [np.zeros((H, W), np.float32) for _ in range(RING)] if plan.options.depth else None


class _Clock:
    """Milliseconds per stage, summed over views."""

    def __init__(self):
        self.timings: dict[str, float] = dict.fromkeys((*STAGES, "total"), 0.0)
        self._start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] += (now - self._last) * 1e3
        self._last = now

    def stop(self) -> dict[str, float]:
        self.timings["total"] = (self._last - self._start) * 1e3
        return self.timings


class CpuPipeline:
    """The CPU's kernels, and the shader of the renderer's type. why: it is the CPU.

    Raises DinarError, kernels' ValueError and EngineError.
    """

    device = "cpu"
    rasterizer_name = "native"

    def __init__(self, plan: RenderPlan, why: str = ""):
        self._plan = plan
        self._why = why
        h, w = plan.padded
        samples = h * w * plan.spec.samples**2
        self._vertices = np.empty((len(plan.avatar.rig.model.vertices), 3), np.float32)
        self._id = np.empty(samples, np.int32)
        self._barycentrics = np.empty(samples * 3, np.float32)
        self._depth = np.empty(samples, np.float32)
        self._views = [_View(plan, len(self._vertices))]  # more when they are asked for
        self._calls = 0
        self._shader = SHADERS[plan.spec.type.name](plan)

    @property
    def engine_info(self) -> engines.EngineInfo | None:
        """None without a network."""
        return self._shader.engine_info

    @property
    def memory(self) -> int:
        """Bytes that this size of frame takes and keeps, by estimate."""
        (H, W), options = self._plan.size, self._plan.options
        frames = len(self._views) * RING * H * W * (8 if options.depth else 4)
        return frames + self._id.nbytes + self._barycentrics.nbytes + self._depth.nbytes + self._shader.memory

    def describe(self) -> str:
        """What runs, for people."""
        info = self.engine_info
        net = f"{info.name} {info.precision} ({info.reason})" if info else "no network"
        return f"rasterizer {self.rasterizer_name} (CPU{': ' if self._why else ''}{self._why}), engine {net}"

    def windows(self, pose: Pose, cameras: Sequence[Camera]) -> list[Window | None]:
        """The part of each frame that the body is in."""
        return self._place(pose, cameras, _Clock())

    def render(self, pose: Pose, cameras: Sequence[Camera]) -> tuple[Frame, ...]:
        """One frame per camera."""
        clock = _Clock()
        windows = self._place(pose, cameras, clock)
        slot = self._calls % RING
        self._calls += 1
        for view, window in zip(self._views, windows, strict=False):
            if window is None:
                view.ring[slot][:] = self._plan.blank
                if view.depth_ring:
                    view.depth_ring[slot][:] = 0
        clock.lap("compose")
        # One by one: for a CPU's caches two frames at once are slower than one after the other
        # (docs/benchmarks.md).
        for i, window in enumerate(windows):
            if window is not None:
                windows[i] = self._draw(self._views[i], window, slot, clock)
        timings = clock.stop()
        straight = self._plan.options.straight
        return tuple(
            Frame(
                view.ring[slot], view.depth_ring[slot] if view.depth_ring else None, timings, window, straight
            )
            for view, window in zip(self._views, windows, strict=False)
        )

    def _place(self, pose: Pose, cameras: Sequence[Camera], clock: _Clock) -> list[Window | None]:
        """Skin the body, project it into every view and fit the windows."""
        plan, options = self._plan, self._plan.options
        rig, spec = plan.avatar.rig, plan.spec
        s = spec.samples
        while len(self._views) < len(cameras):
            self._views.append(_View(plan, len(self._vertices)))
        kernels.lbs(
            rig.model, pose.body, pose.transl, pose.expression, out=self._vertices, threads=options.threads
        )
        clock.lap("lbs")
        windows = []
        for view, camera in zip(self._views, cameras, strict=False):
            matrix = camera.matrix if s == 1 else np.diag([s, s, 1.0]) @ camera.matrix
            _, bounds = kernels.project(self._vertices, matrix, out=view.projective)
            if bounds is not None:
                bounds = bounds / s
            view.close = bounds is None or not inside(bounds, plan.size)
            windows.append(
                fit_window(
                    bounds if options.crop else None,
                    plan.size,
                    margin=max(spec.margin, int(plan.smooth_edges)),  # an outline needs its neighbours
                    stride=spec.stride,
                    bucket=self._shader.bucket,
                )
            )
        clock.lap("project")
        return windows

    def _draw(self, view: _View, window: Window, slot: int, clock: _Clock) -> Window:
        """One view's frame; returns the window that it got, which is larger than asked for while the
        network is being compiled."""
        plan, options = self._plan, self._plan.options
        rig, spec, threads = plan.avatar.rig, plan.spec, options.threads
        s = spec.samples
        shading = self._shader.at(window.height, window.width)
        window = enlarged(window, (shading.height, shading.width), plan.padded)
        h, w = window.height * s, window.width * s
        depth = self._depth[: h * w].reshape(h, w)
        raster = kernels.Raster(
            self._id[: h * w].reshape(h, w), self._barycentrics[: 3 * h * w].reshape(h, w, 3), depth
        )
        kernels.rasterize(
            view.projective,
            rig.faces,
            (h, w),
            origin=(window.x0 * s, window.y0 * s),
            out=raster,
            threads=threads,
        )
        clock.lap("rasterize")
        shading.gather(Seen(raster, (window.x0 * s, window.y0 * s), view.projective, view.close))
        clock.lap("gather")
        shading.run()
        clock.lap("network")
        depth_out = view.depth_ring[slot] if view.depth_ring else None
        shading.compose(
            Place((window.x0, window.y0), view.ring[slot], depth if view.depth_ring else None, depth_out)
        )
        clock.lap("compose")
        return window

    def close(self) -> None:
        """Free the network's instances."""
        self._shader.close()
