"""Scores by networks that a user brings as ONNX: KID (Binkowski et al. 2018) and ReID's cosine similarity."""

from __future__ import annotations

import pathlib

import cv2
import numpy as np

from dinar_live.engines import EngineError, create_engine
from dinar_live.runtime.core.errors import InputError

MAX_BYTES = 2 << 30


class Embedding:
    """A network picture -> vector: one input f32[1,3,H,W] in [0,1] (its own normalisation inside), one output of
    D numbers. size: (height, width) that it takes. Raises InputError."""

    def __init__(self, path, size: tuple[int, int]):
        path = pathlib.Path(path)
        if not path.is_file() or not 0 < path.stat().st_size <= MAX_BYTES:
            raise InputError(f"{path}: no such file, expected a network as ONNX of 1..{MAX_BYTES} bytes")
        self.path, self.size = path, size
        try:
            self._session = create_engine(str(path), name="openvino", precision="f32").compile((1, *size))
        except (EngineError, ValueError) as e:
            raise InputError(f"{path}: cannot be used ({e})") from e
        shapes = [v.shape for v in self._session.inputs.values()]
        if shapes != [(1, 3, *size)] or len(self._session.outputs) != 1:
            raise InputError(
                f"{path}: inputs {shapes} and {len(self._session.outputs)} outputs, expected [(1, 3, {size[0]}, {size[1]})] and 1"
            )

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The vector f64[D] of a picture f32[H,W,3] in [0,1]. Raises InputError where it is not finite."""
        small = cv2.resize(picture, self.size[::-1], interpolation=cv2.INTER_AREA)
        next(iter(self._session.inputs.values()))[...] = small.transpose(2, 0, 1)[None]
        self._session.enqueue()
        self._session.synchronize()
        out = np.array(next(iter(self._session.outputs.values())), np.float64).ravel()
        if not np.isfinite(out).all():
            raise InputError(f"{self.path}: gives numbers that are not finite")
        return out

    def similarity(self, a: np.ndarray, b: np.ndarray) -> float:
        """Cosine of two pictures' vectors."""
        x, y = self(a), self(b)
        return float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-12))


def kid(true: np.ndarray, made: np.ndarray) -> float:
    """Kernel Inception Distance f of features f64[n,D] and f64[m,D]: the unbiased squared maximum mean
    discrepancy with the kernel (x.y/D + 1)^3. NaN for fewer than two pictures."""
    n, m, d = len(true), len(made), true.shape[1]
    if min(n, m) < 2:
        return float("nan")
    k = lambda x, y: (x @ y.T / d + 1) ** 3  # noqa: E731
    xx, yy = k(true, true), k(made, made)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * k(true, made).mean())
