"""The nvdiffrast adapter against our rasterizer: on a GPU with nvdiffrast itself, on the emulated driver with
a stand-in that follows its published conventions (clip space, row 0 at y = -1, u v z/w triangle+1, no
culling) and refuses what it would refuse."""

import contextlib
import importlib.machinery
import os
import sys
import types

import numpy as np
import pytest

from dinar_live.kernels import cuda, rasterize
from dinar_live.kernels.cuda import driver

EMULATED = bool(os.environ.get("DINAR_EMULATED_CUDA"))
# vertices are snapped to 1/16 pixel there: of all pixels, those that may show another triangle, and another
# outline
OTHER_TRIANGLE, OTHER_OUTLINE = (1e-3, 1e-3) if EMULATED else (0.05, 0.01)


class Tensor:
    """Device memory as the stand-ins see it."""

    def __init__(self, array, keep=None):
        self.array, self.keep = array, keep

    def __getitem__(self, i):
        size = int(np.prod(self.array.shape[1:])) * self.array.dtype.itemsize
        return Tensor(
            cuda.DeviceArray(self.array.pointer + i * size, self.array.shape[1:], self.array.dtype), self
        )

    def data_ptr(self):
        return self.array.pointer


class StandIn:
    """nvdiffrast.torch and the bit of torch that the adapter uses."""

    def __init__(self, device):
        self.device, self.current, self.contexts = device, None, []
        outer = self

        class RasterizeCudaContext:
            def __init__(self, device=None):
                self.size, self.device = None, device
                outer.contexts.append(self)

        @contextlib.contextmanager
        def stream(handle):
            outer.current, before = handle, outer.current
            yield
            outer.current = before

        cuda_module = types.SimpleNamespace(
            is_available=lambda: True,
            device=contextlib.nullcontext,
            stream=stream,
            ExternalStream=lambda handle, device=None: handle,
        )
        self.torch, self.package, self.module = (
            types.ModuleType(n) for n in ("torch", "nvdiffrast", "nvdiffrast.torch")
        )
        for module in (self.torch, self.package, self.module):
            module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        self.torch.cuda, self.torch.as_tensor = cuda_module, self.as_tensor
        self.module.RasterizeCudaContext, self.module.rasterize = RasterizeCudaContext, self.rasterize
        self.package.torch = self.module

    def as_tensor(self, array, device):
        interface = array.__cuda_array_interface__
        assert device == f"cuda:{self.device.index}" and interface["strides"] is None
        return Tensor(
            cuda.DeviceArray(interface["data"][0], interface["shape"], np.dtype(interface["typestr"])), array
        )

    def rasterize(self, context, pos, tri, resolution, ranges=None, grad_db=True):
        assert self.current and ranges is None and context.size in (None, resolution)
        context.size = resolution
        assert (
            pos.array.dtype == np.float32
            and pos.array.shape[0] == 1
            and pos.array.shape[2] == 4
            and pos.data_ptr() % 16 == 0
        )
        assert tri.array.dtype == np.int32 and tri.array.shape[1] == 3
        stream = types.SimpleNamespace(
            handle=self.current, synchronize=lambda: driver.call("cuStreamSynchronize", self.current)
        )
        (clip,), faces, (H, W) = (
            pos.array.numpy(stream).astype(np.float64),
            tri.array.numpy(stream),
            resolution,
        )
        near = np.median(clip[:, 3] - clip[:, 2]) / 2  # where z/w = -1, if z is w less a constant
        np.testing.assert_allclose(clip[:, 3] - clip[:, 2], 2 * near, rtol=1e-3)
        flat = np.stack(
            [(clip[:, 0] + clip[:, 3]) * W / 2, (clip[:, 1] + clip[:, 3]) * H / 2, clip[:, 3]], 1
        ).astype(np.float32)
        drawn = rasterize(flat, faces, resolution, cull=False, near=float(near))
        out = np.zeros((1, H, W, 4), np.float32)
        seen = drawn.triangle_id >= 0
        out[0, seen, :2] = drawn.barycentrics[seen][:, :2]
        out[0, seen, 2] = 1 - 2 * near / drawn.depth[seen]
        out[0, seen, 3] = drawn.triangle_id[seen] + 1
        return Tensor(self.device.upload(out)), None


@pytest.fixture
def rasterizer(gpu, monkeypatch):
    """A function that makes the adapter, and the stand-in (None on a GPU)."""
    stand_in = None
    if EMULATED:
        stand_in = StandIn(gpu.device)
        for module in (stand_in.torch, stand_in.package, stand_in.module):
            monkeypatch.setitem(sys.modules, module.__name__, module)
    else:
        pytest.importorskip("nvdiffrast")
    return cuda.NvdiffrastRasterizer, stand_in


def scene(rng, views):
    """A bumpy sheet before a closed-looking mess of triangles of both windings, some through the near plane,
    seen twice."""
    n, count = 20, 60
    gx, gy = np.meshgrid(np.linspace(-5, 90, n + 1), np.linspace(-5, 90, n + 1))
    sheet = np.stack([gx, gy], -1).reshape(-1, 2) + rng.normal(0, 0.8, ((n + 1) ** 2, 2))
    i = np.arange(n * (n + 1)).reshape(n, n + 1)[:, :-1].ravel()
    faces = np.concatenate([np.stack([i, i + n + 1, i + 1], 1), np.stack([i + 1, i + n + 1, i + n + 2], 1)])
    px = np.concatenate(
        [sheet, (rng.uniform(0, 80, (count, 1, 2)) + rng.normal(0, 12, (count, 3, 2))).reshape(-1, 2)]
    )
    z = np.concatenate([rng.uniform(2, 2.5, len(sheet)), rng.uniform(1, 3.5, 3 * count)])
    v = np.concatenate([px * z[:, None], z[:, None]], 1)
    v[-6:, 2] *= [-1, 1, 1, 1, 0.001, 1]
    faces = np.concatenate([faces, len(sheet) + np.arange(3 * count).reshape(-1, 3)]).astype(np.int32)
    keep = rng.random(len(faces)) < 0.7  # holes
    return np.stack([v + [3 * k, 0, 0] for k in range(views)]).astype(np.float32), np.ascontiguousarray(
        faces[keep]
    )


def ids_of(visibility):
    return np.where(
        visibility == np.uint64(2**64 - 1), -1, (visibility & np.uint64(0xFFFFFFFF)).astype(np.int64)
    )


@pytest.mark.gpu
@pytest.mark.parametrize("cull", [True, False])
def test_equals_native(gpu, rng, rasterizer, cull):
    make, stand_in = rasterizer
    adapter = make(gpu.program, cull=cull)
    assert adapter.name == "nvdiffrast" and not adapter.capturable
    vertices, faces = scene(rng, 2)
    device_scene = cuda.DeviceScene(
        gpu.device,
        vertices.shape[1],
        faces,
        np.zeros((1, 2), np.float32),
        np.zeros_like(faces),
        np.zeros((1, 1, 1), np.float32),
        np.float32,
    )
    p, projective = gpu.parameters(origins=((3, 5), (10, -4))), gpu.device.upload(vertices)
    for size, samples in (((60, 70), 1), ((44, 33), 2)):
        target = cuda.RasterTarget(gpu.device, *size, len(faces), 2)
        gpu.program.run(
            gpu.stream, gpu.program.rasterize(device_scene, p, projective, target, samples=samples, cull=cull)
        )
        want = target.visibility.numpy(gpu.stream)
        for _ in range(2):  # the second time with what the first one left
            target.visibility.fill_bytes(0xEE, gpu.stream)
            adapter.rasterize(gpu.stream, device_scene, p, projective, target, samples)
            got = target.visibility.numpy(gpu.stream)
            assert (ids_of(got) != ids_of(want)).mean() <= OTHER_TRIANGLE
            assert ((ids_of(got) < 0) != (ids_of(want) < 0)).mean() <= OTHER_OUTLINE
            assert 0.2 < (ids_of(got) >= 0).mean() < 1
            same = (ids_of(got) == ids_of(want)) & (ids_of(want) >= 0)
            depth = [
                1 / (~(x[same] >> np.uint64(32))).astype(np.uint32).view(np.float32) for x in (got, want)
            ]
            np.testing.assert_allclose(*depth, rtol=1e-2)
    if stand_in:
        assert [c.size for c in stand_in.contexts] == [(60, 70), (44, 33)]  # one context per size


@pytest.mark.gpu
def test_what_does_not_fit_is_refused(gpu, rasterizer):
    adapter = rasterizer[0](gpu.program)
    faces = np.zeros((1, 3), np.int32)
    s = cuda.DeviceScene(
        gpu.device, 3, faces, np.zeros((1, 2), np.float32), faces, np.zeros((1, 1, 1), np.float32)
    )
    with pytest.raises(ValueError, match="projective is float32"):
        adapter.rasterize(
            gpu.stream,
            s,
            gpu.parameters(),
            gpu.device.empty((2, 3, 3), np.float32),
            cuda.RasterTarget(gpu.device, 4, 4, 1),
        )


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    with pytest.raises(
        cuda.CudaError,
        match=r"^nvdiffrast is not installed; .*--no-build-isolation .* research and evaluation only",
    ):
        cuda.NvdiffrastRasterizer(None)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cuda.NvdiffrastRasterizer.missing().startswith("torch is not installed")


def test_installed_but_broken(monkeypatch):
    torch, package = types.ModuleType("torch"), types.ModuleType("nvdiffrast")
    for module in (torch, package):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    with pytest.raises(cuda.CudaError, match="nvdiffrast cannot be loaded .* build it again for this torch"):
        cuda.NvdiffrastRasterizer(None)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", types.ModuleType("nvdiffrast.torch"))
    torch.cuda, torch.__version__ = types.SimpleNamespace(is_available=lambda: False), "2.13.0+cpu"
    with pytest.raises(cuda.CudaError, match=r"needs a torch with CUDA; this one \(2.13.0\+cpu\) has none"):
        cuda.NvdiffrastRasterizer(None)


@pytest.mark.gpu
def test_whole_frames(rng, rasterizer, monkeypatch):
    """A Renderer with nvdiffrast shows what one with the CPU shows, but for a few pixels at outlines."""
    from dinar_live.runtime import Avatar, Body, Pose, Renderer
    from dinar_live.runtime.avatar import RendererSpec
    from dinar_live.runtime.render.framing import whole_body_camera

    rig = Body.open().rig()
    smooth = np.add.outer(np.arange(64), np.arange(64))[..., None] + np.array([0, 40, 80])
    avatar = Avatar("a", rig, {"texture": RendererSpec(smooth.astype(np.uint8), samples=2)})
    size = (96, 80)
    with (
        Renderer(avatar, size, device="cuda", rasterizer="nvdiffrast", depth=True) as gpu,
        Renderer(avatar, size, device="cpu", depth=True) as cpu,
    ):
        assert "nvdiffrast" in gpu.describe()
        for i in range(4):  # the first one eagerly, then from graphs around it
            pose = Pose(rng.normal(0, 0.2, (55, 3)), rng.normal(0, 0.05, 3))
            camera = whole_body_camera(rig, rig.joints[0], size, azimuth=0.8 * i)
            a, b = gpu.render(pose, camera), cpu.render(pose, camera)
            differ = (np.abs(a.rgba.astype(int) - b.rgba) > 8).any(-1)
            assert differ.mean() <= OTHER_OUTLINE and (b.rgba[..., 3] > 0).mean() > 0.05, differ.sum()
            seen = (a.depth > 0) & (b.depth > 0)
            assert np.quantile(np.abs(a.depth - b.depth)[seen], 0.99) < 2e-3
