"""CpuPipeline: the whole frame on the CPU, on preallocated buffers."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dinar_live import engines, kernels
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose

from .compiled_sizes import LATER, NOW, CompiledSizes
from .frame import RING, STAGES, Frame
from .options import RenderOptions
from .window import BUCKET, Window, enlarged, fit_window


class _View:
    """What one camera has of its own."""

    def __init__(self, options: RenderOptions, vertices: int):
        H, W = options.size
        self.projective = np.empty((vertices, 3), np.float32)
        self.ring = [np.zeros((H, W, 4), np.uint8) for _ in range(RING)]
        self.depth_ring = [np.zeros((H, W), np.float32) for _ in range(RING)] if options.depth else None


class _Clock:
    """Milliseconds per stage, summed over views."""

    def __init__(self):
        self.timings = dict.fromkeys((*STAGES, "total"), 0.0)
        self._start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] += (now - self._last) * 1e3
        self._last = now

    def stop(self) -> dict[str, float]:
        self.timings["total"] = (self._last - self._start) * 1e3
        return self.timings


class CpuPipeline:
    """The CPU's kernels, and a network in whichever engine. engine, precision: of engines.create_engine;
    background_compile: of Renderer;
    why: it is the CPU.

    `engine_info` is None without a network. Raises DinarError, kernels' ValueError and EngineError.
    """

    device, rasterizer_name = "cpu", "native"

    def __init__(
        self, options: RenderOptions, *, engine: str, precision: str, background_compile: bool, why: str = ""
    ):
        self._options, self._why, spec = options, why, options.spec
        self._missing = LATER if background_compile else NOW
        self._texture = spec.float_texture()
        h, w = options.padded
        samples = h * w * spec.samples**2
        self._vertices = np.empty((len(options.avatar.rig.model.vertices), 3), np.float32)
        self._id = np.empty(samples, np.int32)
        self._barycentrics = np.empty(samples * 3, np.float32)
        self._depth = np.empty(samples, np.float32)
        self._views = [_View(options, len(self._vertices))]  # more when they are asked for
        self._calls = 0
        self._engine = self._sessions = self._features = None
        self.engine_info: engines.EngineInfo | None = None
        if spec.model is None:
            self._features = np.empty(6 * samples, np.float32)
        else:
            where = {"device": "cpu"} if engine in ("auto", "torch") else {}  # the others have no choice
            self._engine = engines.create_engine(
                spec.model, engine, precision=precision, threads=options.threads, **where
            )
            self._sessions = CompiledSizes(self._engine.compile)
            self.engine_info = self._engine.info
            check_contract(self._sessions.require((1, h, w)), self._texture.shape[2])

    def describe(self) -> str:
        """What runs, for people."""
        net = (
            f"{self.engine_info.name} {self.engine_info.precision} ({self.engine_info.reason})"
            if self.engine_info
            else "no network"
        )
        return f"rasterizer {self.rasterizer_name} (CPU{': ' if self._why else ''}{self._why}), engine {net}"

    def windows(self, pose: Pose, cameras: Sequence[Camera]) -> list[Window | None]:
        """The part of each picture that the body is in."""
        return self._place(pose, cameras, _Clock())

    def render(self, pose: Pose, cameras: Sequence[Camera]) -> tuple[Frame, ...]:
        """One frame per camera."""
        clock = _Clock()
        windows = self._place(pose, cameras, clock)
        slot = self._calls % RING
        self._calls += 1
        for view, window in zip(self._views, windows, strict=False):
            if window is None:
                view.ring[slot][:] = self._options.blank
                if view.depth_ring:
                    view.depth_ring[slot][:] = 0
        clock.lap("compose")
        # One by one: for a CPU's caches two pictures at once are slower than one after the other
        # (docs/benchmarks.md).
        for i, window in enumerate(windows):
            if window is not None:
                windows[i] = self._draw(self._views[i], window, slot, clock)
        timings = clock.stop()
        return tuple(
            Frame(view.ring[slot], view.depth_ring[slot] if view.depth_ring else None, timings, window)
            for view, window in zip(self._views, windows, strict=False)
        )

    def _place(self, pose: Pose, cameras: Sequence[Camera], clock: _Clock) -> list[Window | None]:
        """Skin the body, project it into every view and fit the windows."""
        options, rig, spec, s = (
            self._options,
            self._options.avatar.rig,
            self._options.spec,
            self._options.spec.samples,
        )
        while len(self._views) < len(cameras):
            self._views.append(_View(options, len(self._vertices)))
        kernels.lbs(
            rig.model, pose.body, pose.transl, pose.expression, out=self._vertices, threads=options.threads
        )
        clock.lap("lbs")
        windows = []
        for view, camera in zip(self._views, cameras, strict=False):
            matrix = camera.matrix if s == 1 else np.diag([s, s, 1.0]) @ camera.matrix
            _, bounds = kernels.project(self._vertices, matrix, out=view.projective)
            if bounds is not None:
                bounds = [b / s for b in bounds]
            windows.append(
                fit_window(
                    bounds if options.crop else None,
                    options.size,
                    margin=spec.margin,
                    stride=spec.stride,
                    bucket=1 if spec.model is None else BUCKET,
                )
            )
        clock.lap("project")
        return windows

    def _draw(self, view: _View, window: Window, slot: int, clock: _Clock) -> Window:
        """One view's picture; returns the window that it got, which is larger than asked for while the
        network is being compiled."""
        options, rig, spec, threads = (
            self._options,
            self._options.avatar.rig,
            self._options.spec,
            self._options.threads,
        )
        session, s = None, spec.samples
        if self._sessions is not None:
            key, session = self._sessions.get(1, window.height, window.width, self._missing)
            window = enlarged(window, key[1:], options.padded)
        h, w = window.height * s, window.width * s
        features = (
            self._features[: 6 * h * w].reshape(6, h, w) if session is None else session.inputs["features"][0]
        )
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
        kernels.gather_uv(raster, rig.uv, rig.uv_faces, self._texture, out=features, threads=threads)
        clock.lap("gather")
        if session is None:
            rgb, alpha = features[:3], features[5]
        else:
            session.enqueue()
            session.synchronize()
            rgb, alpha = session.outputs["rgb"][0], session.outputs["alpha"][0, 0]
        clock.lap("network")
        kernels.compose(
            rgb,
            alpha,
            mask=features[-1] if spec.hardsegm else None,
            threshold=spec.threshold,
            background=options.background,
            straight=options.straight,
            samples=s,
            origin=(window.x0, window.y0),
            depth=depth if view.depth_ring else None,
            depth_out=view.depth_ring[slot] if view.depth_ring else None,
            out=view.ring[slot],
            threads=threads,
        )
        clock.lap("compose")
        return window

    def close(self) -> None:
        """Free the network's instances."""
        if self._sessions is not None:
            self._sessions.close()
            self._engine.close()
            self._sessions = None


def check_contract(session: engines.Session | engines.DeviceSession, texture_channels: int) -> None:
    """DinarError unless the network takes and gives what a renderer network does."""
    channels = texture_channels + 3
    shape = session.inputs["features"].shape if "features" in session.inputs else None
    if shape is None or shape[1] != channels or not {"rgb", "alpha"} <= set(session.outputs):
        raise DinarError(
            f"model.onnx has inputs { {k: v.shape for k, v in session.inputs.items()} } and outputs "
            f"{sorted(session.outputs)}, expected features [N,{channels},H,W], rgb and alpha"
        )
