"""The hands of a body model of the user's own: mean pose and principal components of MANO, as SMPL-X and MANO
files hold them. They are licensed and not part of this."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.npz import Npz

_MAX_BYTES = 2 << 30
_NUMBERS = 45  # 15 joints of three
_SIDES = ("left", "right")


@dataclass(frozen=True, eq=False)
class HandModel:
    """components: f64[2,C,45], rows by falling weight, left then right; mean: f64[2,45] axis-angle."""

    components: np.ndarray
    mean: np.ndarray

    @classmethod
    def load(cls, path) -> HandModel:
        """From SMPLX_*.npz or SMPLH .npz (`hands_componentsl`, `hands_componentsr`, `hands_meanl`,
        `hands_meanr`), or a folder with MANO_LEFT.npz and MANO_RIGHT.npz (`hands_components`, `hands_mean`).
        Raises MotionError naming the file."""
        path = Path(path)
        if path.is_dir():
            files = [_only(path, side) for side in _SIDES]
            sides = [_hand(f, "hands_components", "hands_mean") for f in files]
        else:
            sides = [_hand(path, f"hands_components{s[0]}", f"hands_mean{s[0]}") for s in _SIDES]
        count = min(len(components) for components, _ in sides)
        return cls(np.stack([c[:count] for c, _ in sides]), np.stack([m for _, m in sides]))

    def fingers(self, coefficients: np.ndarray, side: int, flat: bool) -> np.ndarray:
        """Axis-angle f64[N,45] of coefficients [N,n] of the left (0) or right (1) hand; flat: they are
        absolute, without the mean hand. Raises MotionError if the model has fewer components."""
        count = coefficients.shape[1]
        if count > self.components.shape[1]:
            raise MotionError(
                f"{_SIDES[side]} hand: got {count} PCA coefficients, the model has {self.components.shape[1]} components"
            )
        turned = coefficients @ self.components[side, :count]
        return turned if flat else turned + self.mean[side]


def _only(folder: Path, side: str) -> Path:
    found = sorted(p for p in folder.glob("*.npz") if side in p.stem.lower())
    if len(found) != 1:
        raise MotionError(
            f"{folder}: got {len(found)} .npz files with {side!r} in their names, expected one, as MANO_{side.upper()}.npz"
        )
    return found[0]


def _hand(path: Path, components_key: str, mean_key: str) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix.lower() != ".npz":
        raise MotionError(
            f"{path}: got {path.suffix!r}, expected the .npz of an SMPL-X model, or a folder of MANO's"
        )
    arrays = {}
    try:
        with Npz(path, _MAX_BYTES) as file:
            for key, dimensions in ((components_key, 2), (mean_key, 1)):
                if key not in file.keys:
                    raise MotionError(
                        f"{path}: {key}: not in the file, which is no SMPL-X or MANO model with hands"
                    )
                shape, dtype = file.header(key)
                if (
                    dtype.kind != "f"
                    or len(shape) != dimensions
                    or shape[-1] != _NUMBERS
                    or math.prod(shape) > 45**2
                ):
                    expected = "[components, 45]" if dimensions == 2 else "[45]"
                    raise MotionError(f"{path}: {key}: got {dtype}{list(shape)}, expected numbers {expected}")
                arrays[key] = np.asarray(file.read(key), np.float64)
                if not np.isfinite(arrays[key]).all():
                    raise MotionError(f"{path}: {key}: holds NaN or infinite values")
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None
    except ValueError as e:
        raise MotionError(f"{path}: {e}") from None
    return arrays[components_key], arrays[mean_key]
