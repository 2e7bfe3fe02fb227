"""Checks of arrays that come from users."""

from __future__ import annotations

import numpy as np

from .errors import InputError


def checked(name: str, value, shape: tuple[int, ...], limit: float = np.inf) -> np.ndarray:
    """`value` as a read-only float32 array of `shape` (-1 = any), finite and within +-limit; else InputError
    naming `name`."""
    try:
        array = np.array(value, dtype=np.float32, copy=True, order="C")
    except (TypeError, ValueError) as e:
        raise InputError(f"{name}: not an array of numbers ({e})") from None
    if array.ndim != len(shape) or any(s not in (-1, n) for s, n in zip(shape, array.shape, strict=True)):
        expected = "[" + ",".join("n" if s < 0 else str(s) for s in shape) + "]"
        raise InputError(f"{name}: got shape {list(array.shape)}, expected {expected}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds NaN or infinite values, expected finite numbers")
    if array.size and np.abs(array).max() > limit:
        raise InputError(
            f"{name}: got a value of {np.abs(array).max():g}, expected at most {limit:g} in magnitude"
        )
    array.flags.writeable = False
    return array
