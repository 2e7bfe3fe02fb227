"""FrameWork: everything one batch and window size needs on a GPU, and the CUDA graphs that replay it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render.compiled_sizes import Key
from dinar_live.runtime.render.options import RenderPlan
from dinar_live.runtime.render.window import Window

from .device import SharedGpu
from .rasterizer import Rasterizer
from .shading import DeviceShading, Step

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import DeviceBody, DeviceScene


class Ring(NamedTuple):
    """Where one view's frame of one slot goes: page-locked rgba u8[H,W,4], depth f32[H,W] or None."""

    rgba: np.ndarray
    depth: np.ndarray | None


class FrameWork:
    """Buffers and launches for `key` = (views, height, width). shading: what fills the features
    of that size, turns them into colour and composes; instance: what it was made of. rasterizer: None = the kernels' own.
    All but the parameters lies in memory that other works use too, one frame after the other.

    `fill` writes what changes from frame to frame into page-locked memory; `steps` are the rest, always the same,
    and the copies into the caller's frames (`download`) follow them:

        upload, lbs, project | rasterize | gather | network | compose || download

    Nothing in the steps allocates or waits, so `capture` makes one CUDA graph of them, or two around a rasterizer
    that cannot be captured. Raises kernels.cuda.CudaError, EngineError.
    """

    def __init__(
        self,
        gpu: SharedGpu,
        body: DeviceBody,
        scene: DeviceScene,
        plan: RenderPlan,
        shading: DeviceShading,
        key: Key,
        rasterizer: Rasterizer | None = None,
        instance: Any = None,
    ):
        options, spec = plan.options, plan.spec
        cuda, device, program, stream = gpu.cuda, gpu.device, gpu.program, gpu.stream
        take = gpu.scratch.take
        n, h, w = key[0], key[1] * spec.samples, key[2] * spec.samples
        H, W = plan.size
        self.key = key
        self.instance = instance
        self.closed = False
        self.shading = shading
        self._gpu = gpu
        self._plan = plan
        self._replay: list[Step] = []
        self._graphs: list[Any] = []
        self.ran = False
        self._parameters = parameters = cuda.FrameParameters(device, body.joints, body.expressions, n)
        self._projective = projective = take("projective", (n, body.vertices, 3), np.float32)
        faces, shared = scene.faces.shape[0], gpu.scratch
        self._target = target = cuda.RasterTarget(device, h, w, faces, n, scratch=shared)
        fine = None
        if plan.smooth_edges:
            fine = cuda.RasterTarget(device, 2 * h, 2 * w, faces, n, scratch=shared, name="fine target")
        self._fine = fine
        self._rgba = take("rgba", (n, H, W, 4), np.uint8)
        depth = depth_out = None
        if options.depth:
            depth = take("depth", (n, h, w), np.float32)
            depth_out = take("depth out", (n, H, W), np.float32)
        self._depth_out = depth_out
        self._kept = body, scene, depth  # the launches below hold addresses only
        self.steps = [
            Step("lbs", lambda: parameters.upload(stream)),
            self._launches("lbs", program.lbs(body, parameters, projective)),
            self._launches(
                "rasterize", program.rasterize(scene, parameters, projective, target, samples=spec.samples)
            )
            if rasterizer is None
            else Step(
                "rasterize",
                lambda: rasterizer.rasterize(stream, scene, parameters, projective, target, spec.samples),
                rasterizer.capturable,
            ),
            self._launches("gather", shading.gather(parameters, projective, target, fine, depth)),
            *shading.steps,
            self._launches("compose", shading.compose(parameters, self._rgba, depth, depth_out)),
        ]

    def _launches(self, stage: str, launches) -> Step:
        program, stream = self._gpu.program, self._gpu.stream
        return Step(stage, lambda: program.run(stream, launches))

    def fill(
        self, pose: Pose, cameras: Sequence[Camera], windows: Sequence[Window], smooth: Sequence[bool]
    ) -> None:
        """What this frame is: a camera and a window of this work's size for each view, and whether its edges are
        smoothed. The frame before must be done."""
        host, s = self._parameters.host, self._plan.spec.samples
        host["body"][...], host["transl"][...] = pose.body, pose.transl
        expression, count = host["expression"], len(pose.expression)
        expression[:count], expression[count:] = pose.expression, 0
        for i, (camera, window) in enumerate(zip(cameras, windows, strict=True)):
            host["matrices"][i] = camera.matrix if s == 1 else np.diag([s, s, 1.0]) @ camera.matrix
            host["origins"][i] = window.x0, window.y0
            host["smooth"][i] = smooth[i]

    def download(self, rings: Sequence[Ring]) -> Step:
        """The frames of all views into their rings."""
        H, W = self._plan.size
        copies = []
        for i, ring in enumerate(rings):
            copies.append((self._rgba.view(i * H * W * 4, (H, W, 4), np.uint8), ring.rgba))
            if ring.depth is not None and self._depth_out is not None:
                copies.append((self._depth_out.view(i * H * W * 4, (H, W), np.float32), ring.depth))

        def run():
            for source, target in copies:
                source.copy_to(target, self._gpu.stream)

        return Step("compose", run)

    def run(self, rings: Sequence[Ring], after: Callable[[str], None] | None = None) -> None:
        """Put the frame on the stream step by step. after(stage): called when a step is on it."""
        for step in (*self.steps, self.download(rings)):
            step.run()
            if after is not None:
                after(step.stage)
        self.ran = True

    @property
    def captured(self) -> bool:
        """Whether `replay` may be called."""
        return bool(self._replay)

    def capture(self, wait: bool = False) -> None:
        """Make the graphs, unless they are there. `run` must have been called before. wait: as of Stream.capture."""
        if not self._replay:
            self._replay = self._captured(wait)

    def replay(self, rings: Sequence[Ring]) -> None:
        """Put the frame on the stream as the graphs that were captured and the copies into `rings`."""
        for part in self._replay:
            part.run()
        self.download(rings).run()

    def parts(self) -> int:
        """Of how many graphs and steps between them a replay consists; 0 before it was captured."""
        return len(self._replay)

    def _captured(self, wait: bool) -> list[Step]:
        """The frame's steps with every run of capturable ones made into a graph. What was captured is closed
        if it fails."""
        parts: list[Step] = []
        todo: list[Step] = []
        graphs = []

        def finish() -> None:
            if todo:
                with self._gpu.stream.capture(wait) as graph:
                    for step in todo:
                        step.run()
                graphs.append(graph)
                parts.append(Step("graph", lambda: graph.launch(self._gpu.stream)))
                todo.clear()

        try:
            for step in self.steps:
                if step.capturable:
                    todo.append(step)
                else:
                    finish()
                    parts.append(step)
            finish()
        except Exception:
            for graph in graphs:
                graph.close()
            raise
        self._graphs += graphs
        return parts

    def forget_graphs(self) -> None:
        """Nothing of this work may be under way."""
        for graph in self._graphs:
            graph.close()
        self._graphs.clear()
        self._replay.clear()

    def close(self) -> None:
        """The work is not used any more. Nothing of it may be under way."""
        self.forget_graphs()
        self.closed = True
