"""Shaders on the GPU: how each renderer type makes colour and alpha of gathered features. See ../shading.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import renderer_spec
from dinar_live.runtime.render.compiled_sizes import LATER, NOW, Key
from dinar_live.runtime.render.host_engine import examples
from dinar_live.runtime.render.options import RenderPlan
from dinar_live.runtime.render.parity import refuse_wrong
from dinar_live.runtime.render.shading import check_contract

from .device import SharedGpu

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import DeviceScene, Planes

Instance = engines.DeviceSession | None
"""What a shader keeps for one size: the network's session, None where it needs nothing."""


class Step(NamedTuple):
    """Part of a frame: `run()` puts it on the stream. stage: one of STAGES. capturable: may be part of a
    graph."""

    stage: str
    run: Callable[[], None]
    capturable: bool = True


class DeviceShading(NamedTuple):
    """One batch and window size on the GPU. features: what to fill (a DeviceTensor or an array of the device).
    gather(parameters, projective, target, fine, depth), compose(parameters, rgba, depth, depth_out): the launches before
    and after `steps`, see FrameWork; fine: a target of twice the size where edges are smoothed, else None."""

    features: Any
    gather: Callable[..., list]
    steps: tuple[Step, ...]
    compose: Callable[..., list]


class DeviceShader(Protocol):
    """dtype: of the features, "float16" or "float32". engine_info: None without a network."""

    dtype: str

    @property
    def engine_info(self) -> engines.EngineInfo | None: ...

    def watch(self, forget: Callable[[Any], None]) -> None:
        """forget: called, on any thread but while no frame is put on the GPU, with an instance that must not be used
        any more."""
        ...

    def at(self, views: int, height: int, width: int) -> tuple[Key, Instance]:
        """What can render windows of (height, width) pixels now: for so many views, or for one at a time."""
        ...

    def shading(self, key: Key, instance: Instance, scene: DeviceScene) -> DeviceShading:
        """What draws `scene` with what `at` returned. Waits for the stream; not while it is captured."""
        ...

    def close(self) -> None:
        """Give back what is shared. Nothing of it may be under way."""
        ...


class _Planes:
    """Launches of a shader whose features, colour and alpha are planes of whole pixels. features
    [N,C+3,h*s,w*s]. straight: the colour is composed as it is."""

    def __init__(self, plan: RenderPlan, gpu: SharedGpu, scene: DeviceScene, straight: bool = False):
        self._plan = plan
        self._straight = straight
        self._gpu = gpu
        self._scene = scene

    def shading(self, features: Any, rgb: Planes, alpha: Planes, steps: tuple[Step, ...]) -> DeviceShading:
        spec, options, program = self._plan.spec, self._plan.options, self._gpu.program
        mask = self._gpu.cuda.Planes.of(features, features.shape[1] - 1) if spec.hardsegm else None

        def gather(parameters, projective, target, fine, depth):
            frame = self._scene, parameters, projective, target
            smooth = (
                []
                if fine is None
                else program.smooth_edges(
                    *frame, fine, features, depth, samples=spec.samples, straight=self._straight
                )
            )
            return program.gather(*frame, features, depth, samples=spec.samples) + smooth

        def compose(parameters, rgba, depth, depth_out):
            return program.compose(
                parameters,
                rgb,
                alpha,
                rgba,
                mask=mask,
                depth=depth,
                depth_out=depth_out,
                samples=spec.samples,
                threshold=spec.threshold,
                background=options.background,
                straight=options.straight,
            )

        return DeviceShading(features, gather, steps, compose)


class TextureShader:
    """The texture is the colour and the mask is alpha."""

    dtype = "float32"
    engine_info = None

    def __init__(self, plan: RenderPlan, gpu: SharedGpu):
        self._plan = plan
        self._gpu = gpu
        self._samples = plan.spec.samples
        self._channels = plan.spec.texture.shape[2]

    def watch(self, forget: Callable[[Any], None]) -> None:
        pass

    def at(self, views: int, height: int, width: int) -> tuple[Key, Instance]:
        return (views, height, width), None

    def shading(self, key: Key, instance: Instance, scene: DeviceScene) -> DeviceShading:
        n, h, w = key[0], key[1] * self._samples, key[2] * self._samples
        features = self._gpu.scratch.take("texture features", (n, self._channels + 3, h, w), np.float32)
        planes = self._gpu.cuda.Planes
        colour, alpha = planes.of(features), planes.of(features, self._channels + 2)
        return _Planes(self._plan, self._gpu, scene, straight=True).shading(features, colour, alpha, ())

    def close(self) -> None:
        pass


class NetworkShader:
    """model.onnx in an engine of the GPU, shared by every Renderer with that network. Raises DinarError,
    EngineError."""

    def __init__(self, plan: RenderPlan, gpu: SharedGpu):
        options = plan.options
        self._plan = plan
        self._gpu = gpu
        self._missing = LATER if options.background_compile else NOW
        self._forget: list[Callable[[Any], None]] = []
        full = plan.spec.network_key((1, *plan.padded))
        self._network = gpu.network(
            plan.spec.network,
            options.engine,
            options.precision,
            full,
            self._accept,
            {"progress": options.progress, "examples": lambda: examples(plan)},
        )
        try:
            session = self._network.sessions.require(full)
            check_contract(session, plan.spec)  # it may have been made for another renderer
        except BaseException:
            gpu.release(self._network)
            raise
        self.engine_info: engines.EngineInfo | None = self._network.engine.info
        self.dtype = session.inputs["features"].dtype

    def _accept(self, engine: engines.Engine, session: engines.DeviceSession, key: Key) -> None:
        """EngineError for an instance that was never compared with the network and does not compute what it does;
        later starts find it checked."""
        plan, gpu = self._plan, self._gpu
        check_contract(session, plan.spec)
        if not engine.unchecked(key, session.inputs["features"].dtype):
            return

        blocks = plan.spec.type.blocks
        pixels = (key[0], key[1] * blocks, key[2] * blocks)
        shared = (
            gpu.device,
            gpu.stream,
            gpu.lock,
        )  # it shares memory with frames, so it takes its turn with them
        refuse_wrong(plan.avatar, plan.spec, engine, session, pixels, plan.size, shared)

    def watch(self, forget: Callable[[Any], None]) -> None:
        self._forget.append(forget)
        self._network.forget.append(forget)

    def at(self, views: int, height: int, width: int) -> tuple[Key, Instance]:
        spec = self._plan.spec
        key = spec.network_key((views, height, width))
        (n, h, w), session = self._network.sessions.get(*key, self._missing)
        return (n, h * spec.type.blocks, w * spec.type.blocks), session

    def shading(self, key: Key, instance: Instance, scene: DeviceScene) -> DeviceShading:
        session, run = self._step(instance)
        planes, outputs = self._gpu.cuda.Planes, session.outputs
        return _Planes(self._plan, self._gpu, scene).shading(
            session.inputs["features"], planes.of(outputs["rgb"]), planes.of(outputs["alpha"]), (run,)
        )

    def _step(self, instance: Instance) -> tuple[engines.DeviceSession, Step]:
        """The session, warm, and its run."""
        assert instance is not None, "a network has a session for each size"
        session, stream = instance, self._gpu.stream.handle
        session.warm_up(stream)  # before any capture
        # a session without a graph of its own cannot be captured
        return session, Step("network", lambda: session.enqueue_on(stream), session.mode == "graph")

    def close(self) -> None:
        for forget in self._forget:
            self._network.forget.remove(forget)
        self._gpu.release(self._network)


class HalfShader(NetworkShader):
    """A network that takes and gives blocks of 2x2 pixels. Raises DinarError, EngineError."""

    def shading(self, key: Key, instance: Instance, scene: DeviceScene) -> DeviceShading:
        session, run = self._step(instance)
        spec, options, program = self._plan.spec, self._plan.options, self._gpu.program
        planes, features = self._gpu.cuda.Planes, session.inputs["features"]
        mesh, correction = planes.of(features), planes.of(session.outputs["correction"])

        def gather(parameters, projective, target, fine, depth):
            frame = scene, parameters, projective, target
            smooth = [] if fine is None else program.smooth_edges(*frame, fine, features, depth)
            return program.gather_half(*frame, features, depth) + smooth

        def compose(parameters, rgba, depth, depth_out):
            return program.compose_half(
                parameters,
                mesh,
                correction,
                rgba,
                depth=depth,
                depth_out=depth_out,
                hardsegm=spec.hardsegm,
                threshold=spec.threshold,
                background=options.background,
                straight=options.straight,
            )

        return DeviceShading(features, gather, (run,), compose)


SHADERS: dict[str, Callable[[RenderPlan, SharedGpu], DeviceShader]] = {
    renderer_spec.TEXTURE.name: TextureShader,
    renderer_spec.NETWORK.name: NetworkShader,
    renderer_spec.HALF.name: HalfShader,
}
"""RendererType.name -> its DeviceShader."""
