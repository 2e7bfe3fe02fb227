"""SharedGpu: what all Renderers of a process share on one NVIDIA GPU: a stream, the kernels, bodies, textures
and networks."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.render.bounds import BodyBounds
from dinar_live.runtime.render.compiled_sizes import CompiledSizes, Key

Progress = Callable[[float, str], None]
"""Called with (fraction, what) while an engine is built."""
Accept = Callable[[engines.Engine, engines.DeviceSession], None]
"""Called once with an engine and its instance before anybody uses them; its EngineError refuses the
engine."""

_gpus: weakref.WeakValueDictionary[int, SharedGpu] = weakref.WeakValueDictionary()
_gpus_lock = threading.Lock()


class SharedNetwork:
    """An engine and its instances, used by every Renderer whose avatar has this model.onnx."""

    def __init__(self, engine: engines.Engine):
        self.engine, self.users = engine, 1
        self.sessions: CompiledSizes[engines.DeviceSession] = CompiledSizes(
            engine.compile_device, evict=False
        )

    def close(self) -> None:
        for session in self.sessions.close():
            session.close()
        self.engine.close()


class SharedGpu:
    """GPU number `index`. Everything runs on one stream, so frames of several Renderers follow one another on
    the device; `lock` is held while one of them puts its work there. Use `shared_gpu`. Raises
    kernels.cuda.CudaError."""

    def __init__(self, cuda, index: int):
        self.cuda, self.index = cuda, index
        self.device = cuda.Device(index)
        self.stream = self.device.stream()
        self.program = cuda.Program(self.device)
        self.lock = threading.RLock()
        self._building = (
            threading.Lock()
        )  # not `lock`: frames go on while an engine is built, which may take minutes
        self._rigs: weakref.WeakKeyDictionary[Rig, tuple] = weakref.WeakKeyDictionary()
        self._scenes: weakref.WeakKeyDictionary[Rig, weakref.WeakKeyDictionary[RendererSpec, dict]] = (
            weakref.WeakKeyDictionary()
        )
        self._networks: dict[tuple[str, str, str], SharedNetwork] = {}

    def body(self, rig: Rig):
        """The rig's DeviceBody, and BodyBounds with a pose of their own."""
        with self.lock:
            if rig not in self._rigs:
                self._rigs[rig] = self.cuda.DeviceBody(self.device, rig.model), BodyBounds(rig)
            body, bounds = self._rigs[rig]
        return body, bounds.share()

    def scene(self, rig: Rig, spec: RendererSpec, dtype) -> object:
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
                )
            return scenes[key]

    def network(
        self,
        model: bytes,
        engine: str,
        precision: str,
        full: Key,
        accept: Accept,
        progress: Progress | None = None,
    ) -> SharedNetwork:
        """The network of an ONNX file with an instance for `full`; give it back with `release`. EngineError
        if no engine can run it."""
        key = hashlib.sha256(model).hexdigest(), engine, precision
        with self._building:
            if network := self._networks.get(key):
                network.sessions.require(full)
                network.users += 1
                return network
            failures: list[str] = []
            # "auto" takes TensorRT where it is installed; if that cannot run this model, torch may
            for name in ("auto", "torch") if engine == "auto" else (engine,):
                network = None
                options = {"device": f"cuda:{self.index}"} | (
                    {} if progress is None or name == "torch" else {"progress": progress}
                )
                try:
                    network = SharedNetwork(
                        engines.create_engine(model, name, precision=precision, **options)
                    )
                    accept(network.engine, network.sessions.require(full))
                except engines.EngineError as e:
                    failures.append(str(e))
                    if network is not None:
                        network.close()
                    if network is None or network.engine.info.name == "torch":
                        break  # "auto" has tried torch already
                    continue
                if failures:  # torch was not asked for; why it is used is part of the first line
                    info = network.engine.info
                    network.engine.info = replace(
                        info, reason=f"auto: {'; '.join(failures)}; {info.precision}"
                    )
                self._networks[key] = network
                return network
        raise engines.EngineError("; ".join(failures))

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
