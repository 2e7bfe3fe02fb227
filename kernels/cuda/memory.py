"""Device memory with a shape and a type, and page-locked host memory."""

from __future__ import annotations

import ctypes
import math
import threading
import weakref

import numpy as np

from .driver import call, driver


class DeviceArray:
    """C-contiguous array in device memory: pointer (int), shape, dtype, nbytes. Freed with the object or by
    `free()`.

    Made by Device.empty and Device.upload, or over memory of somebody else by `DeviceArray.wrap`. torch and
    others see it without a copy through `__cuda_array_interface__`.
    """

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype, owner=None):
        self.pointer = int(pointer)
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self._owner = owner  # keeps the memory alive
        self.shared: DeviceArray | None = None  # and that of a Scratch

    @classmethod
    def wrap(cls, pointer: int, shape, dtype, owner=None) -> DeviceArray:
        """Memory that belongs to `owner` (any object that keeps it alive, None = the caller takes care)."""
        return cls(pointer, shape, dtype, owner)

    def __repr__(self) -> str:
        return f"DeviceArray({self.pointer:#x}, {self.shape}, {self.dtype})"

    @property
    def __cuda_array_interface__(self) -> dict:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
        }

    def view(self, offset: int, shape, dtype) -> DeviceArray:
        """`shape` and `dtype` from byte `offset` on; shares and keeps the memory. Raises ValueError where it
        does not fit."""
        part = DeviceArray(self.pointer + offset, shape, dtype, self)
        if offset < 0 or offset + part.nbytes > self.nbytes or offset % part.dtype.itemsize:
            raise ValueError(
                f"view: bytes {offset} to {offset + part.nbytes} as {part.dtype}; expected an aligned part of {self.nbytes}"
            )
        return part

    def copy_from(self, host: np.ndarray, stream) -> None:
        """Host to device, on the stream; `host` must stay unchanged until it is done. Asynchronous if it is
        page-locked (Device.pinned). Raises ValueError for another shape, type or layout."""
        call("cuMemcpyHtoDAsync", self.pointer, self._like(host).ctypes.data, self.nbytes, stream.handle)

    def copy_to(self, host: np.ndarray, stream) -> None:
        """Device to host, on the stream; valid after a synchronisation or an event. Otherwise as
        copy_from."""
        if not self._like(host).flags.writeable:
            raise ValueError("host is read-only; pass a writable array")
        call("cuMemcpyDtoHAsync", host.ctypes.data, self.pointer, self.nbytes, stream.handle)

    def fill_bytes(self, value: int, stream) -> None:
        """Every byte becomes `value`, on the stream."""
        call("cuMemsetD8Async", self.pointer, value, self.nbytes, stream.handle)

    def numpy(self, stream) -> np.ndarray:
        """A copy on the host; waits for the stream."""
        host = np.empty(self.shape, self.dtype)
        self.copy_to(host, stream)
        stream.synchronize()
        return host

    def free(self) -> None:
        """Give the memory back now (only of arrays made by Device). Nothing may use it any more, graphs
        included."""
        if isinstance(self._owner, _Allocation):
            self._owner.free()

    def _like(self, host: np.ndarray) -> np.ndarray:
        if (
            not isinstance(host, np.ndarray)
            or host.shape != self.shape
            or host.dtype != self.dtype
            or not host.flags.c_contiguous
        ):
            got = f"{host.dtype} {host.shape}" if isinstance(host, np.ndarray) else type(host).__name__
            raise ValueError(f"host: got {got}, expected a C-contiguous array of {self.dtype} {self.shape}")
        return host


class Scratch:
    """Device memory for works that never run at the same time, because all of them are put on one stream: `take` gives
    all of them the same memory, by name. It is as large as the largest that was asked for while it was held; what asked
    for less before keeps its own until it is gone. For any thread."""

    def __init__(self, device):
        self._device = device
        self._lock = threading.Lock()
        self._blocks: weakref.WeakValueDictionary[str, DeviceArray] = weakref.WeakValueDictionary()

    def take(self, name: str, shape: tuple[int, ...], dtype) -> DeviceArray:
        """Uninitialised memory; keep it as long as it is used, graphs included. Raises CudaError."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            block = self._blocks.get(name)
            if block is None or block.nbytes < nbytes:
                block = self._blocks[name] = self._device.empty((nbytes,), np.uint8)
        part = block.view(0, shape, dtype)
        part.shared = block
        return part

    def held(self) -> int:
        """Bytes that are shared now."""
        with self._lock:
            return sum(block.nbytes for block in self._blocks.values())


class _Allocation:
    def __init__(self, device, nbytes: int):
        self.pointer = int(call("cuMemAlloc", max(nbytes, 16)))
        self.free = device.finalizer(self, call, "cuMemFree", self.pointer)


def allocate(device, shape, dtype) -> DeviceArray:
    """Uninitialised device memory (aligned to 256 bytes)."""
    array = DeviceArray(0, shape, dtype)
    array._owner = _Allocation(device, array.nbytes)
    array.pointer = array._owner.pointer
    return array


def pinned(device, shape, dtype) -> np.ndarray:
    """Zeroed page-locked host memory, freed when the array and its views are gone."""
    shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    pointer = int(call("cuMemHostAlloc", max(nbytes, 1), driver().CU_MEMHOSTALLOC_PORTABLE))
    # the base of the array: lives as long as any view of it
    memory = (ctypes.c_uint8 * max(nbytes, 1)).from_address(pointer)
    device.finalizer(memory, call, "cuMemFreeHost", pointer)
    ctypes.memset(pointer, 0, nbytes)
    return np.ctypeslib.as_array(memory)[:nbytes].view(dtype).reshape(shape)
