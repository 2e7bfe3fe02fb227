"""A straightforward pipeline in torch, the way most people would write it: what benchmarks/gpu_check.py
compares with.

Skinning as in the published SMPL-X code (dense weights, a Python loop over the joints), nvdiffrast where it
is installed and else rasterization in torch (every pixel of every bounding box, the nearest by
scatter_reduce), grid_sample, the network eagerly, and .cpu().
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dinar_live.engines import create_engine
from dinar_live.kernels import NEAR
from dinar_live.runtime import Avatar, Camera, Pose

STAGES = ("lbs", "rasterize", "gather", "network", "compose")


class Baseline:
    """One avatar at one size (height, width) on a torch device. `render` returns u8[H,W,4] and milliseconds
    per stage.

    half: the texture and the network in fp16. nvdiffrast: use it; None = where it is installed and the device
        is a GPU.
    """

    def __init__(
        self,
        avatar: Avatar,
        renderer: str,
        size: tuple[int, int],
        device: str = "cuda",
        half: bool = True,
        nvdiffrast: bool | None = None,
    ):
        self.device, self.size = torch.device(device), size
        rig, self.spec = avatar.rig, avatar.renderers[renderer]
        model, V, J = rig.model, len(rig.model.vertices), len(rig.model.joints)
        self.dtype = torch.float16 if half else torch.float32

        def put(array, dtype=torch.float32):
            return torch.as_tensor(np.ascontiguousarray(array), device=self.device).to(dtype)

        weights = np.zeros((V, J), np.float32)
        np.add.at(weights, (np.arange(V)[:, None], model.skin_index), model.skin_weight)
        dirs = np.zeros((V, 3, model.expression_count), np.float32)
        dirs[model.expression_vertex] = model.expression_dirs
        self.rest, self.joints, self.weights, self.dirs = (
            put(model.vertices),
            put(model.joints),
            put(weights),
            put(dirs),
        )
        self.joint_dirs, self.parents = put(model.expression_joint_dirs), model.parents.tolist()
        self.pose_dirs = (
            None if model.pose_dirs is None else put(model.pose_dirs.reshape(len(model.pose_dirs), -1))
        )
        self.faces, self.uv, self.uv_faces = (
            put(rig.faces, torch.int64),
            put(rig.uv),
            put(rig.uv_faces, torch.int64),
        )
        self.texture = put(self.spec.float_texture(), self.dtype).permute(2, 0, 1)[None].contiguous()
        installed = importlib.util.find_spec("nvdiffrast") is not None and self.device.type == "cuda"
        self.nvdiffrast = installed if nvdiffrast is None else nvdiffrast
        if self.nvdiffrast:
            import nvdiffrast.torch as dr  # pyright: ignore[reportMissingImports]  optional, not on PyPI

            self._dr, self._context = dr, dr.RasterizeCudaContext(device=self.device)
        self.network = None
        if self.spec.model is not None:
            engine: Any = create_engine(
                self.spec.model, "torch", "f16" if half else "f32", device=str(self.device)
            )
            self.network = engine.graph("float16" if half else "float32")

    @torch.inference_mode()
    def render(self, pose: Pose, camera: Camera) -> tuple[np.ndarray, dict[str, float]]:
        """The picture, premultiplied, and the time of each stage with a synchronization after it."""
        times, self._last = {}, self._now()

        def lap(stage):
            now = self._now()
            times[stage], self._last = (now - self._last) * 1e3, now

        s = self.spec.samples
        matrix = torch.as_tensor(
            np.diag([s, s, 1.0]) @ camera.matrix, dtype=torch.float32, device=self.device
        )
        points = self._skin(pose)
        points = points @ matrix[:, :3].T + matrix[:, 3]
        lap("lbs")
        ids, barycentrics = self._rasterize(points, self.size[0] * s, self.size[1] * s)
        lap("rasterize")
        features = self._gather(ids, barycentrics)
        lap("gather")
        if self.network is None:
            rgb, alpha = features[:, :3], features[:, -1:]
        else:
            outputs = self.network.run({"features": features})
            rgb, alpha = outputs["rgb"], outputs["alpha"]
        lap("network")
        picture = self._compose(rgb.float(), alpha.float(), features[:, -1:].float()).cpu().numpy()
        lap("compose")
        return picture, times

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _skin(self, pose: Pose) -> torch.Tensor:
        device, J = self.device, len(self.parents)
        body = torch.tensor(pose.body, device=device)
        expression = torch.zeros(self.dirs.shape[2], device=device)
        expression[: len(pose.expression)] = torch.tensor(pose.expression, device=device)
        rest, joints = self.rest + self.dirs @ expression, self.joints + self.joint_dirs @ expression
        angle = torch.linalg.norm(body + 1e-8, dim=1)[:, None, None]
        axis = body / angle[:, :, 0]
        K = torch.zeros(J, 3, 3, device=device)
        K[:, 0, 1], K[:, 0, 2], K[:, 1, 0] = -axis[:, 2], axis[:, 1], axis[:, 2]
        K[:, 1, 2], K[:, 2, 0], K[:, 2, 1] = -axis[:, 0], -axis[:, 1], axis[:, 0]
        R = torch.eye(3, device=device) + torch.sin(angle) * K + (1 - torch.cos(angle)) * K @ K
        if self.pose_dirs is not None:
            rest = rest + ((R[1:] - torch.eye(3, device=device)).reshape(-1) @ self.pose_dirs).view(-1, 3)
        local = torch.zeros(J, 4, 4, device=device)
        local[:, :3, :3], local[:, 3, 3] = R, 1
        local[:, :3, 3] = joints - joints[[max(p, 0) for p in self.parents]]
        local[0, :3, 3] = joints[0]
        chain = [local[0]]
        for i in range(1, J):
            chain.append(chain[self.parents[i]] @ local[i])
        world = torch.stack(chain)
        world[:, :3, 3] -= (world[:, :3, :3] @ joints[:, :, None])[:, :, 0]
        T = (self.weights @ world.view(J, 16)).view(-1, 4, 4)
        return (
            (T[:, :3, :3] @ rest[:, :, None])[:, :, 0]
            + T[:, :3, 3]
            + torch.tensor(pose.transl, device=device)
        )

    def _rasterize(self, p: torch.Tensor, H: int, W: int) -> tuple[torch.Tensor, torch.Tensor]:
        """ids [H,W], -1 = empty, and perspective-correct barycentrics [H,W,3]."""
        if self.nvdiffrast:
            x, y, z = p.unbind(1)
            clip = torch.stack([2 * x / W - z, 2 * y / H - z, z - 2 * NEAR, z], 1)[None].contiguous()
            raster, _ = self._dr.rasterize(self._context, clip, self.faces.int(), (H, W), grad_db=False)
            b = raster[0, :, :, :2]
            return raster[0, :, :, 3].long() - 1, torch.cat([b, 1 - b.sum(-1, keepdim=True)], -1)
        z = p[:, 2]
        xy, tri_z = (p[:, :2] / z[:, None])[self.faces], z[self.faces]
        e = xy[:, [1, 2, 0]] - xy
        area = e[:, 0, 0] * e[:, 1, 1] - e[:, 0, 1] * e[:, 1, 0]
        low = (xy.amin(1) - 0.5).ceil().clamp(min=0).long()
        high = torch.minimum(
            (xy.amax(1) - 0.5).floor().long(), torch.tensor([W - 1, H - 1], device=self.device)
        )
        width, height = (high - low + 1).clamp(min=0).unbind(1)
        count = torch.where((area < 0) & (tri_z > NEAR).all(1), width * height, 0)
        face = torch.repeat_interleave(torch.arange(len(count), device=self.device), count)
        nth = torch.arange(len(face), device=self.device) - (count.cumsum(0) - count)[face]
        x, y = low[face, 0] + nth % width[face], low[face, 1] + nth // width[face]
        corner, edge = xy[face], e[face]
        dx, dy = x[:, None] + 0.5 - corner[:, :, 0], y[:, None] + 0.5 - corner[:, :, 1]
        w = (edge[:, :, 0] * dy - edge[:, :, 1] * dx)[:, [1, 2, 0]] / area[face][:, None]
        inside = (w >= 0).all(1)
        face, x, y, w = face[inside], x[inside], y[inside], w[inside]
        b = w / tri_z[face]
        depth = 1 / b.sum(1)
        key = depth.view(torch.int32).long() << 32 | face
        best = torch.full((H * W,), torch.iinfo(torch.int64).max, device=self.device)
        best.scatter_reduce_(0, y * W + x, key, "amin")
        won = best[y * W + x] == key
        ids = torch.full((H * W,), -1, device=self.device)
        barycentrics = torch.zeros(H * W, 3, device=self.device)
        at = (y * W + x)[won]
        ids[at], barycentrics[at] = face[won], (b * depth[:, None])[won]
        return ids.view(H, W), barycentrics.view(H, W, 3)

    def _gather(self, ids: torch.Tensor, barycentrics: torch.Tensor) -> torch.Tensor:
        mask = (ids >= 0)[..., None]
        uv = (self.uv[self.uv_faces[ids.clamp(min=0)]] * barycentrics[..., None]).sum(2)
        grid = torch.where(mask, 2 * uv - 1, -10.0).to(self.dtype)
        colour = F.grid_sample(self.texture, grid[None], align_corners=True)
        return torch.cat([colour, grid.permute(2, 0, 1)[None], mask.to(self.dtype).permute(2, 0, 1)[None]], 1)

    def _compose(self, rgb: torch.Tensor, alpha: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        alpha = ((alpha.clamp(0, 1) + mask) if spec.hardsegm else alpha).clamp(0, 1)
        if spec.threshold:
            t = spec.threshold
            alpha = ((1 - torch.exp((t - alpha) * 20)) * (1 + torch.exp((alpha - t - 0.2) * 70))).clamp(0, 1)
        rgba = torch.cat([rgb.clamp(0, 1) * alpha, alpha], 1)
        if spec.samples > 1:
            rgba = F.avg_pool2d(rgba, spec.samples)
        return (rgba * 255 + 0.5).to(torch.uint8)[0].permute(1, 2, 0).contiguous()
