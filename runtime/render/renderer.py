"""Renderer: pose and cameras in, RGBA out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from dinar_live import engines
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.core.pose import Pose

from .frame import MAX_VIEWS, Frame
from .memory import MemoryBudget
from .options import RenderKeywords, RenderOptions, RenderPlan
from .pipeline import Pipeline, open_pipeline
from .window import Window


class Renderer:
    """Renders one avatar at one size: `Renderer(avatar, size=(512, 512), engine="auto")`.

    avatar: an Avatar. size and keywords: the fields of RenderOptions, which says what they mean; they change
    `options`, if that is given.
    memory: bytes that it keeps, by estimate, beside windows of other sizes; 0 on a GPU.
    compiles: whether a frame with a window of a new size has a network compiled for it.
    Use from one thread at a time. Raises InputError, DinarError.
    """

    def __init__(
        self,
        avatar: Avatar,
        size: tuple[int, int] | None = None,
        *,
        options: RenderOptions | None = None,
        **keywords: Unpack[RenderKeywords],
    ):
        self.avatar = avatar
        self.options = (options or RenderOptions()).changed(size, **keywords)
        memory = self.options.memory
        budget = memory if isinstance(memory, MemoryBudget) else MemoryBudget(memory)
        plan = RenderPlan(avatar, self.options.changed(memory=budget))
        self.size = plan.size
        self.renderer_name = plan.renderer
        self.compiles = plan.spec.type.needs_network
        self._pipeline: Pipeline | None = None
        try:
            self._pipeline = open_pipeline(plan)
        except InputError:
            raise
        except (DinarError, engines.EngineError) as e:
            raise DinarError(f"renderer {plan.renderer!r}: {e}") from e
        self.memory = self._pipeline.memory
        if budget is not memory:
            budget.charge(self, self.memory)
        self.device = self._pipeline.device
        self.engine_info = self._pipeline.engine_info
        self.rasterizer_name = self._pipeline.rasterizer_name
        self._described = self.describe()

    def describe(self) -> str:
        """One line: what was picked, and why."""
        if self._pipeline is None:
            return self._described
        return f"renderer {self.renderer_name}, {self.size[1]}x{self.size[0]}, {self._pipeline.describe()}"

    def render(self, pose: Pose, camera: Camera) -> Frame:
        """Render one frame; see Frame for how long it is valid. Raises InputError, DinarError."""
        return self.render_views(pose, (camera,))[0]

    def render_views(self, pose: Pose, cameras: Sequence[Camera]) -> tuple[Frame, ...]:
        """Render one pose from 1 or 2 cameras, which share the skinning; on a GPU also the run of the
        network, in windows of one size.

        The frames are those of `render` (on a GPU a batch may be computed in another order: a value may
        differ in its last bits) and, like those, valid until two calls later. Raises InputError, DinarError.
        """
        pipeline = self._checked(pose, cameras)
        try:
            return pipeline.render(pose, cameras)
        except DinarError:
            raise
        except (
            ValueError,
            engines.EngineError,
        ) as e:  # finite inputs whose result is not, a device that fails
            raise DinarError(f"renderer {self.renderer_name!r}: this frame cannot be rendered: {e}") from e

    def window(self, pose: Pose, camera: Camera) -> Window | None:
        """The part of the frame that `render` works on for this pose; None when nothing is in view. While
        the network is being compiled for that size, a frame may use a larger one."""
        return self._checked(pose, (camera,)).windows(pose, (camera,))[0]

    def _checked(self, pose: Pose, cameras: Sequence[Camera]) -> Pipeline:
        if self._pipeline is None:
            raise DinarError("Renderer: used after close()")
        if not 1 <= len(cameras) <= MAX_VIEWS:
            raise InputError(f"cameras: got {len(cameras)}, expected 1 to {MAX_VIEWS}")
        self.avatar.rig.check_pose(pose)
        return self._pipeline

    def close(self) -> None:
        """Free the network's instances. Frames already returned stay valid."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *exc) -> None:
        self.close()
