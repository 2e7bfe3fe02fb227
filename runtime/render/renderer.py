"""Renderer: pose and cameras in, RGBA out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dinar_live import engines
from dinar_live.runtime.avatar.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.core.pose import Pose

from .frame import MAX_VIEWS, Frame
from .options import RenderOptions
from .pipeline import Pipeline, open_pipeline
from .window import Window


class Renderer:
    """Renders one avatar at one size.

    avatar: an Avatar. size: (height, width) in pixels. device: auto (an NVIDIA GPU if it can be used) | cpu |
        cuda | cuda:N.
    engine: auto | openvino | tensorrt | torch. rasterizer: auto | native | nvdiffrast (which only a GPU has).
    renderer: auto (the avatar's first) or the name of one of its renderers. precision: auto | f32 | bf16 |
        f16.
    background: (r, g, b) in [0,1] to composite over, None keeps the alpha. straight: unmultiplied colour.
        depth: also return depth.
    crop: run on the body's box only. background_compile: False makes a frame with a new window size wait for
        the compiler.
    threads: 0 = all cores. stage_times: on a GPU, measure every stage, which makes frames slower (a CPU
        always does).
    progress: called with (fraction, what) while an engine is built that takes long (TensorRT), also from
    another thread. Use from one thread at a time. Raises InputError, DinarError.
    """

    def __init__(
        self,
        avatar: Avatar,
        size: tuple[int, int] = (512, 512),
        *,
        engine: str = "auto",
        rasterizer: str = "auto",
        renderer: str = "auto",
        precision: str = "auto",
        background: tuple[float, float, float] | None = None,
        straight: bool = False,
        depth: bool = False,
        crop: bool = True,
        background_compile: bool = True,
        threads: int = 0,
        device: str = "auto",
        stage_times: bool = False,
        progress: Callable[[float, str], None] | None = None,
    ):
        self._options = s = RenderOptions(avatar, size, renderer, background, straight, depth, crop, threads)
        self.avatar, self.size, self.renderer_name = avatar, s.size, s.renderer
        self._pipeline: Pipeline | None = None
        try:
            self._pipeline = open_pipeline(
                s,
                device=device,
                engine=engine,
                rasterizer=rasterizer,
                precision=precision,
                background_compile=background_compile,
                stage_times=stage_times,
                progress=progress,
            )
        except InputError:
            raise
        except (DinarError, engines.EngineError) as e:
            raise DinarError(f"renderer {s.renderer!r}: {e}") from e
        self.device = self._pipeline.device
        self.engine_info: engines.EngineInfo | None = self._pipeline.engine_info
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
        """The part of the picture that `render` works on for this pose; None when nothing is in view. While
        the network is being compiled for that size, a frame may use a larger one."""
        return self._checked(pose, (camera,)).windows(pose, (camera,))[0]

    def _checked(self, pose: Pose, cameras: Sequence[Camera]) -> Pipeline:
        if self._pipeline is None:
            raise DinarError("Renderer: used after close()")
        if not 1 <= len(cameras) <= MAX_VIEWS:
            raise InputError(f"cameras: got {len(cameras)}, expected 1 to {MAX_VIEWS}")
        expressions = self.avatar.rig.expressions
        if len(pose.expression) > expressions:
            raise InputError(
                f"Pose.expression: got {len(pose.expression)} values, this avatar has {expressions}"
            )
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
