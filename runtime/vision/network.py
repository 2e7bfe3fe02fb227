"""Network: one of the .tflite files, run by OpenVINO on the CPU."""

from __future__ import annotations

import numpy as np

from dinar_live.engines.openvino.quiet_import import openvino
from dinar_live.runtime.core.errors import ModelError

from .models import ModelFolder


class Network:
    """A network that takes one RGB square. side: pixels of that square. threads: 0 = all cores. Not to be called
    from two threads at once. Raises ModelError where the file is wanting."""

    def __init__(self, name: str, models: ModelFolder, threads: int = 1):
        path = models.ready(name)
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # the same points on every machine
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            compiled = core.compile_model(core.read_model(str(path)), "CPU", config)
        except RuntimeError as e:
            raise ModelError(f"{path}: OpenVINO cannot use it ({' '.join(str(e).split())[-200:]})") from e
        self.side = int(compiled.input(0).shape[1])
        self._input = np.zeros((1, self.side, self.side, 3), np.float32)
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(0, openvino.Tensor(self._input, shared_memory=True))
        self._names = {min(port.get_names()): i for i, port in enumerate(compiled.outputs)}

    def __call__(self, rgb: np.ndarray, low: float = 0.0, high: float = 1.0) -> dict[str, np.ndarray]:
        """Outputs by their names in the file, copies. rgb: u8[side,side,3]; low, high: what 0 and 255 become."""
        np.multiply(rgb, np.float32((high - low) / 255), out=self._input[0])
        self._input += np.float32(low)
        self._request.infer()
        return {
            name: np.array(self._request.get_output_tensor(i).data, np.float32)
            for name, i in self._names.items()
        }


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), without overflow."""
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))
