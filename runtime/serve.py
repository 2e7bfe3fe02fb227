"""AvatarService: answers the requests of a stream.Server with the pictures of one avatar."""
from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from .avatar import Avatar
from .avatar.skeleton import JOINT_NAMES
from .errors import InputError
from .motion import Motion
from .render import Camera, Pose, Renderer
from .render.framing import FollowingCamera, body_extent
from .sources import Sources
from .stream import RenderedFrame, RenderRequest
from .stream.messages import MAX_EXPRESSION, CameraView, OpenXRView

MAX_RENDERERS = 4
MAX_CAPABILITIES = 15_000       # bytes of JSON; the protocol allows 16 kB and the server adds its limits
WARM_UP_SECONDS = 8.0
WARM_UP_POSES = 16

# what a picture needs a Renderer of its own for: (height, width), straight, depth
_Key = tuple[tuple[int, int], bool, bool]


class AvatarService:
    """The `render` and the capabilities that a stream.Server needs.

    avatar: an Avatar. source: what moves while a request has no pose and no client sends one, with pose_at(seconds) and duration
        (a Motion fitted to the avatar); None refuses such requests. clips: Motions that viewers may choose and wind.
    size: (height, width), the default told to clients.
    renderer_options: of Renderer (engine, renderer, precision, threads, ...).

    Not thread-safe: `render` belongs to the server's render thread; build, warm up and close around the server's life.
    Raises what Renderer raises.
    """

    def __init__(self, avatar: Avatar, *, source=None, clips: Sequence[Motion] = (), size: tuple[int, int] = (512, 512),
                 **renderer_options):
        self.avatar, self.size = avatar, (int(size[0]), int(size[1]))
        self._options = renderer_options
        self._sources = Sources(avatar.rig, source, clips)
        self._renderers: OrderedDict[_Key, Renderer] = OrderedDict()
        self._following = FollowingCamera(avatar.rig.joints[0], body_extent(avatar.rig), self.size)
        self._main = self._renderer((self.size, False, False))

    def describe(self) -> str:
        """One line: what was picked, and why."""
        return self._main.describe()

    def capabilities(self) -> dict:
        """What clients are told, as JSON of at most 15 kB: name, body, size (height, width), renderers and the chosen
        one with its engine ("none" without a network), precision and rasterizer, rest_joints
        [55][3] and body_extent (lowest, highest y relative to the pelvis) in metres, parents, joint_names, expressions (their number),
        expression_names, and sources (docs/protocol.md).
        """
        rig, engine = self.avatar.rig, self._main.engine_info
        info = {
            "name": self.avatar.name[:200], "body": self.avatar.body_kind[:200], "size": list(self.size),
            "renderers": list(self.avatar.renderers)[:16], "renderer": self._main.renderer_name,
            "engine": engine.name if engine else "none", "precision": engine.precision if engine else "f32",
            "rasterizer": self._main.rasterizer_name, "description": self.describe()[:1000],
            "rest_joints": np.asarray(rig.joints, np.float64).round(4).tolist(), "parents": np.asarray(rig.model.parents).tolist(),
            "body_extent": [round(y, 4) for y in body_extent(rig)], "joint_names": list(JOINT_NAMES),
            "expressions": rig.expressions, "expression_names": list(rig.expression_names[:MAX_EXPRESSION]),
            "sources": self._sources.describe(),
        }
        if len(json.dumps(info)) > MAX_CAPABILITIES:      # only names in a bundle can be that long
            info["expression_names"] = []
        return info

    def camera(self) -> Camera:
        """A camera that shows the whole body where the source has it now. From one thread at a time."""
        own = self._sources.own
        return self._following.at(np.zeros(3) if own is None else own.pose_at(self._sources.now()).transl)

    def render(self, request: RenderRequest) -> RenderedFrame | tuple[RenderedFrame, ...]:
        """The pictures of one request; several cameras share the pose. Raises DinarError with what to tell the client."""
        pose, spot = self._pose(request)
        views, format = request.cameras, request.format
        if spot is not None:
            views = tuple(moved(view, spot) for view in views)
        # Cameras of one size share skinning and network. A request takes one slot of each ring: the server still encodes the frame before.
        groups = [views] if len({view.size for view in views}) == 1 else [(view,) for view in views]
        rendered = []
        for group in groups:
            renderer = self._renderer((group[0].size, format.straight, format.depth != 0))
            rendered.append(renderer.render_views(pose, [camera_of(view) for view in group]))
        timings = {stage: sum(frames[0].timings[stage] for frames in rendered) for stage in rendered[0][0].timings}
        frames = (f for frames in rendered for f in frames)
        pictures = tuple(RenderedFrame(f.rgba, f.depth, timings, view) for f, view in zip(frames, views, strict=True))
        return pictures if len(pictures) > 1 else pictures[0]

    def warm_up(self, seconds: float = WARM_UP_SECONDS) -> int:
        """Renders poses of the source until the networks for its window sizes are compiled (`seconds` at most); returns how many frames."""
        poses = self._warm_up_poses()
        camera, deadline = self.camera(), time.monotonic() + seconds
        rendered, seen = 0, None
        while True:
            windows = []
            for pose in poses:
                window = self._main.render(pose, camera).window
                windows.append(window and (window.height, window.width))
                rendered += 1
                if time.monotonic() > deadline:
                    return rendered
            # A pass in which every frame found the instance of the pass before: nothing is being compiled any more.
            if windows == seen or self._main.engine_info is None:
                return rendered
            seen = windows
            time.sleep(0.1)     # leaves the compiler a core

    def close(self) -> None:
        """Frees the renderers."""
        while self._renderers:
            self._renderers.popitem()[1].close()

    def __enter__(self) -> AvatarService:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    # ---- parts --------------------------------------------------------------------------------------------------

    def _pose(self, request: RenderRequest) -> tuple[Pose, np.ndarray | None]:
        """The pose, and the spot on the ground that the cameras are given relative to, if any."""
        if request.pose is None:
            return self._sources.pose(request.source)
        pose = Pose(request.pose.body, request.pose.transl, request.pose.expression)
        if len(pose.expression) > self.avatar.rig.expressions:
            raise InputError(f"Pose.expression: got {len(pose.expression)} values, this avatar has {self.avatar.rig.expressions}")
        self._sources.drive(pose)
        return pose, None

    def _renderer(self, key: _Key) -> Renderer:
        renderer = self._renderers.get(key)
        if renderer is None:
            size, straight, depth = key
            renderer = Renderer(self.avatar, size, straight=straight, depth=depth, **self._options)
            self._renderers[key] = renderer
            while len(self._renderers) > MAX_RENDERERS:
                self._renderers.pop(next(iter(self._renderers))).close()
        self._renderers.move_to_end(key)
        return renderer

    def _warm_up_poses(self) -> Sequence[Pose]:
        source = self._sources.own
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
        return view._replace(position=view.position + np.float32([spot[0], 0, spot[1]]))
    world_to_camera = np.array(view.world_to_camera, np.float32)
    world_to_camera[:3, 3] -= world_to_camera[:3, [0, 2]] @ spot
    return view._replace(world_to_camera=world_to_camera)
