"""SharedGpu: what all Renderers of a process share on one NVIDIA GPU: a stream, the kernels, bodies, textures
and networks."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import RendererSpec, Rig
from dinar_live.runtime.render.bounds import BodyBounds
from dinar_live.runtime.render.compiled_sizes import CompiledSizes, Key
from dinar_live.runtime.render.memory import MemoryBudget

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import DeviceBody, DeviceScene

Accept = Callable[[engines.Engine, engines.DeviceSession, Key], None]
"""Called once with an engine and each instance of it before anybody uses that; its EngineError refuses the
instance, and with the first one the engine."""
MEMORY_SHARE, MAX_MEMORY = 0.25, 4 << 30
"""What the instances for parts of a frame may hold on a GPU, of all networks together: a share of its memory, and bytes
at most."""

_gpus: weakref.WeakValueDictionary[int, SharedGpu] = weakref.WeakValueDictionary()
_gpus_lock = threading.Lock()


class SharedNetwork:
    """An engine and its instances, used by every Renderer whose avatar has this model.onnx. forget: called, while
    nothing is put on the GPU, with an instance that is to be closed."""

    def __init__(self, gpu: SharedGpu, engine: engines.Engine, accept: Accept):
        self.engine = engine
        self.users = 1
        self.forget: list[Callable[[engines.DeviceSession], None]] = []
        self._gpu = gpu
        self._accept = accept
        engine.scratch = gpu.scratch
        self.sessions: CompiledSizes[engines.DeviceSession] = CompiledSizes(
            self._compile, evict=False, budget=gpu.budget, dropped=self._dropped
        )

    def _compile(self, key: Key) -> engines.DeviceSession:
        session = self.engine.compile_device(key)
        try:
            self._accept(self.engine, session, key)
        except BaseException:
            session.close()
            raise
        return session

    def _dropped(self, session: engines.DeviceSession) -> None:
        gpu = self._gpu
        with gpu.lock:  # nobody captures, and no frame is being put on the stream
            for forget in self.forget:
                forget(session)
            gpu.device.make_current()
            gpu.stream.synchronize()
            session.close()

    def close_sessions(self) -> None:
        """Of an engine that nobody uses any more: what it builds is not waited for."""
        self.engine.cancel()
        for session in self.sessions.close():
            session.close()

    def close(self) -> None:
        self.close_sessions()
        self.engine.close()


class SharedGpu:
    """GPU number `index`. Everything runs on one stream, so frames of several Renderers follow one another on
    the device; `lock` is held while one of them puts its work there. Use `shared_gpu`. Raises
    kernels.cuda.CudaError.

    cuda: the package kernels.cuda, or what stands in for it. scratch: memory that frames share, one after the other.
    budget: of the networks' instances."""

    def __init__(self, cuda: ModuleType | Any, index: int):
        self.cuda = cuda
        self.index = index
        self.device = cuda.Device(index)
        self.stream = self.device.stream()
        self.program = cuda.Program(self.device)
        self.scratch = cuda.Scratch(self.device)
        self.budget = MemoryBudget(min(MAX_MEMORY, int(MEMORY_SHARE * self.device.memory)))
        self.lock = threading.RLock()
        self._building = (
            threading.Lock()
        )  # not `lock`: frames go on while an engine is built, which may take minutes
        self._rigs: weakref.WeakKeyDictionary[Rig, tuple[DeviceBody, BodyBounds]] = (
            weakref.WeakKeyDictionary()
        )
        self._scenes: weakref.WeakKeyDictionary[Rig, weakref.WeakKeyDictionary[RendererSpec, dict]] = (
            weakref.WeakKeyDictionary()
        )
        self._networks: dict[tuple[str, str, str], SharedNetwork] = {}

    def body(self, rig: Rig) -> tuple[DeviceBody, BodyBounds]:
        """The rig's DeviceBody, and BodyBounds with a pose of their own."""
        with self.lock:
            if rig not in self._rigs:
                self._rigs[rig] = self.cuda.DeviceBody(self.device, rig.model), BodyBounds(rig)
            body, bounds = self._rigs[rig]
        return body, bounds.share()

    def scene(self, rig: Rig, spec: RendererSpec, dtype: str) -> DeviceScene:
        """The DeviceScene of a renderer's texture, float16 or float32."""
        with self.lock:
            scenes = self._scenes.setdefault(rig, weakref.WeakKeyDictionary()).setdefault(spec, {})
            key = np.dtype(dtype).name
            if key not in scenes:
                scenes[key] = self.cuda.DeviceScene(
                    self.device,
                    len(rig.model.vertices),
                    rig.faces,
                    rig.uv,
                    rig.uv_faces,
                    spec.float_texture(),
                    dtype=np.dtype(dtype),
                    neural=None if spec.neural is None else spec.float_neural(),
                )
            return scenes[key]

    def network(
        self,
        model: bytes,
        engine: str,
        precision: str,
        full: Key,
        accept: Accept,
        more: Mapping[str, Any] | None = None,
    ) -> SharedNetwork:
        """The network of an ONNX file with an instance for `full`; give it back with `release`. more: further options
        of create_engine, for those engines that have them. EngineError if no engine can run it."""
        key = hashlib.sha256(model).hexdigest(), engine, precision
        offered = {"device": f"cuda:{self.index}", **(more or {})}
        known = engines.engine_options(engine)
        options = {name: value for name, value in offered.items() if name in known and value is not None}
        made: list[SharedNetwork] = []

        def accepted(opened: engines.Engine) -> None:
            candidate = SharedNetwork(self, opened, accept)
            try:
                candidate.sessions.require(full)
            except BaseException:
                candidate.close_sessions()
                raise
            made.append(candidate)

        with self._building:
            if network := self._networks.get(key):
                network.sessions.require(full)
                network.users += 1
                return network
            engines.create_engine(model, engine, precision=precision, accept=accepted, **options)
            (network,) = made
            self._networks[key] = network
            return network

    def release(self, network: SharedNetwork) -> None:
        """The caller uses it no more; the last one closes it."""
        with self._building:
            network.users -= 1
            if network.users:
                return
            self._networks = {key: n for key, n in self._networks.items() if n is not network}
        with self.lock:  # nobody captures
            self.device.make_current()
            self.stream.synchronize()
        network.close()


def shared_gpu(index: int = 0) -> SharedGpu:
    """The process's SharedGpu of this number, made on first use. Raises kernels.cuda.CudaError in one
    sentence where there is none."""
    from dinar_live.kernels import cuda  # only where a GPU is wanted

    with _gpus_lock:
        gpu = _gpus.get(index)
        if gpu is None:
            gpu = _gpus[index] = SharedGpu(cuda, index)
        return gpu
