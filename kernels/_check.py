"""Checks of arguments; every message names the argument, what it is and what was expected."""

import operator

import numpy as np


def array(name: str, value, dtype, shape: tuple) -> np.ndarray:
    """`value` itself if it is a C-contiguous array of `dtype` and `shape` (None = any size); TypeError or
    ValueError otherwise."""
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name} is a {type(value).__name__}; expected a numpy array of {np.dtype(dtype)} {_show(shape)}"
        )
    if value.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {value.dtype}; expected {np.dtype(dtype)}; convert it with .astype(np.{np.dtype(dtype)})"
        )
    if value.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, value.shape, strict=True)
    ):
        raise ValueError(f"{name} has shape {value.shape}; expected {_show(shape)}")
    if not value.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous; pass np.ascontiguousarray({name})")
    return value


def output(name: str, value, dtype, shape: tuple) -> np.ndarray:
    """A new array if `value` is None, else `value`, checked as by `array` and for being writable."""
    if value is None:
        return np.empty(shape, dtype)
    array(name, value, dtype, shape)
    if not value.flags.writeable:
        raise ValueError(f"{name} is read-only; pass a writable array")
    return value


def finite(name: str, value: np.ndarray) -> None:
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or Inf; expected finite values")


def integer(name: str, value, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an integer") from None
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}; expected {low} to {high}")
    return number


def pair(name: str, value, low: int, high: int) -> tuple[int, int]:
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; expected two integers") from None
    return integer(f"{name}[0]", first, low, high), integer(f"{name}[1]", second, low, high)


def threads(value) -> int:
    return integer("threads", value, 0, 4096)


def _show(shape: tuple) -> str:
    return "[" + ",".join("any" if n is None else str(n) for n in shape) + "]"
