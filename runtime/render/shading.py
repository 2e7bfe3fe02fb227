"""Shaders on the CPU: how each renderer type makes colour and alpha of gathered features.

A new renderer type has a RendererType (runtime/avatar/renderer_spec.py), a Shader here and one in gpu/shading.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import renderer_spec
from dinar_live.runtime.core.errors import DinarError

from .compiled_sizes import LATER, NOW, CompiledSizes
from .memory import MemoryBudget
from .options import RenderPlan
from .window import BUCKET


class Shading(NamedTuple):
    """The planes of one window, in memory of the shader. features f32[C+3,h*s,w*s]: what to fill. rgb
    f32[3,h*s,w*s] and alpha f32[h*s,w*s]: what is there after `run`. s: samples per axis.

    height, width: of the window that they are for, at least what was asked for.
    """

    height: int
    width: int
    features: np.ndarray
    rgb: np.ndarray
    alpha: np.ndarray
    run: Callable[[], None]


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


class TextureShader:
    """The texture is the colour and the mask is alpha."""

    bucket = 1
    engine_info = None

    def __init__(self, plan: RenderPlan):
        height, width = plan.padded
        self._samples = plan.spec.samples
        self._planes = 3 + plan.spec.texture.shape[2]
        self._features = np.empty(self._planes * height * width * self._samples**2, np.float32)

    def at(self, height: int, width: int) -> Shading:
        n, h, w = self._planes, height * self._samples, width * self._samples
        features = self._features[: n * h * w].reshape(n, h, w)
        return Shading(height, width, features, features[: n - 3], features[-1], _nothing)

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
        self._missing = LATER if options.background_compile else NOW
        device: dict[str, Any] = {"device": "cpu"} if engines.engine_runs_on(options.engine) == "both" else {}
        self._engine = engines.create_engine(
            spec.network, options.engine, precision=options.precision, threads=options.threads, **device
        )
        self.engine_info: engines.EngineInfo | None = self._engine.info
        self.sessions: CompiledSizes[engines.HostSession] = CompiledSizes(
            self._engine.compile,
            budget=options.memory if isinstance(options.memory, MemoryBudget) else None,
        )
        check_contract(self.sessions.require((1, *plan.padded)), spec.texture.shape[2])

    def at(self, height: int, width: int) -> Shading:
        (_, height, width), session = self.sessions.get(1, height, width, self._missing)

        def run() -> None:
            session.enqueue()
            session.synchronize()

        outputs = session.outputs
        return Shading(
            height, width, session.inputs["features"][0], outputs["rgb"][0], outputs["alpha"][0, 0], run
        )

    @property
    def memory(self) -> int:
        return self.sessions.fixed

    def close(self) -> None:
        self.sessions.close(wait=False)
        self._engine.close()


SHADERS: dict[str, Callable[[RenderPlan], Shader]] = {
    renderer_spec.TEXTURE.name: TextureShader,
    renderer_spec.NETWORK.name: NetworkShader,
}
"""RendererType.name -> its Shader."""


def _nothing() -> None:
    pass


def check_contract(session: engines.HostSession | engines.DeviceSession, texture_channels: int) -> None:
    """DinarError unless the network takes and gives what a renderer network does."""
    channels = texture_channels + 3
    shape = session.inputs["features"].shape if "features" in session.inputs else None
    if shape is None or shape[1] != channels or not {"rgb", "alpha"} <= set(session.outputs):
        raise DinarError(
            f"model.onnx has inputs { {k: v.shape for k, v in session.inputs.items()} } and outputs "
            f"{sorted(session.outputs)}, expected features [N,{channels},H,W], rgb and alpha"
        )
