"""Are the frames right? A fast wrong frame is no result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.options import RenderOptions

if TYPE_CHECKING:
    from dinar_live.runtime.stream import Format

MAX_PSNR = 99.0  # dB; what identical pictures are reported as
# Least PSNR in dB over the pixels of the person. Another machine's f32 differs in the last bit of a few
# silhouette pixels.
CHECK_PSNR = 40.0
FRAME_PSNR = 35.0  # bf16 against f32
# The person's share of a square as high as the frame, standing at 85 % of the height: about 0.1; arms wide,
# crouching, sideways and narrow frames stay within these.
COVERAGE = 0.01, 0.75
STEP = 8  # every 8th pixel both ways is enough to see whether somebody is there


@dataclass(frozen=True)
class Difference:
    """psnr in dB over the pixels that either picture covers (all four channels, 0..255); max_abs the largest
    difference, 0..255."""

    psnr: float
    max_abs: int

    def worse(self, other: Difference | None) -> Difference:
        """The worst of both."""
        return (
            self
            if other is None
            else Difference(min(self.psnr, other.psnr), max(self.max_abs, other.max_abs))
        )


def compare(image: np.ndarray, reference: np.ndarray) -> Difference:
    """Two premultiplied pictures u8[H,W,4] of the same size."""
    covered = (image[..., 3] > 0) | (reference[..., 3] > 0)
    error = np.abs(image[covered].astype(np.int32) - reference[covered])
    mse = float(np.mean(np.square(error))) if error.size else 0.0
    psnr = MAX_PSNR if mse == 0 else min(MAX_PSNR, 10 * np.log10(255.0**2 / mse))
    return Difference(float(psnr), int(error.max(initial=0)))


def coverage_fault(rgba: np.ndarray) -> str | None:
    """Why a frame u8[H,W,4] cannot show a whole person (empty or flooded, which is what NaN turns into); None
    if it can."""
    height, width = rgba.shape[:2]
    sample = rgba[STEP // 2 :: STEP, STEP // 2 :: STEP, 3] if min(height, width) >= 8 * STEP else rgba[..., 3]
    covered = np.count_nonzero(sample > 127) / sample.size
    share = covered * width / height
    low, high = COVERAGE
    if low * min(1.0, width / height) <= share <= high:
        return None
    return f"a frame is {'empty' if share < low else 'flooded'}: alpha covers {100 * covered:.1f} % of it"


class References:
    """Renders what a frame should look like: f32, the whole frame at once, on the CPU, in this process.

    options: keyword arguments of Renderer (engine, renderer, threads) that the run under test has too.
    """

    def __init__(self, avatar: Avatar, options: Mapping[str, Any]):
        asked = RenderOptions(**options)
        engine = engines.AUTO if engines.engine_runs_on(asked.engine) == "gpu" else asked.engine
        self._avatar = avatar
        self._options = asked.changed(
            device="cpu",
            rasterizer="native",
            engine=engine,
            precision="f32",
            crop=False,
            background_compile=False,
        )

    def _renderer(self, size: tuple[int, int]) -> Renderer:
        return Renderer(self._avatar, size, options=self._options)

    def check_pictures(self) -> Difference | None:
        """The worst difference from the pictures in the bundle; None if it has none."""
        checks, worst = self._avatar.checks, None
        if checks is None or not len(checks.body):
            return None
        name = self._options.renderer
        pictures = checks.rgba[next(iter(self._avatar.renderers)) if name == "auto" else name]
        _, height, width, _ = pictures.shape
        options = self._options.changed(smooth_edges=False)  # as they were made
        with Renderer(self._avatar, (height, width), options=options) as renderer:
            for i, picture in enumerate(pictures):
                pose = Pose(checks.body[i], checks.transl[i], checks.expression[i])
                frame = renderer.render(pose, Camera(checks.K[i], checks.world_to_camera[i]))
                worst = compare(frame.rgba, picture).worse(worst)
        return worst

    def frames(
        self,
        samples: Iterable[tuple[Pose, Camera, np.ndarray]],
        size: tuple[int, int],
        encoding: Format | None = None,
    ) -> Difference | None:
        """The worst difference of frames (pose, camera, rgba) of `size` (height, width) from what they should
        be; None for no frames.

        encoding: what the frames went through on their way; the references then do too, so that what a JPEG
            loses is no difference.
        """
        worst = None
        through = None if encoding is None else _through(encoding, size)
        with self._renderer(size) as renderer:
            for pose, camera, rgba in samples:
                expected = renderer.render(pose, camera).rgba
                if through is not None:
                    expected = through(camera, expected)
                worst = compare(rgba, expected).worse(worst)
        return worst


def _through(encoding: Format, size: tuple[int, int]) -> Callable[[Camera, np.ndarray], np.ndarray]:
    """What is left of a frame u8[H,W,4] of a camera on its way."""
    # only here: frames are compared on machines without pyzmq too
    from dinar_live.runtime.stream.protocol.image_codec import FrameEncoder, decode_view
    from dinar_live.runtime.stream.protocol.messages import CameraView

    encoder = FrameEncoder()

    def through(camera: Camera, rgba: np.ndarray) -> np.ndarray:
        view = CameraView(camera.K, camera.world_to_camera, size[1], size[0])
        return decode_view(encoder.encode(view, rgba, None, encoding), encoding.straight).rgba

    return through


def compare_served(
    avatar: Avatar,
    options: Mapping[str, Any],
    samples: Iterable[tuple[Pose, Camera, np.ndarray, str]],
    size: tuple[int, int],
    encoding: Format,
) -> tuple[Difference | None, Difference | None]:
    """(worst difference from the check pictures, worst of the frames) of frames that several renderers made: each
    (pose, camera, rgba, name of the renderer) is compared with what that one should make of it."""
    check = worst = None
    kept: dict[str, list[tuple[Pose, Camera, np.ndarray]]] = {}
    for pose, camera, rgba, name in samples:
        kept.setdefault(name, []).append((pose, camera, rgba))
    for name, frames in kept.items():
        references = References(avatar, {**options, "renderer": name})
        difference, pictures = references.frames(frames, size, encoding), references.check_pictures()
        worst = worst if difference is None else difference.worse(worst)
        check = check if pictures is None else pictures.worse(check)
    return check, worst


def judge(check: Difference | None, frames: Difference | None) -> list[str]:
    """What is wrong with the frames, as sentences; empty if nothing is."""
    faults = []
    if check is not None and check.psnr < CHECK_PSNR:
        faults.append(
            f"the f32 renderer is {check.psnr:.1f} dB from the check pictures in the bundle, expected at least {CHECK_PSNR:g}"
        )
    if frames is None:
        faults.append("no frame was compared with its reference")
    elif frames.psnr < FRAME_PSNR:
        faults.append(
            f"a frame is {frames.psnr:.1f} dB from its f32 reference (off by up to {frames.max_abs}), "
            f"expected at least {FRAME_PSNR:g}"
        )
    return faults
