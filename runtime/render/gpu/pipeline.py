"""GpuPipeline: the whole frame on an NVIDIA GPU, replayed as CUDA graphs."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dinar_live import engines
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render.compiled_sizes import Key
from dinar_live.runtime.render.frame import GPU_TIME, RING, STAGES, Frame
from dinar_live.runtime.render.framing import whole_body_camera
from dinar_live.runtime.render.options import RenderPlan
from dinar_live.runtime.render.window import Window, enlarged, fit_window, inside

from .device import SharedGpu
from .rasterizer import open_rasterizer
from .shading import SHADERS, DeviceShader, Instance
from .work import FrameWork, Ring

BUCKET = 128
"""Pixels: windows come in coarser steps than on a CPU, because an engine for a GPU takes longer to build and
more memory."""
MAX_WORKS = 16
CAPTURES = 3
"""Captures of later sizes that may fail, one after the other, before frames are single launches for good."""
SLEEP_MS = 1.0
"""A wait for the GPU that is expected to be longer than this sleeps; a shorter one spins, which costs a core but
no wake-up."""
ONE_GRAPH, SPLIT_GRAPHS, EAGER = (
    "one CUDA graph per frame",
    "several CUDA graphs per frame",
    "single launches",
)

_log = logging.getLogger(__name__)
_Group = list[tuple[int, Window]]


class GpuPipeline:
    """The CUDA kernels and the shader of the renderer's type on the same GPU. Only pose, cameras and windows
    go there and only frames come back.

    The window of a view comes from BodyBounds on the host. A frame is one graph launch (more where a
    rasterizer or a network between them cannot be captured) and the copy of the frame; a size's first frame runs
    step by step. At the start two poses are rendered both ways: if the frames differ, or the capture fails,
    every frame runs step by step, and `describe` says why. A capture that fails later is tried again some times,
    because what other threads do on the GPU can end it. The option stage_times measures each stage with events, which also
    means step by step. Raises EngineError, DinarError.
    """

    def __init__(self, plan: RenderPlan, gpu: SharedGpu):
        options = plan.options
        self._plan = plan
        self._gpu = gpu
        self.device = f"cuda:{gpu.index}"
        self._calls = 0
        self._shader: DeviceShader | None = None
        self._works: OrderedDict[Key, FrameWork] = OrderedDict()
        self._rings: list[list[Ring]] = []
        self._events: list[Any] | None = None
        self._waited = 0.0  # ms, for the frame before
        self._failures = 0
        self._reason = "for the times of the stages" if options.stage_times else ""
        self.level = EAGER if options.stage_times else ONE_GRAPH
        self.engine_info: engines.EngineInfo | None = None
        avatar = plan.avatar
        try:
            gpu.device.make_current()
            shader = self._shader = SHADERS[plan.spec.type.name](plan, gpu)
            shader.watch(self._forget)
            self.engine_info = shader.engine_info
            with gpu.lock:
                self._done = gpu.device.event(), gpu.device.event(blocking=True)
                self._body, self._bounds = gpu.body(avatar.rig)
                self._rasterizer = open_rasterizer(options.rasterizer, gpu)
                self.rasterizer_name = self._rasterizer.name if self._rasterizer else "native"
                self._scene = gpu.scene(avatar.rig, plan.spec, shader.dtype)
                if options.stage_times:
                    self._events = [gpu.device.event(timing=True) for _ in range(len(STAGES) + 4)]
                else:
                    self._check_replay(shader)
        except BaseException as e:
            self.close()
            # CudaError, what torch says of its part of the GPU, a body that is too large for the kernels
            if isinstance(e, RuntimeError | ValueError) and not isinstance(e, DinarError):
                raise DinarError(f"{gpu.device.name}: {e}") from e
            raise

    @property
    def memory(self) -> int:
        """Nothing: what is on the GPU is not counted."""
        return 0

    def describe(self) -> str:
        """What runs, for people."""
        info = self.engine_info
        net = f"{info.name} {info.precision} ({info.reason})" if info else "no network"
        level = f"{self.level} ({self._reason})" if self._reason else self.level
        return f"rasterizer {self.rasterizer_name} ({self._gpu.device.name}), engine {net}, {level}"

    # ---- one call ------------------------------------------------------------------------------------------

    def windows(self, pose: Pose, cameras: Sequence[Camera]) -> list[Window | None]:
        """The part of each frame that the body can be in."""
        return [window for window, _ in self._looks(pose, cameras)]

    def _looks(self, pose: Pose, cameras: Sequence[Camera]) -> list[tuple[Window | None, bool]]:
        """The part of each frame that the body can be in, and whether its edges are smoothed there: what has several
        samples anyway does without where the body is seen whole."""
        plan, spec = self._plan, self._plan.spec
        self._bounds.place(pose)
        looks: list[tuple[Window | None, bool]] = []
        for camera in cameras:
            box = self._bounds.box(camera)
            close = box is None or not np.isfinite(box).all() or not inside(box, plan.size)
            bounded = plan.options.crop and box is not None and np.isfinite(box).all()
            window = (
                None
                if box is None
                else fit_window(
                    box if bounded else None,
                    plan.size,
                    margin=max(spec.margin, int(plan.smooth_edges)),  # an outline needs its neighbours
                    stride=spec.stride,
                    bucket=BUCKET,
                )
            )
            looks.append((window, plan.smooth_edges and (close or spec.samples == 1)))
        return looks

    def render(self, pose: Pose, cameras: Sequence[Camera]) -> tuple[Frame, ...]:
        """One frame per camera."""
        start = time.perf_counter()
        timings: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        try:
            looks = self._looks(pose, cameras)
            windows, smooth = [list(part) for part in zip(*looks, strict=True)] if looks else ([], [])
            timings["project"] = (time.perf_counter() - start) * 1e3
            self._gpu.device.make_current()  # the caller's thread may be new
            slot = self._calls % RING
            self._calls += 1
            rings = self._slots(slot, len(cameras))
            for ring, window in zip(rings, windows, strict=True):
                if window is None:
                    ring.rgba[:] = self._plan.blank
                    if ring.depth is not None:
                        ring.depth[:] = 0
            launched = time.perf_counter()
            for work, group in self._batches(windows):
                while not self._draw(work, (pose, cameras, smooth), group, rings, timings):
                    (work, group), *_ = self._batches(windows, [i for i, _ in group])
                for i, window in group:
                    windows[i] = window
        except RuntimeError as e:
            raise DinarError(f"{self._gpu.device.name}: {e}") from e
        end = time.perf_counter()
        if self._events is None:
            timings[GPU_TIME] = (end - launched) * 1e3
        timings["total"] = (end - start) * 1e3
        return tuple(
            Frame(ring.rgba, ring.depth, timings, window, self._plan.options.straight)
            for ring, window in zip(rings, windows, strict=True)
        )

    def _slots(self, slot: int, views: int) -> list[Ring]:
        H, W = self._plan.size
        pinned = self._gpu.device.pinned
        while len(self._rings) < views:
            self._rings.append(
                [
                    Ring(
                        pinned((H, W, 4), np.uint8),
                        pinned((H, W), np.float32) if self._plan.options.depth else None,
                    )
                    for _ in range(RING)
                ]
            )
        return [view[slot] for view in self._rings[:views]]

    def _batches(
        self, windows: Sequence[Window | None], only: Sequence[int] | None = None
    ) -> Iterator[tuple[FrameWork, _Group]]:
        """(work, views with the windows they get): the views together if there is an instance for so many,
        else one by one. only: these views."""
        views = range(len(windows)) if only is None else only
        seen = [(i, w) for i in views if (w := windows[i]) is not None]
        if not seen:
            return
        assert self._shader is not None, "used after close()"
        full, n = self._plan.padded, len(seen)
        height, width = max(w.height for _, w in seen), max(w.width for _, w in seen)
        key, instance = self._shader.at(n, height, width)
        groups = [seen] if key[0] == n else [[view] for view in seen]
        for group in groups:
            work = self._work(self._shader, key, instance)
            yield work, [(i, enlarged(w, key[1:], full)) for i, w in group]

    def _work(self, shader: DeviceShader, key: Key, instance: Instance) -> FrameWork:
        with self._gpu.lock:
            work = self._works.get(key)
            if work is None or work.instance is not instance:
                if len(self._works) >= MAX_WORKS:
                    self._works.popitem(last=False)[1].close()
                shading = shader.shading(key, instance, self._scene)
                work = FrameWork(
                    self._gpu,
                    self._body,
                    self._scene,
                    self._plan,
                    shading,
                    key,
                    self._rasterizer,
                    instance,
                )
                self._works[key] = work
            self._works.move_to_end(key)
        return work

    def _forget(self, instance: Any) -> None:
        """See DeviceShader.watch."""
        with self._gpu.lock:
            for key, work in list(self._works.items()):
                if work.instance is instance:
                    self._works.pop(key).close()

    def _draw(
        self,
        work: FrameWork,
        frame: tuple[Pose, Sequence[Camera], Sequence[bool]],
        group: _Group,
        rings: Sequence[Ring],
        timings: dict[str, float],
    ) -> bool:
        """frame: pose, cameras, and whose edges are smoothed. False where another thread has closed this work
        meanwhile, to make room."""
        pose, cameras, smooth = frame
        views = tuple(i for i, _ in group)
        work.fill(pose, [cameras[i] for i in views], [w for _, w in group], [smooth[i] for i in views])
        targets = [rings[i] for i in views]
        with self._gpu.lock:
            if work.closed:
                return False
            if self._events is not None:
                self._measured(work, targets, timings, self._events)
                return True
            if self.level == EAGER or not work.ran:
                work.run(targets)
            else:
                self._replay(work, targets)
            done = self._done[self._waited > SLEEP_MS]
            self._gpu.stream.record(done)
        start = time.perf_counter()
        done.synchronize()
        self._waited = (time.perf_counter() - start) * 1e3
        return True

    def _replay(self, work: FrameWork, targets: Sequence[Ring]) -> None:
        cuda = self._gpu.cuda
        try:
            work.capture()
        except cuda.CaptureBusy:  # this frame only
            work.run(targets)
        except (cuda.CudaError, engines.EngineError) as e:
            self._failures += 1
            if self._failures >= CAPTURES:
                self._fall_back(f"a CUDA graph failed: {e}")
            else:
                _log.info("a CUDA graph failed, to be tried again: %s", e)
            work.run(targets)
        else:
            self._failures = 0
            work.replay(targets)

    def _fall_back(self, reason: str) -> None:
        self.level = EAGER
        self._reason = reason
        _log.warning("frames run as single launches: %s", reason)
        for work in self._works.values():
            work.forget_graphs()

    def _measured(
        self, work: FrameWork, targets: Sequence[Ring], timings: dict[str, float], events: list[Any]
    ) -> None:
        stream = self._gpu.stream
        stages: list[str] = []
        stream.record(events[0])

        def after(stage: str) -> None:
            stages.append(stage)
            stream.record(events[len(stages)])

        work.run(targets, after)
        stream.synchronize()
        for i, stage in enumerate(stages):
            timings[stage] += events[i + 1].elapsed_ms(events[i])

    # ---- start and end -------------------------------------------------------------------------------------

    def _check_replay(self, shader: DeviceShader) -> None:
        """Render two poses step by step and as graphs; fall back to single launches unless the frames are
        the same."""
        plan, rig = self._plan, self._plan.avatar.rig
        key, instance = shader.at(1, *plan.padded)
        work = self._work(shader, key, instance)
        window = Window(0, 0, key[2], key[1])
        ring = self._slots(0, 1)[0]
        bent = np.zeros((55, 3), np.float32)
        bent[16:20, 2] = 0.8, -0.8, 0.5, -0.5  # arms
        shots = [
            (pose, whole_body_camera(rig, rig.joints[0], plan.size, azimuth=a))
            for pose, a in ((Pose(), 0.0), (Pose(bent), 2.0))
        ]

        def frames(put_on_stream: Callable[[], None]) -> list[np.ndarray]:
            result = []
            for pose, camera in shots:
                work.fill(pose, [camera], [window], [plan.smooth_edges])
                put_on_stream()
                self._gpu.stream.synchronize()
                result.append(ring.rgba.copy())
            return result

        eager = frames(lambda: work.run([ring]))
        try:
            work.capture(wait=True)
            replayed = frames(lambda: work.replay([ring]))
        except (self._gpu.cuda.CudaError, engines.EngineError) as e:
            self._fall_back(f"a CUDA graph failed: {e}")
            return
        # An engine may add in another order from run to run; anything more is a graph that does not see its
        # inputs.
        differs = max(int(np.abs(a.astype(np.int16) - b).max()) for a, b in zip(eager, replayed, strict=True))
        if differs > 1:
            self._fall_back(f"replayed graphs differ from single launches by up to {differs} of 255")
        elif np.array_equal(replayed[0], replayed[1]) and not np.array_equal(eager[0], eager[1]):
            self._fall_back("replayed graphs give the same picture for two poses")
        elif work.parts() > 1:
            self.level = SPLIT_GRAPHS

    def close(self) -> None:
        """Free what only this renderer uses. Frames already returned stay valid."""
        gpu = self._gpu
        for work in self._works.values():
            work.close()
        self._works.clear()
        if self._shader is not None:
            shader = self._shader
            self._shader = None
            try:
                shader.close()
            except gpu.cuda.CudaError as e:  # what broke it was already told
                _log.warning("%s: %s", gpu.device.name, e)
