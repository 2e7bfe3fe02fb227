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
        self._neural = (
            None if spec.neural is None else torch.tensor(spec.float_neural()).permute(2, 0, 1)[None]
        )
        engine = engines.create_engine(spec.network, "torch", precision="f32", threads=threads, device="cpu")
        self._network = engine.compile(spec.network_key((1, *self._padded)))

    @torch.inference_mode()
    def render(self, pose: Pose, camera: Camera) -> np.ndarray:
        """u8[H,W,4], premultiplied."""
        vertices = self._skinned(pose)
        matrix = torch.tensor(np.ascontiguousarray(camera.matrix, np.float32))
        projective = vertices @ matrix[:, :3].T + matrix[:, 3]
        raster = kernels.rasterize(
            np.ascontiguousarray(projective.numpy()), self._rig.faces, self._padded, threads=self._threads
        )
        covered, uv = self._uv_map(torch.tensor(raster.triangle_id), torch.tensor(raster.barycentrics))
        mask = covered[None, None].float()
        colour = _sampled(self._texture, uv)
        if self._neural is None:
            features = torch.cat((colour, uv.permute(2, 0, 1)[None], mask), 1).contiguous()
            out = self._run(features)
            return self._composed(out["rgb"][0], out["alpha"][0, 0], mask[0, 0])
        pixels = torch.cat((colour, mask), 1)
        neural = _first_of_block(_sampled(self._neural, uv), mask)
        out = self._run(torch.cat((_to_blocks(pixels), neural), 1).contiguous())
        rgb, alpha = _corrected(pixels, _from_blocks(out["correction"]))
        return self._composed(rgb, alpha, mask[0, 0])

    def _run(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        self._network.inputs["features"][...] = features.numpy()
        self._network.enqueue()
        self._network.synchronize()
        return {name: torch.from_numpy(array) for name, array in self._network.outputs.items()}

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

    def _uv_map(
        self, triangle: torch.Tensor, barycentrics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which pixels are covered [H,W], and their texture coordinates in [-1, 1], -10 where none are [H,W,2]."""
        covered = triangle >= 0
        corners = self._uv[self._uv_faces[triangle.clamp(min=0).long()]]
        uv = torch.einsum("hwk,hwkc->hwc", barycentrics, corners) * 2 - 1
        return covered, torch.where(covered[..., None], uv, torch.tensor(-10.0))

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


def _sampled(texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(texture, uv[None], mode="bilinear", align_corners=True)


def _to_blocks(pixels: torch.Tensor) -> torch.Tensor:
    """[1,C,H,W] -> [1,4*C,H/2,W/2], the four pixels of a block one after the other."""
    n, c, h, w = pixels.shape
    return (
        pixels.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
    )


def _from_blocks(blocks: torch.Tensor) -> torch.Tensor:
    """The reverse of `_to_blocks`."""
    n, c, h, w = blocks.shape
    return blocks.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


def _first_of_block(looks: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[1,C,H/2,W/2]: what the first covered pixel of each block looks up."""
    covered = _to_blocks(mask)
    n, _, h, w = covered.shape
    first = covered.argmax(1)[:, None, None].expand(n, 1, looks.shape[1], h, w)
    return _to_blocks(looks).reshape(n, 4, -1, h, w).gather(1, first)[:, 0]


def _corrected(pixels: torch.Tensor, correction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colour [3,H,W] and alpha [H,W] of a network at half resolution; see kernels.compose_half."""
    mean = F.avg_pool2d(pixels, 3, 1, 1)
    colour, mask = pixels[0, :3], pixels[0, 3]
    beside = (1 - mask) * mean[0, :3] / mean[0, 3].clamp(min=1 / 9)
    return colour + beside + correction[0, :3], mean[0, 3] + correction[0, 3]


def _cross(axis_angle: torch.Tensor) -> torch.Tensor:
    """[n,3] -> [n,3,3], the matrices of cross products."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
