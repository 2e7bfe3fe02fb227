"""Does an engine give the frames that the network gives in float32? Measured before a frame is finished,
on an avatar's check poses."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinar_live import engines, kernels
from dinar_live.runtime.avatar import Avatar, RendererSpec
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose

from .framing import whole_body_camera
from .window import padded

MAX_VIEWS = 4
LIMITS = {"f32": (50.0, 2 / 255), "f16": (50.0, 2 / 255), "bf16": (38.0, 12 / 255), "int8": (44.0, 10 / 255)}
"""precision -> (lowest PSNR in dB, largest error that 99.9 % of the channels may have): what nobody sees in 8-bit
images; bfloat16 and int8: what their 8 bits can give. Not the largest of all: kernels that add in float16, as TensorRT picks
them on GeForce, are 57 dB from float32 with single channels that are off by 4/255."""

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """psnr: dB over the pixels that are not empty in both, premultiplied colour and alpha; max_error: largest
    difference of a channel, in [0, 1]; most_error: that of the worst of 99.9 % of them. All before the threshold
    remap."""

    psnr: float
    max_error: float
    most_error: float
    views: int

    def passes(self, precision: str) -> bool:
        """Whether an engine of this precision may be used."""
        psnr, error = LIMITS[precision]
        return self.psnr >= psnr and self.most_error <= error

    def __str__(self) -> str:
        most, largest = 255 * self.most_error, 255 * self.max_error
        views = f"{self.views} view{'s' * (self.views > 1)}"
        return f"PSNR {self.psnr:.1f} dB, 99.9 % within {most:.2f}/255, largest error {largest:.2f}/255 on {views}"


def check_views(avatar: Avatar, size: tuple[int, int]) -> list[tuple[Pose, Camera]]:
    """Up to MAX_VIEWS of the avatar's check poses in frames of `size` (height, width); without checks the
    rest pose from two sides."""
    checks, rig = avatar.checks, avatar.rig
    if checks is None:
        return [
            (Pose(), whole_body_camera(rig, rig.joints[0], size, azimuth=azimuth)) for azimuth in (0.0, 2.5)
        ]
    views = []
    for i in range(min(MAX_VIEWS, len(checks.body))):
        height, width = next(iter(checks.rgba.values()))[i].shape[:2]
        scale = min(size[0] / height, size[1] / width)
        K = checks.K[i].astype(np.float64)
        K[:2] *= scale
        K[0, 2] += (size[1] - width * scale) / 2
        K[1, 2] += (size[0] - height * scale) / 2
        views.append(
            (
                Pose(checks.body[i], checks.transl[i], checks.expression[i]),
                Camera(K, checks.world_to_camera[i]),
            )
        )
    return views


def features(
    avatar: Avatar, spec: RendererSpec, pose: Pose, camera: Camera, size: tuple[int, int]
) -> np.ndarray:
    """What a network is given for a pose: f32[C+3,H,W] for frames of `size` (height, width), of form 2
    f32[16+C,H/2,W/2], computed on the CPU."""
    rig = avatar.rig
    vertices = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
    projective, _ = kernels.project(vertices, camera.matrix)
    raster = kernels.rasterize(projective, rig.faces, size)
    if spec.neural is None:
        return kernels.gather_uv(raster, rig.uv, rig.uv_faces, spec.float_texture())
    blocks = kernels.gather_half(raster, rig.uv, rig.uv_faces, *spec.half_textures())
    return np.ascontiguousarray(blocks.transpose(2, 0, 1))


def inputs_for(
    avatar: Avatar, spec: RendererSpec, key: tuple[int, int, int], size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Inputs f32[N,channels,...] of the network for an instance of (N, height, width) pixels, out of the middle
    of the check views in frames of `size`."""
    n, height, width = key
    full = padded(size, spec.stride)
    y, x = ((full[axis] - key[1 + axis]) // 2 // spec.stride * spec.stride for axis in (0, 1))
    for pose, camera in check_views(avatar, size):
        b = spec.type.blocks
        part = slice(y // b, (y + height) // b), slice(x // b, (x + width) // b)
        frame = features(avatar, spec, pose, camera, full)[:, part[0], part[1]]
        yield np.ascontiguousarray(np.broadcast_to(frame, (n, *frame.shape)))


def measure(
    spec: RendererSpec,
    inputs: Iterator[np.ndarray],
    reference: Callable[[np.ndarray], Outputs],
    candidate: Callable[[np.ndarray], Outputs],
) -> Parity:
    """Compare two ways of running one network on the same inputs."""
    views, differences = 0, []
    for x in inputs:
        want, got = (_premultiplied(spec, x, run(x)) for run in (reference, candidate))
        if not np.isfinite(got).all():
            return Parity(-math.inf, math.inf, math.inf, views + 1)
        seen = (want[:, 3] > 0) | (got[:, 3] > 0)
        differences.append(np.abs(got - want).transpose(0, 2, 3, 1)[seen].ravel())
        views += 1
    every = np.concatenate(differences) if differences else np.zeros(0, np.float32)
    if not every.size:
        return Parity(math.inf, 0.0, 0.0, views)
    mean = float(np.mean(np.square(every, dtype=np.float64)))
    psnr = -10 * math.log10(mean) if mean else math.inf
    return Parity(psnr, float(every.max()), float(np.quantile(every, 0.999)), views)


def _premultiplied(spec: RendererSpec, x: np.ndarray, outputs: Outputs) -> np.ndarray:
    """[N,4,H,W]: colour times alpha, and alpha, as they are before the threshold remap."""
    if spec.neural is not None:
        from dinar_live.kernels.reference.half import compose_half  # of no use to most programs

        turned = zip(x.transpose(0, 2, 3, 1), outputs["correction"].transpose(0, 2, 3, 1), strict=True)
        frames = [compose_half(*planes, hardsegm=spec.hardsegm)[0] for planes in turned]
        return np.stack(frames).transpose(0, 3, 1, 2) / 255
    alpha = outputs["alpha"] + x[:, -1:] if spec.hardsegm else outputs["alpha"]
    alpha = np.clip(alpha, 0, 1)
    return np.concatenate([np.clip(outputs["rgb"], 0, 1) * alpha, alpha], axis=1)


def reference_engine(model: bytes, threads: int = 0) -> engines.Engine:
    """The network in float32 on the CPU."""
    return engines.create_reference(model, threads)


def refuse_wrong(
    avatar: Avatar,
    spec: RendererSpec,
    engine: engines.Engine,
    session: engines.DeviceSession,
    key: tuple[int, int, int],
    size: tuple[int, int],
    shared: tuple = (),
) -> None:
    """EngineError if a session for (N, h, w) = key of frames of `size` does not give the network's
    frames; it is not kept then. shared: further arguments of `on_device`."""
    run = on_device(session, *shared)
    with reference_engine(spec.network) as reference:
        inputs = itertools.islice(inputs_for(avatar, spec, key, size), 1)
        result = measure(spec, inputs, on_host(reference.compile(spec.network_key(key))), run)
    if not result.passes(engine.info.precision):
        reason = (
            f"what {engine.info.name} built in {engine.info.precision} is refused: {result} from the network in "
            "float32; use --precision f32 or another --engine"
        )
        engine.refuse(spec.network_key(key), session.inputs["features"].dtype, reason)
        raise engines.EngineError(reason)
    engine.vouch(spec.network_key(key), session.inputs["features"].dtype)


def on_host(session: engines.HostSession) -> Callable[[np.ndarray], Outputs]:
    """A session as a function of its features."""

    def run(x: np.ndarray) -> Outputs:
        session.inputs["features"][...] = x
        session.enqueue()
        session.synchronize()
        return {name: array.copy() for name, array in session.outputs.items()}

    return run


def on_device(
    session: engines.DeviceSession, device: Any = None, stream: Any = None, turn: Any = None
) -> Callable[[np.ndarray], Outputs]:
    """A session on a GPU as a function of its features. device, stream: of kernels.cuda, by default the session's and
    a new one. turn: a lock to hold meanwhile; for a session that shares memory with frames, theirs, with their
    stream."""
    from dinar_live.engines.gpu import open_device, run_once

    device = device or open_device(session.device)

    def run(x: np.ndarray) -> Outputs:
        with turn or contextlib.nullcontext():
            return run_once(device, session, {"features": x}, stream)

    return run
