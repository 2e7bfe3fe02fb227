"""AvatarService: answers the requests of a stream.Server with frames of one avatar."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Unpack

import numpy as np

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.pose_source import PoseSource
from dinar_live.runtime.core.skeleton import JOINT_NAMES
from dinar_live.runtime.motion import Motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import FollowingCamera, body_extent
from dinar_live.runtime.render.memory import MemoryBudget
from dinar_live.runtime.render.options import RenderKeywords, RenderOptions
from dinar_live.runtime.stream import RenderedFrame, RenderRequest
from dinar_live.runtime.stream.protocol.messages import (
    MAX_EXPRESSION,
    CameraView,
    OpenXRView,
    Rendered,
    SourceChoice,
)

from .demand import Demand
from .ladder import Ladder, enlarged, scaled_camera
from .quality import Rung
from .renderer_pool import RendererKey, RendererPool
from .renderer_pool import builder as renderer_builder
from .source_mixer import SourcedPose, SourceMixer

# bytes of JSON; the protocol allows 16 kB and the server adds its limits and the names of all avatars
MAX_CAPABILITIES = 12_500
WARM_UP_SECONDS = 8.0
WARM_UP_POSES = 16


class AvatarService:
    """The `render` and the capabilities that a stream.Server needs.

    avatar: an Avatar. source: what moves while a request has no pose and no client sends one (a Motion fitted
        to the avatar, a Follower); None refuses such requests. clips: Motions that viewers may choose and
        wind.
    size: (height, width), the default told to clients. size and keywords: the fields of RenderOptions; they
        change `options`, if that is given. What clients ask for comes before size, straight and depth.
    The renderers of all sizes, and their windows, stay within options.memory; the default size is always
    there. A MemoryBudget is for several services.
    builder: the thread that makes renderers for sizes and kinds of frames that are asked for, default one of
        its own.
    demand: of all avatars of a server, with the rate to hold. `warm_up` then measures the avatar's renderers (or
        the one that the options name), and from then on the one that holds the rate is used for requests that
        name none (`quality`), if need be for fewer pixels. None: the one of the options, always.

    Not thread-safe: `render` and `ready` belong to the server's render thread; build, warm up and close
    around the server's life. Raises what Renderer raises.
    """

    def __init__(
        self,
        avatar: Avatar,
        *,
        source: PoseSource | None = None,
        clips: Sequence[Motion] = (),
        size: tuple[int, int] | None = None,
        builder: ThreadPoolExecutor | None = None,
        options: RenderOptions | None = None,
        demand: Demand | None = None,
        **keywords: Unpack[RenderKeywords],
    ):
        options = (options or RenderOptions()).changed(size, **keywords)
        self.avatar = avatar
        self.size = options.size
        self._source = source
        self._sources = SourceMixer(avatar.rig, source, clips)
        memory = options.memory
        self._budget = memory if isinstance(memory, MemoryBudget) else MemoryBudget(memory)
        self._builder: ThreadPoolExecutor | None = None  # one of its own
        if builder is None:
            builder = self._builder = renderer_builder()

        def make(key: RendererKey) -> Renderer:
            wanted = replace(
                options,
                straight=key.straight,
                depth=key.depth,
                memory=self._budget,
                renderer=key.renderer or options.renderer,
            )
            return Renderer(avatar, key.size, options=wanted)

        default = RendererKey(self.size)
        self._pool = RendererPool(
            make, builder, keep=default, budget=self._budget, kinds=len(avatar.renderers)
        )
        self._following = FollowingCamera(avatar.rig.joints[0], body_extent(avatar.rig), self.size)
        try:
            self._main = self._pool.get(default)
        except BaseException:
            self.close()
            raise
        name = self._main.renderer_name
        names = list(avatar.renderers) if options.renderer == "auto" else [name]
        self.ladder = Ladder(avatar, name, names, self._pool, demand)
        self.changed = False  # whether another renderer was chosen after the last frame

    def describe(self) -> str:
        """One line: what was picked, and why."""
        return self._main.describe()

    def capabilities(self) -> dict:
        """What clients are told, as JSON of at most 12.5 kB: name, body, size (height, width), renderers and
        the chosen one with its engine ("none" without a network), precision and rasterizer, rest_joints
        [55][3] and body_extent (lowest, highest y relative to the pelvis) in metres, parents, joint_names,
        expressions (their number), expression_names, memory (on a CPU: the budget in bytes), quality (the
        automatic choice) and sources (docs/protocol.md).
        """
        shown = self._shown_renderer()
        rig, engine = self.avatar.rig, shown.engine_info
        info = {
            "name": self.avatar.name[:200],
            "body": self.avatar.body_kind[:200],
            "size": list(self.size),
            "renderers": list(self.avatar.renderers)[:16],
            "renderer": shown.renderer_name,
            "engine": engine.name if engine else "none",
            "precision": engine.precision if engine else "f32",
            "rasterizer": shown.rasterizer_name,
            "description": shown.describe()[:1000],
            "rest_joints": np.asarray(rig.joints, np.float64).round(4).tolist(),
            "parents": np.asarray(rig.model.parents).tolist(),
            "body_extent": [round(y, 4) for y in body_extent(rig)],
            "joint_names": list(JOINT_NAMES),
            "expressions": rig.expressions,
            "expression_names": list(rig.expression_names[:MAX_EXPRESSION]),
            "sources": self._sources.describe(),
        }
        if self._main.memory:
            info["memory"] = self._budget.limit
        if (quality := self.quality) is not None:
            info["quality"] = quality
        if len(json.dumps(info)) > MAX_CAPABILITIES:  # only names in a bundle can be that long
            info["expression_names"] = []
        return info

    def _shown_renderer(self) -> Renderer:
        """The one of the default size that is chosen now."""
        key = self.ladder.chosen_key(self.size)
        return self._pool.get(key) if key is not None and self._pool.there(key) else self._main

    @property
    def quality(self) -> dict | None:
        """What is chosen automatically: fps, renderer, scale, holds, why, costs_ms (see Quality.describe); None
        where nothing is."""
        return None if self.ladder.quality is None else self.ladder.quality.describe()

    def camera(self) -> Camera:
        """A camera that shows the whole body where the source has it now. From one thread at a time."""
        source = self._source
        return self._following.at(
            np.zeros(3) if source is None else source.pose_at(self._sources.now()).transl
        )

    def overview(self) -> RenderRequest:
        """A request for the whole body where the live source has it, at the default size; for a Server's
        spectators."""
        height, width = self.size
        camera = FollowingCamera((0.0, 0.0, 0.0), body_extent(self.avatar.rig), self.size).at((0.0, 0.0, 0.0))
        return RenderRequest(
            1,
            (CameraView(camera.K, camera.world_to_camera, width, height),),
            source=SourceChoice(follow=True),
        )

    def render(self, request: RenderRequest) -> RenderedFrame | tuple[RenderedFrame, ...]:
        """The frames of one request; several cameras share the pose. Raises DinarError with what to tell
        the client."""
        clock = time.monotonic if self.ladder.demand is None else self.ladder.demand.clock
        rung, began = self.ladder.rung(request), clock()
        pose, spot, time_s = self._shown(request)
        views = request.cameras
        if spot is not None:
            views = tuple(moved(view, spot) for view in views)
        frames, timings = self._frames(request, rung, pose, views)
        self.changed = self.ladder.rendered(
            request, rung, began, lambda other: self._frames(request, other, pose, views)
        )
        time_ns = None if time_s is None else int(time_s * 1e9)
        made = Rendered(rung.renderer, rung.scale)
        result = tuple(
            RenderedFrame(rgba, depth, timings, view, time_ns, made)
            for (rgba, depth), view in zip(frames, views, strict=True)
        )
        if len(result) == 1:
            return result[0]
        return result

    def _frames(
        self, request: RenderRequest, rung: Rung, pose: Pose, views: tuple[CameraView | OpenXRView, ...]
    ) -> tuple[list[tuple[np.ndarray, np.ndarray | None]], dict[str, float]]:
        """(rgba, depth) per view, of the size asked for, and the stages' times; scaling up is a part of
        compositing."""
        # Cameras of one size share skinning and network. A request takes one slot of each ring: the server
        # still encodes the frame before.
        groups = [views] if len({view.size for view in views}) == 1 else [(view,) for view in views]
        frames: list[tuple[np.ndarray, np.ndarray | None]] = []
        timings: dict[str, float] = {}
        for key, group in zip(self.ladder.keys(request, rung), groups, strict=True):
            cameras = [scaled_camera(camera_of(view), view.size, key.size) for view in group]
            rendered = self._pool.get(key).render_views(pose, cameras)
            for stage, milliseconds in rendered[0].timings.items():
                timings[stage] = timings.get(stage, 0.0) + milliseconds
            start = time.perf_counter()
            frames += [
                (enlarged(f.rgba, view.size), f.depth) for f, view in zip(rendered, group, strict=True)
            ]
            if rung.scale < 1:
                timings["compose"] = timings.get("compose", 0.0) + (time.perf_counter() - start) * 1e3
        return frames, timings

    def ready(self, request: RenderRequest) -> bool:
        """Whether the renderers for a request are there; if not, they are made from now on, and `render`
        would wait for them."""
        return self.ladder.ready(request)

    def prepare(self, request: RenderRequest) -> None:
        """Has renderers for such requests made in the background."""
        self.ladder.prepare(request)

    def warm_up(self, seconds: float = WARM_UP_SECONDS) -> int:
        """Renders poses of the source until the networks for its window sizes are compiled (`seconds` at
        most for each renderer), and measures the renderers if one of them is to be chosen; returns how many
        frames were rendered with the first."""
        poses, camera = self._warm_up_poses(), self.camera()
        rendered = self._warm(self._main, poses, camera, seconds)

        def warm(renderer: Renderer) -> None:
            if renderer is not self._main:
                self._warm(renderer, poses, camera, seconds)

        self.ladder.measure(self.size, poses, camera, warm)
        return rendered

    @staticmethod
    def _warm(renderer: Renderer, poses: Sequence[Pose], camera: Camera, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        rendered, seen = 0, None
        while True:
            windows = []
            for pose in poses:
                window = renderer.render(pose, camera).window
                windows.append(window and (window.height, window.width))
                rendered += 1
                if time.monotonic() > deadline:
                    return rendered
            # A pass in which every frame found the instance of the pass before: nothing is being compiled any
            # more.
            if windows == seen or not renderer.compiles:
                return rendered
            seen = windows
            time.sleep(0.1)  # leaves the compiler a core

    def close(self) -> None:
        """Frees the renderers."""
        self._pool.close()
        if self._builder is not None:
            self._builder.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> AvatarService:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    # ---- parts ---------------------------------------------------------------------------------------------

    def _shown(self, request: RenderRequest) -> SourcedPose:
        if request.pose is None:
            return self._sources.pose(request.source)
        pose = Pose(request.pose.body, request.pose.transl, request.pose.expression)
        self.avatar.rig.check_pose(pose)
        self._sources.drive(pose, request.client)
        return SourcedPose(pose, None, None)

    def _warm_up_poses(self) -> Sequence[Pose]:
        source = self._source
        if source is None:
            return [Pose()]
        step = source.duration / WARM_UP_POSES
        return [source.pose_at(i * step) for i in range(WARM_UP_POSES)]


def camera_of(view: CameraView | OpenXRView) -> Camera:
    """The camera that a client described in one of two ways. Raises InputError."""
    if isinstance(view, OpenXRView):
        return Camera.from_openxr(view.position, view.orientation, view.fov, view.size)
    return Camera(view.K, view.world_to_camera)


def moved(view: CameraView | OpenXRView, spot: np.ndarray) -> CameraView | OpenXRView:
    """The camera that stands to `spot` (x, z) on the ground as `view` stands to the origin."""
    if isinstance(view, OpenXRView):
        return view._replace(position=view.position + np.array([spot[0], 0, spot[1]], np.float32))
    world_to_camera = np.array(view.world_to_camera, np.float32)
    world_to_camera[:3, 3] -= world_to_camera[:3, [0, 2]] @ spot
    return view._replace(world_to_camera=world_to_camera)
