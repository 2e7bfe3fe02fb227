"""The kernels of kernels.cuda on the stand-in for a GPU (tests/fake_cuda.py): described and checked by the real
Program, computed by the CPU's kernels."""

import importlib.util
import pathlib

import numpy as np

from dinar_live import kernels
from dinar_live.kernels import cuda as real


def _stand_in():
    spec = importlib.util.spec_from_file_location(
        "fake_cuda", pathlib.Path(__file__).parents[1] / "fake_cuda.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake_cuda = _stand_in()
Address, CudaError = fake_cuda.Address, fake_cuda.CudaError


class FakeCuda(fake_cuda.FakeCuda):
    """With all that runtime/render takes from kernels.cuda."""

    DeviceBody, DeviceScene, FrameParameters = real.DeviceBody, real.DeviceScene, real.FrameParameters
    Planes, RasterTarget, Scratch = real.Planes, real.RasterTarget, real.Scratch

    def Program(self, device):
        return Program(device)


class Program(real.Program):
    """The steps are described and checked by the real class; what runs is the CPU's kernels on the same
    memory."""

    def __init__(self, device):
        self.device = device

    def run(self, stream, steps):
        for name, work in steps:
            stream.put(name, work)

    def _addresses(self, **arrays):
        return {
            name: None if array is None else Address(self.device.cuda, array)
            for name, array in arrays.items()
        }

    def lbs(self, body, parameters, projective, vertices=None):
        super().lbs(body, parameters, projective, vertices)
        model, at = (
            body.model,
            self._addresses(projective=projective, rest=body.arrays["rest"], **parameters.device),
        )

        def work():
            at["rest"].here()
            world = kernels.lbs(model, at["body"].here(), at["transl"].here(), at["expression"].here())
            for matrix, out in zip(at["matrices"].here(), at["projective"].here(), strict=True):
                kernels.project(world, matrix, out=out)

        return [("lbs", work)]

    def rasterize(self, scene, parameters, projective, target, *, samples=1, cull=True, near=kernels.NEAR):
        super().rasterize(scene, parameters, projective, target, samples=samples, cull=cull, near=near)
        at = self._addresses(
            faces=scene.faces,
            origins=parameters.device["origins"],
            projective=projective,
            seen=target.visibility,
            queue=target.queue,
        )
        size = target.height, target.width

        def work():
            at["queue"].here()
            for seen, points, (x0, y0) in zip(
                at["seen"].here(), at["projective"].here(), at["origins"].here(), strict=True
            ):
                origin = int(x0) * samples, int(y0) * samples
                raster = kernels.rasterize(
                    points, at["faces"].here(), size, origin=origin, cull=cull, near=near
                )
                seen[...] = raster.triangle_id.astype(np.int64).astype(np.uint64)

        return [("rasterize", work)]

    def gather(
        self, scene, parameters, projective, target, features, depth=None, *, samples=1, near=kernels.NEAR
    ):
        super().gather(scene, parameters, projective, target, features, depth, samples=samples, near=near)
        at = self._addresses(
            faces=scene.faces,
            uv=scene.corner_uv,
            texture=scene.texture,
            origins=parameters.device["origins"],
            projective=projective,
            seen=target.visibility,
            features=features,
            depth=depth,
        )
        size, channels = (target.height, target.width), scene.channels

        def work():
            faces, texture = at["faces"].here(), at["texture"].here()[..., :channels].astype(np.float32)
            uv = np.ascontiguousarray(at["uv"].here()[:, :6]).reshape(-1, 2)
            uv_faces = np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
            for view, (points, (x0, y0)) in enumerate(
                zip(at["projective"].here(), at["origins"].here(), strict=True)
            ):
                # the visibility says which triangles; barycentrics and depth come with rasterizing again, as
                # resolving does on a GPU
                raster = kernels.rasterize(
                    points, faces, size, origin=(int(x0) * samples, int(y0) * samples), near=near
                )
                np.testing.assert_array_equal(raster.triangle_id, at["seen"].here()[view].astype(np.int64))
                at["features"].here()[view] = kernels.gather_uv(
                    raster, uv, uv_faces, np.ascontiguousarray(texture)
                )
                if at["depth"]:
                    at["depth"].here()[view] = raster.depth

        return [("gather", work)]

    def smooth_edges(
        self, scene, parameters, projective, target, fine, features, depth=None, *, samples=1, straight=False
    ):
        self.device.multiprocessors = 1
        args = scene, parameters, projective, target, fine, features, depth
        super().smooth_edges(*args, samples=samples, straight=straight)
        at = self._addresses(
            faces=scene.faces,
            uv=scene.corner_uv,
            texture=scene.texture,
            origins=parameters.device["origins"],
            smooth=parameters.device["smooth"],
            projective=projective,
            fine=fine.visibility,
            features=features,
            depth=depth,
        )
        size, half = (target.height, target.width), features.shape[2] != target.height

        def work():
            faces = at["faces"].here()
            texture = np.ascontiguousarray(at["texture"].here()[..., :3].astype(np.float32))
            uv = np.ascontiguousarray(at["uv"].here()[:, :6]).reshape(-1, 2)
            surface = kernels.Surface(
                faces, uv, np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3), texture
            )
            at["fine"].here()
            for view, (points, (x0, y0)) in enumerate(
                zip(at["projective"].here(), at["origins"].here(), strict=True)
            ):
                if not at["smooth"].here()[view]:
                    continue
                origin = int(x0) * samples, int(y0) * samples
                raster = kernels.rasterize(points, faces, size, origin=origin)
                planes = at["features"].here()[view]
                if half:
                    blocks = np.ascontiguousarray(planes.transpose(1, 2, 0), np.float32)
                    kernels.smooth_edges_half(surface, points, raster, blocks, origin=origin)
                    planes[...] = blocks.transpose(2, 0, 1)
                else:
                    f32 = np.ascontiguousarray(planes, np.float32)
                    kernels.smooth_edges(
                        surface, points, raster, f32[:3], f32[-1], origin=origin, straight=straight
                    )
                    planes[...] = f32
                if at["depth"]:
                    at["depth"].here()[view] = raster.depth

        return [("smooth", work)]

    def compose(
        self,
        parameters,
        rgb,
        alpha,
        rgba,
        *,
        mask=None,
        depth=None,
        depth_out=None,
        samples=1,
        threshold=0.0,
        background=None,
        straight=False,
    ):
        super().compose(
            parameters,
            rgb,
            alpha,
            rgba,
            mask=mask,
            depth=depth,
            depth_out=depth_out,
            samples=samples,
            threshold=threshold,
            background=background,
            straight=straight,
        )
        cuda = self.device.cuda
        at = self._addresses(
            origins=parameters.device["origins"], rgba=rgba, depth=depth, depth_out=depth_out
        )

        def planes(p, view, count):
            (H, W), size = p.size, p.dtype.itemsize
            return np.ascontiguousarray(
                cuda.at(p.pointer + view * p.stride * size, (count, H, W), p.dtype), np.float32
            )

        def work():
            for view, (x0, y0) in enumerate(at["origins"].here()):
                kernels.compose(
                    planes(rgb, view, 3),
                    planes(alpha, view, 1)[0],
                    mask=None if mask is None else planes(mask, view, 1)[0],
                    threshold=threshold,
                    background=background,
                    straight=straight,
                    samples=samples,
                    origin=(int(x0), int(y0)),
                    depth=at["depth"] and at["depth"].here()[view],
                    depth_out=at["depth"] and at["depth_out"].here()[view],
                    out=at["rgba"].here()[view],
                )

        return [("compose", work)]

    def gather_half(self, scene, parameters, projective, target, features, depth=None, *, near=kernels.NEAR):
        super().gather_half(scene, parameters, projective, target, features, depth, near=near)
        at = self._addresses(
            faces=scene.faces,
            uv=scene.corner_uv,
            texture=scene.texture,
            neural=scene.neural,
            origins=parameters.device["origins"],
            projective=projective,
            seen=target.visibility,
            features=features,
            depth=depth,
        )
        size = target.height, target.width

        def work():
            faces = at["faces"].here()
            colour, neural = (
                np.ascontiguousarray(at[name].here()[..., :count].astype(np.float32))
                for name, count in (("texture", 4), ("neural", scene.neural_channels))
            )
            uv = np.ascontiguousarray(at["uv"].here()[:, :6]).reshape(-1, 2)
            uv_faces = np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
            for view, (points, (x0, y0)) in enumerate(
                zip(at["projective"].here(), at["origins"].here(), strict=True)
            ):
                raster = kernels.rasterize(points, faces, size, origin=(int(x0), int(y0)), near=near)
                np.testing.assert_array_equal(raster.triangle_id, at["seen"].here()[view].astype(np.int64))
                blocks = kernels.gather_half(raster, uv, uv_faces, colour, neural)
                at["features"].here()[view] = blocks.transpose(2, 0, 1)
                if at["depth"]:
                    at["depth"].here()[view] = raster.depth

        return [("gather", work)]

    def compose_half(self, parameters, features, correction, rgba, *, depth=None, depth_out=None, **options):
        super().compose_half(
            parameters, features, correction, rgba, depth=depth, depth_out=depth_out, **options
        )
        cuda = self.device.cuda
        at = self._addresses(
            origins=parameters.device["origins"], rgba=rgba, depth=depth, depth_out=depth_out
        )

        def blocks(p, view):
            (h, w), size = p.size, p.dtype.itemsize
            count = p.stride // (h * w)
            planes = cuda.at(p.pointer + view * p.stride * size, (count, h, w), p.dtype)
            return np.ascontiguousarray(planes.transpose(1, 2, 0), np.float32)

        def work():
            for view, (x0, y0) in enumerate(at["origins"].here()):
                kernels.compose_half(
                    blocks(features, view),
                    blocks(correction, view),
                    origin=(int(x0), int(y0)),
                    depth=at["depth"] and at["depth"].here()[view],
                    depth_out=at["depth"] and at["depth_out"].here()[view],
                    out=at["rgba"].here()[view],
                    **options,
                )

        return [("compose", work)]
