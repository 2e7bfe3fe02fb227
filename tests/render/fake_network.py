"""An engine whose sessions live on the GPU of fake_cuda and compute with OpenVINO in f32."""

import numpy as np

from dinar_live import engines
from dinar_live.engines import create_engine  # before a test replaces it


class FakeEngine:
    """faults: "compile", "warm_up" or "enqueue" fail; sessions: those made."""

    def __init__(self, cuda, model: bytes, dtype: str = "float32", reason: str = "made for the test"):
        self._cuda, self._dtype = cuda, dtype
        self._engine = create_engine(model, "openvino", precision="f32", threads=1)
        self.info = engines.EngineInfo("fake", "1", "Fake GPU", "f32", 0, reason)
        self.faults: set[str] = set()
        self.sessions: list[FakeSession] = []
        self.closed = False
        self.built, self.dropped = 0, []

    def cancel(self):
        self.cancelled = True

    def unchecked(self, key, io):
        return bool(self.built)

    def vouch(self, key, io):
        pass

    def refuse(self, key, io, reason):
        self.drop(key, io)

    def drop(self, key, io):
        self.dropped.append((key, io))

    def compile_device(self, size):
        if "compile" in self.faults:
            raise engines.EngineError("made to fail while compiling")
        session = FakeSession(self, self._cuda, self._engine.compile(size), self._dtype)
        self.sessions.append(session)
        return session

    def close(self):
        self.closed = True
        self._engine.close()


class FakeSession:
    mode = "graph"

    def __init__(self, engine, cuda, session, dtype):
        self._engine, self._cuda, self._session, self._warm, self.closed = engine, cuda, session, False, False
        self._blocks: list = []
        self.inputs = {name: self._tensor(a.shape, dtype) for name, a in session.inputs.items()}
        self.outputs = {name: self._tensor(a.shape, dtype) for name, a in session.outputs.items()}

    def _tensor(self, shape, dtype):
        block = self._cuda.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self._blocks.append(block)
        return engines.DeviceTensor(block.ctypes.data, tuple(shape), dtype)

    @property
    def memory(self):
        return sum(block.nbytes for block in self._blocks)

    def warm_up(self, stream):
        self._cuda.not_capturing("warm_up")
        if "warm_up" in self._engine.faults:
            raise engines.EngineError("made to fail while warming up")
        self._warm = True

    def enqueue_on(self, stream):
        if "enqueue" in self._engine.faults:
            raise engines.EngineError("the run could not be queued (made to fail)")
        if self._cuda.capturing is not None and not self._warm:
            raise engines.EngineError("captured before warm_up")
        if self.closed:
            raise engines.EngineError("used after close()")
        self._cuda.streams[stream].put("network", self._run)

    def _run(self):
        for tensors, arrays, to_device in (
            (self.inputs, self._session.inputs, False),
            (self.outputs, self._session.outputs, True),
        ):
            if to_device:
                self._session.enqueue()
                self._session.synchronize()
            for name, tensor in tensors.items():
                there = self._cuda.at(tensor.pointer, tensor.shape, tensor.dtype)
                if to_device:
                    there[...] = arrays[name]
                else:
                    arrays[name][...] = there

    def close(self):
        self.closed = True
        self._blocks.clear()
