"""Shaders on the GPU: how each renderer type makes colour and alpha of gathered features. See ../shading.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import renderer_spec
from dinar_live.runtime.render.compiled_sizes import LATER, NOW, Key
from dinar_live.runtime.render.options import RenderPlan
from dinar_live.runtime.render.parity import refuse_wrong
from dinar_live.runtime.render.shading import check_contract

from .device import SharedGpu

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import Planes

Instance = engines.DeviceSession | None
"""What a shader keeps for one size: the network's session, None where it needs nothing."""


class Step(NamedTuple):
    """Part of a frame: `run()` puts it on the stream. stage: one of STAGES. capturable: may be part of a
    graph."""

    stage: str
    run: Callable[[], None]
    capturable: bool = True


class DeviceShading(NamedTuple):
    """The planes of one batch and window size, on the GPU. features [N,C+3,h*s,w*s]: what to fill (a
    DeviceTensor or an array of the device). rgb, alpha: what is there after `steps`. s: samples per axis."""

    features: Any
    rgb: Planes
    alpha: Planes
    steps: tuple[Step, ...]


class DeviceShader(Protocol):
    """dtype: of the features, "float16" or "float32". engine_info: None without a network."""

    dtype: str

    @property
    def engine_info(self) -> engines.EngineInfo | None: ...

    def at(self, views: int, height: int, width: int) -> tuple[Key, Instance]:
        """What can render windows of (height, width) pixels now: for so many views, or for one at a time."""
        ...

    def shading(self, key: Key, instance: Instance) -> DeviceShading:
        """The planes for what `at` returned. Waits for the stream; not while it is captured."""
        ...

    def close(self) -> None:
        """Give back what is shared. Nothing of it may be under way."""
        ...


class TextureShader:
    """The texture is the colour and the mask is alpha."""

    dtype = "float32"
    engine_info = None

    def __init__(self, plan: RenderPlan, gpu: SharedGpu):
        self._gpu = gpu
        self._samples = plan.spec.samples
        self._channels = plan.spec.texture.shape[2]

    def at(self, views: int, height: int, width: int) -> tuple[Key, Instance]:
        return (views, height, width), None

    def shading(self, key: Key, instance: Instance) -> DeviceShading:
        n, h, w = key[0], key[1] * self._samples, key[2] * self._samples
        features = self._gpu.device.empty((n, self._channels + 3, h, w), np.float32)
        planes = self._gpu.cuda.Planes
        return DeviceShading(features, planes.of(features), planes.of(features, self._channels + 2), ())

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
        full = (1, *plan.padded)
        self._network = gpu.network(
            plan.spec.network, options.engine, options.precision, full, self._accept, options.progress
        )
        try:
            session = self._network.sessions.require(full)
            check_contract(session, plan.spec.texture.shape[2])
        except BaseException:
            gpu.release(self._network)
            raise
        self.engine_info: engines.EngineInfo | None = self._network.engine.info
        self.dtype = session.inputs["features"].dtype

    def _accept(self, engine: engines.Engine, session: engines.DeviceSession) -> None:
        """EngineError for an engine that was built just now and does not compute what the network does; later
        starts find it checked."""
        if engine.built:
            plan = self._plan
            check_contract(session, plan.spec.texture.shape[2])
            refuse_wrong(plan.avatar, plan.spec, engine, session, (1, *plan.padded), plan.size)

    def at(self, views: int, height: int, width: int) -> tuple[Key, Instance]:
        return self._network.sessions.get(views, height, width, self._missing)

    def shading(self, key: Key, instance: Instance) -> DeviceShading:
        assert instance is not None, "a network has a session for each size"
        session, stream = instance, self._gpu.stream.handle
        session.warm_up(stream)  # before any capture
        planes, outputs = self._gpu.cuda.Planes, session.outputs
        # a session without a graph of its own cannot be captured
        run = Step("network", lambda: session.enqueue_on(stream), session.mode == "graph")
        return DeviceShading(
            session.inputs["features"], planes.of(outputs["rgb"]), planes.of(outputs["alpha"]), (run,)
        )

    def close(self) -> None:
        self._gpu.release(self._network)


SHADERS: dict[str, Callable[[RenderPlan, SharedGpu], DeviceShader]] = {
    renderer_spec.TEXTURE.name: TextureShader,
    renderer_spec.NETWORK.name: NetworkShader,
}
"""RendererType.name -> its DeviceShader."""
