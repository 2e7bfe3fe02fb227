"""Shaders on the CPU: how each renderer type makes colour and alpha of gathered features.

A new renderer type has a RendererType (runtime/avatar/renderer_spec.py), a Shader here and one in gpu/shading.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from dinar_live import engines, kernels
from dinar_live.runtime.avatar import RendererSpec, renderer_spec
from dinar_live.runtime.core.errors import DinarError

from .compiled_sizes import LATER, NOW, CompiledSizes, Key, memory_of
from .host_engine import open_host_engine
from .memory import MemoryBudget
from .options import RenderPlan
from .window import BUCKET


class Place(NamedTuple):
    """Where a window goes. origin (x0, y0): in the frame, pixels; out u8[H,W,4]: the frame; depth f32[h*s,w*s] of the
    raster and depth_out f32[H,W], both None without depth."""

    origin: tuple[int, int]
    out: np.ndarray
    depth: np.ndarray | None
    depth_out: np.ndarray | None


class Seen(NamedTuple):
    """What a window sees. raster of h*s x w*s samples, origin (x0, y0) of it in samples; projective f32[V,3]: of the
    vertices, in samples. close: the body does not fit into the frame."""

    raster: kernels.Raster
    origin: tuple[int, int]
    projective: np.ndarray
    close: bool


class Shading(Protocol):
    """One window of (height, width) pixels, at least what was asked for: `gather` fills the features from a raster of
    height*s x width*s samples, smooth at edges, `run` makes colour and alpha of them, `compose` writes them into a frame."""

    height: int
    width: int

    def gather(self, seen: Seen) -> None: ...

    def run(self) -> None: ...

    def compose(self, place: Place) -> None: ...


class Shader(Protocol):
    """bucket: pixels in whose steps windows should come. engine_info: None without a network."""

    bucket: int

    @property
    def engine_info(self) -> engines.EngineInfo | None: ...

    def at(self, height: int, width: int) -> Shading:
        """The planes of a window of (height, width) pixels."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that stay, by estimate: for the whole frame."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class _Planes:
    """Shading whose features, colour and alpha are planes in memory of the shader: features f32[C+3,h*s,w*s], rgb
    f32[3,h*s,w*s], alpha f32[h*s,w*s]."""

    def __init__(self, shader: TextureShader | NetworkShader, size: tuple[int, int], planes, run: Callable):
        self._plan = shader.plan
        self._texture = shader.texture
        self._surface = shader.surface
        self._straight = isinstance(shader, TextureShader)  # colour is composed as it is
        self.height, self.width = size
        self.features, self.rgb, self.alpha = planes
        self.run = run

    def gather(self, seen: Seen) -> None:
        rig, threads = self._plan.avatar.rig, self._plan.options.threads
        kernels.gather_uv(
            seen.raster, rig.uv, rig.uv_faces, self._texture, out=self.features, threads=threads
        )
        # What has several samples anyway does without where the body is seen whole: it would take twice as long.
        if self._surface is not None and (seen.close or self._plan.spec.samples == 1):
            kernels.smooth_edges(
                self._surface,
                seen.projective,
                seen.raster,
                self.features[:3],
                self.features[-1],
                straight=self._straight,
                origin=seen.origin,
                threads=threads,
            )

    def compose(self, place: Place) -> None:
        spec, options = self._plan.spec, self._plan.options
        kernels.compose(
            self.rgb,
            self.alpha,
            mask=self.features[-1] if spec.hardsegm else None,
            threshold=spec.threshold,
            background=options.background,
            straight=options.straight,
            samples=spec.samples,
            threads=options.threads,
            **place._asdict(),
        )


class TextureShader:
    """The texture is the colour and the mask is alpha."""

    bucket = 1
    engine_info = None

    def __init__(self, plan: RenderPlan):
        height, width = plan.padded
        self.plan = plan
        self.texture = plan.spec.float_texture()
        self.surface = surface_of(plan, self.texture)
        self._samples = plan.spec.samples
        self.planes = 3 + plan.spec.texture.shape[2]
        self._features = np.empty(self.planes * height * width * self._samples**2, np.float32)

    def at(self, height: int, width: int) -> Shading:
        n, h, w = self.planes, height * self._samples, width * self._samples
        features = self._features[: n * h * w].reshape(n, h, w)
        planes = features, features[: n - 3], features[-1]
        return _Planes(self, (height, width), planes, _nothing)

    @property
    def memory(self) -> int:
        return self._features.nbytes

    def close(self) -> None:
        pass


class NetworkShader:
    """model.onnx in whichever engine, one instance for each window size. Raises DinarError, EngineError."""

    bucket = BUCKET

    def __init__(self, plan: RenderPlan):
        options, spec = plan.options, plan.spec
        self.plan = plan
        self.texture = spec.float_texture()
        self.surface = surface_of(plan, self.texture)
        self._constant = [self.texture, *([self.surface.colour] if self.surface else [])]
        self._missing = LATER if options.background_compile else NOW
        self._engine = open_host_engine(plan)
        self.engine_info: engines.EngineInfo | None = self._engine.info
        self.sessions: CompiledSizes[engines.HostSession] = CompiledSizes(
            self._compile,
            budget=options.memory if isinstance(options.memory, MemoryBudget) else None,
        )
        self.sessions.require((1, *plan.padded))

    def _compile(self, key: Key) -> engines.HostSession:
        session = self._engine.compile(key)
        check_contract(session, self.plan.spec)
        return session

    def at(self, height: int, width: int) -> Shading:
        (_, height, width), session = self.sessions.get(1, height, width, self._missing)

        def run() -> None:
            session.enqueue()
            session.synchronize()

        outputs = session.outputs
        planes = session.inputs["features"][0], outputs["rgb"][0], outputs["alpha"][0, 0]
        return _Planes(self, (height, width), planes, run)

    @property
    def memory(self) -> int:
        return self.sessions.fixed + sum(a.nbytes for a in self._constant)

    def close(self) -> None:
        self.sessions.close(wait=False)
        self._engine.close()


class HalfShader(NetworkShader):
    """A network that takes and gives blocks of 2x2 pixels. Where the engine can, its tensors have a block's channels
    side by side, as the kernels write and read them. Raises DinarError, EngineError."""

    def __init__(self, plan: RenderPlan):
        super().__init__(plan)
        self._textures = plan.spec.half_textures()
        self._constant = [*self._textures, *([self.surface.colour] if self.surface else [])]
        del self.texture  # the kernels read those

    def _compile(self, key: Key) -> engines.HostSession:
        spec = self.plan.spec
        channels_last = self._engine.channels_last
        compile_ = self._engine.compile_channels_last if channels_last else self._engine.compile
        session = compile_(spec.network_key(key))
        check_contract(session, spec, channels_last)
        return _Blocks(session, channels_last)

    def at(self, height: int, width: int) -> Shading:
        (_, height, width), session = self.sessions.get(1, height, width, self._missing)
        assert isinstance(session, _Blocks)
        return _Half(self.plan, self._textures, (height, width), session, self.surface)


class _Blocks:
    """A session seen as blocks. features f32[h,w,16+C], correction f32[h,w,16]; spans i32[h,2]: see
    kernels.gather_half, which is to write `features` always with them."""

    def __init__(self, session: engines.HostSession, channels_last: bool):
        self._session = session
        self._turned = not channels_last
        self.inputs, self.outputs, self.mode = session.inputs, session.outputs, session.mode
        features, correction = session.inputs["features"][0], session.outputs["correction"][0]
        if self._turned:
            self.features, self.correction = (
                np.zeros((*a.shape[1:], a.shape[0]), np.float32) for a in (features, correction)
            )
        else:
            features[...] = 0
            self.features, self.correction = features, correction
        self.spans = np.zeros((len(self.features), 2), np.int32)

    @property
    def memory(self) -> int:
        """See engines.Session."""
        own = self.features.nbytes + self.correction.nbytes if self._turned else 0
        return own + memory_of(self._session)

    def enqueue(self) -> None:
        if self._turned:
            self.inputs["features"][0] = self.features.transpose(2, 0, 1)
        self._session.enqueue()

    def synchronize(self) -> None:
        self._session.synchronize()
        if self._turned:
            self.correction[...] = self.outputs["correction"][0].transpose(1, 2, 0)


class _Half:
    """Shading of HalfShader. textures: see RendererSpec.half_textures."""

    def __init__(
        self,
        plan: RenderPlan,
        textures: tuple[np.ndarray, np.ndarray],
        size: tuple[int, int],
        blocks: _Blocks,
        surface: kernels.Surface | None,
    ):
        self._plan = plan
        self._surface = surface
        self._textures = textures
        self.height, self.width = size
        self._blocks = blocks

    def gather(self, seen: Seen) -> None:
        rig, blocks, threads = self._plan.avatar.rig, self._blocks, self._plan.options.threads
        kernels.gather_half(
            seen.raster,
            rig.uv,
            rig.uv_faces,
            *self._textures,
            spans=blocks.spans,
            out=blocks.features,
            threads=threads,
        )
        if self._surface is not None:
            kernels.smooth_edges_half(
                self._surface,
                seen.projective,
                seen.raster,
                blocks.features,
                spans=blocks.spans,
                origin=seen.origin,
                threads=threads,
            )

    def run(self) -> None:
        self._blocks.enqueue()
        self._blocks.synchronize()

    def compose(self, place: Place) -> None:
        spec, options, blocks = self._plan.spec, self._plan.options, self._blocks
        kernels.compose_half(
            blocks.features,
            blocks.correction,
            spans=blocks.spans,
            hardsegm=spec.hardsegm,
            threshold=spec.threshold,
            background=options.background,
            straight=options.straight,
            threads=options.threads,
            **place._asdict(),
        )


SHADERS: dict[str, Callable[[RenderPlan], Shader]] = {
    renderer_spec.TEXTURE.name: TextureShader,
    renderer_spec.NETWORK.name: NetworkShader,
    renderer_spec.HALF.name: HalfShader,
}
"""RendererType.name -> its Shader."""


def _nothing() -> None:
    pass


def surface_of(plan: RenderPlan, texture: np.ndarray) -> kernels.Surface | None:
    """What edges are smoothed with; None where they are not."""
    if not plan.smooth_edges or texture.shape[2] < 3:  # of what is no colour
        return None
    rig = plan.avatar.rig
    return kernels.Surface(rig.faces, rig.uv, rig.uv_faces, texture)


def check_contract(
    session: engines.HostSession | engines.DeviceSession, spec: RendererSpec, channels_last: bool = False
) -> None:
    """DinarError unless the network takes and gives what a renderer network of the spec's type does."""
    axis = 3 if channels_last else 1
    wanted = {"rgb": 3, "alpha": 1} if spec.type.blocks == 1 else {"correction": 4 * spec.type.blocks**2}
    shape = session.inputs["features"].shape if "features" in session.inputs else None
    given = {k: v.shape for k, v in session.outputs.items()}
    if (
        shape is None
        or shape[axis] != spec.features
        or not all(name in given and given[name][axis] == n for name, n in wanted.items())
    ):
        raise DinarError(
            f"model.onnx has inputs { {k: v.shape for k, v in session.inputs.items()} } and outputs {given}, expected "
            f"features with {spec.features} channels, {' and '.join(f'{name} with {n}' for name, n in wanted.items())}"
        )
