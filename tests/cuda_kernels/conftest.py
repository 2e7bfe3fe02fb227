"""One device and program for all tests, and a frame's buffers in a few lines."""

import dataclasses

import numpy as np
import pytest

from dinar_live.kernels import cuda

POISON = 0xEE


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def device():
    return cuda.Device()


@pytest.fixture(scope="session")
def program(device):
    return cuda.Program(device)


@pytest.fixture
def stream(device):
    device.make_current()
    return device.stream()


@dataclasses.dataclass
class Gpu:
    """What tests need again and again; arrays go in and come out as numpy."""

    device: cuda.Device
    program: cuda.Program
    stream: cuda.Stream

    def poisoned(self, shape, dtype):
        """Device memory full of garbage."""
        array = self.device.empty(shape, dtype)
        array.fill_bytes(POISON, self.stream)
        return array

    def parameters(
        self, *, joints=1, origins=((0, 0),), matrices=None, body=None, transl=None, expression=()
    ):
        """Uploaded FrameParameters; one view per origin."""
        p = cuda.FrameParameters(self.device, joints, len(expression), len(origins))
        p.host["origins"][:] = origins
        for name, value in (
            ("matrices", matrices),
            ("body", body),
            ("transl", transl),
            ("expression", expression),
        ):
            if value is not None:
                p.host[name][:] = value
        p.upload(self.stream)
        return p

    def rasterize(
        self,
        projective,
        faces,
        size,
        *,
        origins=((0, 0),),
        capacity=None,
        samples=1,
        uv=None,
        uv_faces=None,
        texture=None,
        dtype=np.float32,
        cull=True,
        near=0.01,
    ):
        """ids i32[views,H,W] (-1 = empty), features [views,C+3,H,W], depth f32[views,H,W]. projective
        [views,V,3]."""
        faces = np.ascontiguousarray(faces, np.int32).reshape(-1, 3)
        if texture is None:
            uv, uv_faces, texture = (
                np.zeros((1, 2), np.float32),
                np.zeros_like(faces),
                np.zeros((1, 1, 1), np.float32),
            )
        scene = cuda.DeviceScene(self.device, projective.shape[1], faces, uv, uv_faces, texture, dtype)
        target = cuda.RasterTarget(self.device, *size, len(faces), len(origins))
        target.capacity = target.capacity if capacity is None else capacity
        p = self.parameters(origins=origins)
        flat = self.device.upload(projective)
        features = self.poisoned((len(origins), scene.channels + 3, *size), dtype)
        depth = self.poisoned((len(origins), *size), np.float32)
        target.visibility.fill_bytes(POISON, self.stream)
        self.program.run(
            self.stream,
            self.program.rasterize(scene, p, flat, target, samples=samples, cull=cull, near=near)
            + self.program.gather(scene, p, flat, target, features, depth, samples=samples, near=near),
        )
        visibility = target.visibility.numpy(self.stream)
        ids = np.where(
            visibility == np.uint64(2**64 - 1), -1, (visibility & np.uint64(0xFFFFFFFF)).astype(np.int64)
        ).astype(np.int32)
        return ids, features.numpy(self.stream), depth.numpy(self.stream)


@pytest.fixture
def gpu(device, program, stream):
    return Gpu(device, program, stream)
