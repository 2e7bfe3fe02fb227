"""The messages as immutable values. `protocol` turns them into bytes and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

JPEG, RAW = 1, 2  # colour encodings
NO_PLANE, RAW_PLANE, DEFLATE_PLANE = 0, 1, 2  # alpha and depth encodings: one byte or float32 per pixel
HALF_RAW, HALF_DEFLATE = 3, 4  # alpha: one byte per 2 x 2 pixels
INVERSE_RAW, INVERSE_DEFLATE = 3, 4  # depth: near and far, then uint16 inverse depth
MAX_CAMERAS = 2
MIN_DEPTH, MAX_DEPTH = 1e-3, 1e6  # metres, of near and far
MAX_NAME = 64  # bytes of an avatar's or a renderer's name
MAX_EXPRESSION = 100
MAX_TIMINGS = 32
MAX_JSON = 16 * 1024
MAX_ERROR_TEXT = 500


@dataclass(frozen=True)
class Format:
    """How the client wants its frames, as on the wire: `color` JPEG (RGB) or RAW (RGBA), `quality` of the
    JPEG 1..100, `alpha` NO_PLANE, RAW_PLANE, DEFLATE_PLANE, HALF_RAW or HALF_DEFLATE (RAW colour has alpha in
    it and asks for no plane), `depth` NO_PLANE, RAW_PLANE, DEFLATE_PLANE, INVERSE_RAW or INVERSE_DEFLATE,
    `straight` = not premultiplied.

    background: (r, g, b) in 0..255 to composite over; the frame is then opaque. margin: pixels around the
        avatar's box that are sent too.
    near, far: metres, the range of inverse depth; 0, 0 = what each frame needs. `FrameFormat` is the same
        in words.
    """

    color: int = JPEG
    quality: int = 85
    alpha: int = DEFLATE_PLANE
    depth: int = NO_PLANE
    straight: bool = False
    background: tuple[int, int, int] | None = None
    margin: int = 0
    near: float = 0.0
    far: float = 0.0


class CameraView(NamedTuple):
    """K f32[3,3] pixels, world_to_camera f32[4,4] metres (OpenCV axes), and the image size in pixels."""

    K: np.ndarray
    world_to_camera: np.ndarray
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width


class OpenXRView(NamedTuple):
    """A camera as OpenXR gives it, and the image size in pixels.

    position f32[3] metres and orientation f32[4] (quaternion x y z w) of the eye in the world, with x right,
    y up, z back; fov f32[4] = angles to the left, right, up, down edge in radians, left and down negative.
    """

    position: np.ndarray
    orientation: np.ndarray
    fov: np.ndarray
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width


class PoseValues(NamedTuple):
    """body f32[55,3] axis-angle radians, transl f32[3] metres, expression f32[E]."""

    body: np.ndarray
    transl: np.ndarray
    expression: np.ndarray


class SourceChoice(NamedTuple):
    """What moves in a request without a pose.

    index: in the server's `sources`; 0 = its live source, which knows no time. time: seconds into a recorded
        one, which repeats.
    follow: the cameras go along: they are given relative to the spot on the ground where the person is.
    """

    index: int = 0  # pyright: ignore[reportIncompatibleMethodOverride] (a field, not tuple.index)
    time: float = 0.0
    follow: bool = False


class Rendered(NamedTuple):
    """What made a frame: the name of the avatar's renderer, and how many pixels it rendered for one of the
    frame's along each side; below 1 the picture was scaled up to the size asked for."""

    renderer: str
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Hello:
    info: dict
    session: int = 0


@dataclass(frozen=True, eq=False)
class Caps:
    """What a server says of itself and of one avatar; `id` of the Describe it answers, 0 = a Hello."""

    info: dict
    session: int = 0
    id: int = 0


@dataclass(frozen=True)
class Describe:
    """Asks for the Caps of one avatar, "" = the first."""

    id: int
    avatar: str = ""
    session: int = 0


@dataclass(frozen=True, eq=False)
class RenderRequest:
    """One frame (or a stereo pair) asked for. Arrays are read-only views of the message; pose None = one of
    the server's sources, the live one if `source` is None too.

    `id` grows with every request of a client; `pose_time_ns` is the client's clock, echoed in the answer.
    avatar: its name, "" = the first. renderer: the name of one of the avatar's, "" = the one that the server
        chooses; the frame then says which it was. None = the server's choice, and nothing is said.
    client: a number that the server gives each of its clients; asked: how many requests that client has made,
        this one included; neither is in the message.
    """

    id: int
    cameras: tuple[CameraView | OpenXRView, ...]
    pose: PoseValues | None = None
    format: Format = field(default_factory=Format)
    pose_time_ns: int = 0
    session: int = 0
    source: SourceChoice | None = None
    avatar: str = ""
    renderer: str | None = None
    client: int = 0
    asked: int = 0


PlaneData: TypeAlias = bytes | memoryview | np.ndarray


class Plane(NamedTuple):
    """One encoded image plane: its encoding and its bytes, or an array of them that is still to be copied."""

    encoding: int
    data: PlaneData


class Rect(NamedTuple):
    """The part of a frame that is sent, in pixels from the top left corner; the rest of the frame is
    empty."""

    x: int
    y: int
    width: int
    height: int


class EncodedView(NamedTuple):
    """The planes of one camera's frame; all cover `rect`."""

    camera: CameraView | OpenXRView
    rect: Rect
    color: Plane
    alpha: Plane | None = None
    depth: Plane | None = None


@dataclass(frozen=True, eq=False)
class FrameMessage:
    """The answer to a RenderRequest: one encoded view per camera and the server's stage times in ms.

    background: (r, g, b) in 0..255 that the frames lie over. source_time_ns: when the pose was taken, on
    the server's clock, where a source of the server gave it. rendered: what made it, where the request
    asked for that.
    """

    id: int
    views: tuple[EncodedView, ...]
    timings: dict[str, float]
    pose_time_ns: int = 0
    server_recv_ns: int = 0
    server_send_ns: int = 0
    straight: bool = False
    session: int = 0
    background: tuple[int, int, int] | None = None
    source_time_ns: int | None = None
    rendered: Rendered | None = None


@dataclass(frozen=True)
class Superseded:
    """Request `id` was replaced by a newer one of the same client before its turn came."""

    id: int
    pose_time_ns: int = 0
    session: int = 0


@dataclass(frozen=True)
class ErrorMessage:
    """Request `id` (0: no request) failed; `code` is an ErrorCode."""

    id: int
    code: int
    text: str
    pose_time_ns: int = 0
    session: int = 0


@dataclass(frozen=True)
class Bye:
    session: int = 0


@dataclass(frozen=True)
class Time:
    """Clock comparison: the client fills `client_ns`, the server echoes it and adds when it received and
    answered."""

    id: int
    client_ns: int
    server_recv_ns: int = 0
    server_send_ns: int = 0
    session: int = 0


Message = Hello | Caps | Describe | RenderRequest | FrameMessage | Superseded | ErrorMessage | Bye | Time
