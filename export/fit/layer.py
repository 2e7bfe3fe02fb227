"""Layer: one convolution of the light renderer."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """One convolution: channels in and out, kernel, stride, and the frame's resolution divided by its
    input's."""

    name: str
    n_in: int
    n_out: int
    kernel: int
    stride: int
    divisor: int

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after, in rows and in columns."""
        before = (self.kernel - 1) // 2
        return before, self.kernel - self.stride - before
