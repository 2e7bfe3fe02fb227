"""An engine of your own for the renderer networks: here OpenVINO with a stopwatch around it.

python examples/07_an_engine_of_your_own.py    # writes out/07_engine.png
"""

import time

from dinar_live import Avatar, Camera, Pose, Renderer, engines
from dinar_live.runtime.render.sinks import write_png

SIZE = (384, 384)
times_ms: list[float] = []


class TimedSession(engines.Session):
    """One compiled size. Inputs and outputs are float32 arrays by tensor name, bound for its life."""

    def __init__(self, inner: engines.Session):
        super().__init__(dict(inner.inputs), dict(inner.outputs))
        self._inner = inner

    def _start(self) -> None:
        self._began = time.perf_counter()
        self._inner.enqueue()

    def _wait(self) -> None:
        self._inner.synchronize()
        times_ms.append(1e3 * (time.perf_counter() - self._began))


class TimedEngine(engines.Engine):
    """One opened model.onnx; `compile` makes a session for a size (batch, height, width)."""

    def __init__(self, inner: engines.Engine):
        self._inner = inner
        self.info, self.inputs, self.outputs = inner.info, inner.inputs, inner.outputs

    def compile(self, size: tuple[int, int, int]) -> engines.Session:
        return TimedSession(self._inner.compile(size))

    def close(self) -> None:
        self._inner.close()


def open_engine(model, precision: str, threads: int, reason: str) -> engines.Engine:
    """What a Backend's module has to offer."""
    return TimedEngine(engines.create_engine(model.data, "openvino", precision, threads))


engines.register_engine(
    "timed", engines.Backend(__name__, requires=("openvino",), install="pip install openvino")
)
avatar = Avatar.demo()
with Renderer(avatar, SIZE, engine="timed", straight=True, background_compile=False) as renderer:
    cameras = [Camera.orbit(avatar.rig.joints[0], SIZE, azimuth=0.1 * i) for i in range(10)]
    frames = [renderer.render(Pose(), camera) for camera in cameras]
print(f"the network ran {len(times_ms)} times, the quickest took {min(times_ms):.1f} ms")
write_png("out/07_engine.png", frames[-1].rgba)
print("out/07_engine.png")
