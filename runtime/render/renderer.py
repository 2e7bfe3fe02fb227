"""Renderer: pose and camera in, RGBA out. The whole frame pipeline on preallocated buffers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ... import engines, kernels
from ..avatar.avatar import Avatar
from ..errors import DinarError, InputError
from .camera import Camera
from .pose import Pose
from .sessions import Sessions
from .window import BUCKET, Window, fit_window, padded

MAX_SIDE = 4096
MAX_THREADS = 256
RING = 3
STAGES = ("lbs", "project", "rasterize", "gather", "network", "compose")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture. rgba u8[H,W,4], sRGB-encoded, premultiplied unless asked otherwise; it belongs to a ring and is valid until two renders
    later (`copy()` keeps it). depth f32[H,W] metres, 0 where the body is not (only with depth=True). timings: milliseconds per stage,
    and `total`. window: the part of the picture that was worked on, None where nothing is in view."""

    rgba: np.ndarray = field(repr=False)
    depth: np.ndarray | None = field(repr=False)
    timings: dict[str, float] = field(default_factory=dict)
    window: Window | None = None

    def copy(self) -> Frame:
        """A frame with arrays of its own."""
        return Frame(self.rgba.copy(), None if self.depth is None else self.depth.copy(), dict(self.timings), self.window)


class Renderer:
    """Renders one avatar at one size.

    avatar: an Avatar. size: (height, width) in pixels. engine: auto | openvino | torch. rasterizer: auto | native.
    renderer: auto (the avatar's first) or the name of one of its renderers. precision: auto | f32 | bf16.
    background: (r, g, b) in [0,1] to composite over, None keeps the alpha. straight: unmultiplied colour. depth: also return depth.
    crop: run on the body's box only. background_compile: False makes a frame with a new window size wait for the compiler.
    threads: 0 = all cores. Use from one thread at a time. Raises InputError, DinarError.
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
    ):
        if not (
            isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(s, int | np.integer) and 1 <= s <= MAX_SIDE for s in size)
        ):
            raise InputError(f"size: got {size!r}, expected (height, width) as whole pixels in 1..{MAX_SIDE}")
        if rasterizer not in ("auto", "native"):
            raise InputError(f"rasterizer: got {rasterizer!r}, expected 'auto' or 'native'")
        if renderer != "auto" and renderer not in avatar.renderers:
            raise InputError(f"renderer: got {renderer!r}, the avatar has {', '.join(avatar.renderers)}")
        if background is not None and not (len(background) == 3 and all(0 <= c <= 1 for c in background)):
            raise InputError(f"background: got {background!r}, expected three numbers in [0, 1] or None")
        if not (isinstance(threads, int | np.integer) and 0 <= threads <= MAX_THREADS):
            raise InputError(f"threads: got {threads!r}, expected 0 (all cores) to {MAX_THREADS}")
        self.avatar, self.size, self.threads, self.crop = avatar, (int(size[0]), int(size[1])), threads, crop
        self.renderer_name = next(iter(avatar.renderers)) if renderer == "auto" else renderer
        self.rasterizer_name = "native"
        self._background, self._straight = background, straight
        self._spec = spec = avatar.renderers[self.renderer_name]
        self._texture = spec.float_texture()
        H, W = self.size
        s = spec.samples
        h, w = padded(self.size, spec.stride)
        rig = avatar.rig
        self._vertices = np.empty((len(rig.model.vertices), 3), np.float32)
        self._projective = np.empty_like(self._vertices)
        self._id = np.empty(h * w * s * s, np.int32)
        self._barycentrics = np.empty(h * w * s * s * 3, np.float32)
        self._depth = np.empty(h * w * s * s, np.float32)
        self._ring = [np.zeros((H, W, 4), np.uint8) for _ in range(RING)]
        self._depth_ring = [np.zeros((H, W), np.float32) for _ in range(RING)] if depth else None
        self._frames = 0
        self._sessions = self._features = None
        self.engine_info: engines.EngineInfo | None = None
        if spec.model is None:
            self._features = np.empty(6 * h * w * s * s, np.float32)
        else:
            try:
                net = engines.create_engine(spec.model, engine, precision=precision, threads=threads)
                self._sessions = Sessions(net, (h, w), background_compile)
            except engines.EngineError as e:
                raise DinarError(f"renderer {self.renderer_name!r}: {e}") from e
            self.engine_info = net.info
            self._check_contract(self._sessions.get(h, w)[1])

    def _check_contract(self, session) -> None:
        shape = session.inputs["features"].shape if "features" in session.inputs else None
        channels = self._texture.shape[2] + 3
        if shape is None or shape[1] != channels or not {"rgb", "alpha"} <= set(session.outputs):
            raise DinarError(
                f"renderer {self.renderer_name!r}: model.onnx has inputs { {k: v.shape for k, v in session.inputs.items()} } and outputs "
                f"{sorted(session.outputs)}, expected features [N,{channels},H,W], rgb and alpha"
            )

    def describe(self) -> str:
        """One line: what was picked, and why."""
        net = f"{self.engine_info.name} {self.engine_info.precision} ({self.engine_info.reason})" if self.engine_info else "no network"
        return f"renderer {self.renderer_name}, {self.size[1]}x{self.size[0]}, rasterizer {self.rasterizer_name} (CPU), engine {net}"

    def render(self, pose: Pose, camera: Camera) -> Frame:
        """Render one frame; see Frame for how long it is valid. Raises InputError, DinarError."""
        try:
            return self._render(pose, camera)
        except DinarError:
            raise
        except (ValueError, engines.EngineError) as e:  # finite inputs whose result is not, a device that fails
            raise DinarError(f"renderer {self.renderer_name!r}: this frame cannot be rendered: {e}") from e

    def window(self, pose: Pose, camera: Camera) -> Window | None:
        """The part of the picture that `render` works on for this pose; None when nothing is in view. While the network is being compiled
        for that size, a frame may use a larger one."""
        return self._place(pose, camera, [])

    def _place(self, pose: Pose, camera: Camera, marks: list[float]) -> Window | None:
        """Skin and project the body into the buffers, noting the time after each, and fit the window."""
        if self._texture is None:
            raise DinarError("Renderer: used after close()")
        rig, spec, s = self.avatar.rig, self._spec, self._spec.samples
        if len(pose.expression) > rig.expressions:
            raise InputError(f"Pose.expression: got {len(pose.expression)} values, this avatar has {rig.expressions}")
        kernels.lbs(rig.model, pose.body, pose.transl, pose.expression, out=self._vertices, threads=self.threads)
        marks.append(time.perf_counter())
        matrix = camera.matrix if s == 1 else np.diag([s, s, 1.0]) @ camera.matrix
        _, bounds = kernels.project(self._vertices, matrix, out=self._projective)
        if bounds is not None:
            bounds = [b / s for b in bounds]
        window = fit_window(
            bounds if self.crop else None, self.size, margin=spec.margin, stride=spec.stride, bucket=1 if spec.model is None else BUCKET
        )
        marks.append(time.perf_counter())
        return window

    def _render(self, pose: Pose, camera: Camera) -> Frame:
        clock, marks = time.perf_counter, [time.perf_counter()]
        window = self._place(pose, camera, marks)
        rig, spec, s = self.avatar.rig, self._spec, self._spec.samples
        slot = self._frames % RING
        self._frames += 1
        rgba = self._ring[slot]
        depth = self._depth_ring[slot] if self._depth_ring else None
        if window is None:
            rgba[:] = 0 if self._background is None else [*(int(255 * c + 0.5) for c in self._background), 255]
            if depth is not None:
                depth[:] = 0
            return Frame(rgba, depth, self._timings([*marks, *[clock()] * 4]), None)
        if spec.model is not None:
            key, session = self._sessions.get(window.height, window.width)
            if key != (window.height, window.width):
                window = self._grown(window, key)
        h, w = window.height * s, window.width * s
        raster = kernels.Raster(
            self._id[: h * w].reshape(h, w), self._barycentrics[: 3 * h * w].reshape(h, w, 3), self._depth[: h * w].reshape(h, w)
        )
        kernels.rasterize(self._projective, rig.faces, (h, w), origin=(window.x0 * s, window.y0 * s), out=raster, threads=self.threads)
        marks.append(clock())
        features = self._features[: 6 * h * w].reshape(6, h, w) if spec.model is None else session.inputs["features"][0]
        kernels.gather_uv(raster, rig.uv, rig.uv_faces, self._texture, out=features, threads=self.threads)
        marks.append(clock())
        if spec.model is None:
            rgb, alpha = features[:3], features[5]
        else:
            session.enqueue()
            session.synchronize()
            rgb, alpha = session.outputs["rgb"][0], session.outputs["alpha"][0, 0]
        marks.append(clock())
        kernels.compose(
            rgb,
            alpha,
            mask=features[-1] if spec.hardsegm else None,
            threshold=spec.threshold,
            background=self._background,
            straight=self._straight,
            samples=s,
            origin=(window.x0, window.y0),
            depth=None if depth is None else raster.depth,
            depth_out=depth,
            out=rgba,
            threads=self.threads,
        )
        marks.append(clock())
        return Frame(rgba, depth, self._timings(marks), window)

    def _grown(self, window: Window, key: tuple[int, int]) -> Window:
        """`window` enlarged to the size `key` (height, width) of the instance that is ready, kept on the stride and inside the picture."""
        h, w = padded(self.size, self._spec.stride)
        return Window(min(window.x0, w - key[1]), min(window.y0, h - key[0]), key[1], key[0])

    @staticmethod
    def _timings(marks: list[float]) -> dict[str, float]:
        out = {stage: (b - a) * 1e3 for stage, a, b in zip(STAGES, marks, marks[1:], strict=False)}
        out["total"] = (marks[-1] - marks[0]) * 1e3
        return out

    def close(self) -> None:
        """Free the network's instances. Frames already returned stay valid."""
        if self._sessions is not None:
            self._sessions.close()
            self._sessions = None
        self._texture = None

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *exc) -> None:
        self.close()
