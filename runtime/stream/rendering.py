"""What a server is given: the renderer's contract and the limits of a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

import numpy as np

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.stream.protocol.messages import (
    MAX_CAMERAS,
    CameraView,
    OpenXRView,
    Rendered,
    RenderRequest,
)
from dinar_live.runtime.stream.protocol.wire import ErrorCode


@dataclass(frozen=True)
class Limits:
    """What one client may cost. `max_pixels` counts all cameras of a request, `max_rate` its messages a
    second (a second's worth may come at once), `idle_timeout` is in seconds, `send_queue` in messages."""

    max_message: int = 64 * 1024
    max_clients: int = 32
    max_pixels: int = 2048 * 2048
    max_cameras: int = MAX_CAMERAS
    max_rate: float = 1000.0
    idle_timeout: float = 10.0
    send_queue: int = 8

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise InputError(f"Limits.{name}: got {value}, expected a positive number")


class PendingRequest(NamedTuple):
    """A request that waits for its turn, and when it came: time.monotonic_ns()."""

    request: RenderRequest
    received_ns: int


class Refused(DinarError):
    """A renderer's refusal of a request with a code of its own; other DinarErrors are told as REFUSED."""

    def __init__(self, text: str, code: ErrorCode):
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """rgba u8[H,W,4] as `request.format.straight` asks and without its background, depth f32[H,W] metres or
    None, stage times in ms.

    camera: the one that was used, where it is not the one asked for.
    source_time_ns: when the pose was taken, time.monotonic_ns(), where it did not come with the request.
    rendered: what made it; told to clients that want to know.
    The arrays are read until the render call after the next one begins.
    """

    rgba: np.ndarray
    depth: np.ndarray | None = None
    timings: Mapping[str, float] | None = None
    camera: CameraView | OpenXRView | None = None
    source_time_ns: int | None = None
    rendered: Rendered | None = None


class SpareTime(Protocol):
    """What the render thread may do while nothing else is to do."""

    def due(self) -> bool:
        """Whether there is anything, and time for it until the next request. Called after each frame."""
        ...

    def use(self) -> None:
        """Does it."""
        ...


def refusal(request: RenderRequest, last_id: int | None, limits: Limits) -> tuple[ErrorCode, str] | None:
    """Why a request is not let in, if it is not. last_id: of its client, None = it has not said HELLO."""
    pixels = sum(c.width * c.height for c in request.cameras)
    if last_id is None:
        return ErrorCode.HELLO_REQUIRED, "say HELLO first (this server may have restarted)"
    if request.id <= last_id:
        return ErrorCode.BAD_ID, f"id {request.id} after {last_id}, expected ids that grow"
    if len(request.cameras) > limits.max_cameras:
        return ErrorCode.LIMIT, f"{len(request.cameras)} cameras, at most {limits.max_cameras} are allowed"
    if pixels > limits.max_pixels:
        return ErrorCode.LIMIT, f"{pixels} pixels, at most {limits.max_pixels} are allowed"
    return None


def checked_frames(
    frames: RenderedFrame | tuple[RenderedFrame, ...], request: RenderRequest
) -> tuple[RenderedFrame, ...]:
    """What the renderer returned, one frame per camera; TypeError where that is not what the contract
    says."""
    frames = frames if isinstance(frames, tuple) else (frames,)
    if len(frames) != len(request.cameras):
        raise TypeError(f"the renderer returned {len(frames)} frames for {len(request.cameras)} cameras")
    for frame, camera in zip(frames, request.cameras, strict=True):
        _check("rgba", frame.rgba, (*camera.size, 4), np.uint8)
        if frame.depth is not None:
            _check("depth", frame.depth, camera.size, np.float32)
    return frames


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], dtype) -> None:
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(
            f"the renderer's {name} is {array.dtype}{list(array.shape)}, expected C-contiguous {np.dtype(dtype)}{list(shape)}"
        )
