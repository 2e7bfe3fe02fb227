"""A plain torch pipeline, to measure against: what one writes first, whole frames, operators of torch, float32."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dinar_live import engines, kernels
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render.window import padded


class PlainTorch:
    """Skinning, texture lookup, network and compositing in eager torch; only the triangles are ours, since torch has
    no rasterizer. The network runs operator by operator, as a module would.

    avatar: with a renderer of the name `renderer` that has a network. size: (height, width). threads: 0 = torch's
    own number. Raises EngineError.
    """

    def __init__(self, avatar: Avatar, renderer: str, size: tuple[int, int], threads: int = 0):
        rig, spec = avatar.rig, avatar.renderers[renderer]
        model = rig.model
        self._threads = threads
        self._size, self._padded = size, padded(size, spec.stride)
        self._spec, self._rig = spec, rig
        self._rest = torch.tensor(model.vertices)
        self._joints = torch.tensor(model.joints)
        self._parents = [int(p) for p in model.parents]
        weights = np.zeros((len(model.vertices), len(model.joints)), np.float32)
        np.add.at(
            weights, (np.arange(len(weights))[:, None], model.skin_index.astype(int)), model.skin_weight
        )
        self._weights = torch.tensor(weights)
        self._expression_vertex = torch.tensor(model.expression_vertex.astype(np.int64))
        self._expression_dirs = torch.tensor(model.expression_dirs)
        self._expression_joint_dirs = torch.tensor(model.expression_joint_dirs)
        self._pose_dirs = None if model.pose_dirs is None else torch.tensor(model.pose_dirs)
        self._uv = torch.tensor(rig.uv)
        self._uv_faces = torch.tensor(rig.uv_faces.astype(np.int64))
        self._texture = torch.tensor(spec.float_texture()).permute(2, 0, 1)[None]
        engine = engines.create_engine(spec.network, "torch", precision="f32", threads=threads, device="cpu")
        self._network = engine.compile((1, *self._padded))

    @torch.inference_mode()
    def render(self, pose: Pose, camera: Camera) -> np.ndarray:
        """u8[H,W,4], premultiplied."""
        vertices = self._skinned(pose)
        matrix = torch.tensor(np.ascontiguousarray(camera.matrix, np.float32))
        projective = vertices @ matrix[:, :3].T + matrix[:, 3]
        raster = kernels.rasterize(
            np.ascontiguousarray(projective.numpy()), self._rig.faces, self._padded, threads=self._threads
        )
        features = self._features(torch.tensor(raster.triangle_id), torch.tensor(raster.barycentrics))
        self._network.inputs["features"][...] = features.numpy()
        self._network.enqueue()
        self._network.synchronize()
        rgb = torch.from_numpy(self._network.outputs["rgb"])[0]
        alpha = torch.from_numpy(self._network.outputs["alpha"])[0, 0]
        return self._composed(rgb, alpha, features[0, -1])

    def _skinned(self, pose: Pose) -> torch.Tensor:
        coefficients = torch.tensor(pose.expression)
        count = len(coefficients)
        rest = self._rest.index_add(
            0, self._expression_vertex, self._expression_dirs[..., :count] @ coefficients
        )
        joints = self._joints + self._expression_joint_dirs[..., :count] @ coefficients
        rotations = torch.matrix_exp(_cross(torch.tensor(pose.body)))
        if self._pose_dirs is not None:
            bend = (rotations[1:] - torch.eye(3)).reshape(-1)
            rest = rest + torch.tensordot(bend, self._pose_dirs, 1)
        local = torch.eye(4).repeat(len(joints), 1, 1)
        local[:, :3, :3] = rotations
        world: list[torch.Tensor] = []
        for j, parent in enumerate(self._parents):
            local[j, :3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
            world.append(local[j] if parent < 0 else world[parent] @ local[j])
        moves = torch.stack(world)
        moves[:, :3, 3] -= torch.einsum("jab,jb->ja", moves[:, :3, :3], joints)
        blended = torch.tensordot(self._weights, moves, 1)
        posed = torch.einsum("vab,vb->va", blended[:, :3, :3], rest) + blended[:, :3, 3]
        return posed + torch.tensor(pose.transl)

    def _features(self, triangle: torch.Tensor, barycentrics: torch.Tensor) -> torch.Tensor:
        """f32[1,C+3,H,W]: texture, u, v, mask."""
        covered = triangle >= 0
        corners = self._uv[self._uv_faces[triangle.clamp(min=0).long()]]
        uv = torch.einsum("hwk,hwkc->hwc", barycentrics, corners) * 2 - 1
        uv = torch.where(covered[..., None], uv, torch.tensor(-10.0))
        sampled = F.grid_sample(self._texture, uv[None], mode="bilinear", align_corners=True)
        return torch.cat((sampled, uv.permute(2, 0, 1)[None], covered[None, None].float()), 1).contiguous()

    def _composed(self, rgb: torch.Tensor, alpha: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        if self._spec.hardsegm:
            alpha = (alpha + mask).clamp(max=1)
        if tau := self._spec.threshold:
            alpha = (1 - torch.exp((tau - alpha) * 20)) * (1 + torch.exp((alpha - tau - 0.2) * 70))
        alpha = alpha.clamp(0, 1)
        rgba = torch.cat((rgb.clamp(0, 1) * alpha, alpha[None]))
        height, width = self._size
        picture = (rgba * 255 + 0.5).to(torch.uint8).permute(1, 2, 0)[:height, :width]
        return picture.contiguous().numpy()


def _cross(axis_angle: torch.Tensor) -> torch.Tensor:
    """[n,3] -> [n,3,3], the matrices of cross products."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
