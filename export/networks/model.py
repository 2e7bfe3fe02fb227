"""All DINAR networks as one module, whose state dict has the published names and shapes."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from dinar_live.runtime.core.errors import InputError

from .discriminator import Discriminator
from .encoder import Encoder
from .generator import Generator
from .renderer import Renderer
from .schedule import noise_schedule
from .unet import UNet
from .vq import VQModel

FIRST_STAGE = "first_stage."
UNET, EMA = "model.", "model_ema."
PREFIXES = {
    "encoder": FIRST_STAGE + "encoder.",
    "generator": FIRST_STAGE + "generator.",
    "vq": FIRST_STAGE + "compress_branch.",
    "unet": UNET,
    "renderer": FIRST_STAGE + "renderer.",
    "discriminator": FIRST_STAGE + "discriminator.",
}
FACES_KEY = FIRST_STAGE + "rasterizer.faces"
UV_KEY = FIRST_STAGE + "rasterizer.vertice_values"
NORMAL_FACES_KEY = FIRST_STAGE + "normal_rasterizer.faces"
LAYOUT_KEYS = (FACES_KEY, UV_KEY, NORMAL_FACES_KEY)


Network = TypeVar("Network", bound=nn.Module)


def required(network: Network | None) -> Network:
    """A network of a `DinarModel` that the caller needs. Raises InputError where the model has none."""
    if network is None:
        raise InputError("networks: got a model without one that is needed; load it by name")
    return network


class UvLayout(NamedTuple):
    """The texture layout that a checkpoint was trained with: faces i32[F,3] into uv f32[T,2] in [0,1], v
    downwards."""

    faces: np.ndarray
    uv: np.ndarray


def ema_name(name: str) -> str:
    """Published name, below `model_ema.`, of the moving average of the U-Net parameter `name`."""
    return name.replace(".", "")


class EmaWeights(nn.Module):
    """The published moving-average entries: names for the U-Net's own tensors, which are the averaged ones,
    and no second copy."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.register_buffer("decay", torch.tensor(0.9999, dtype=torch.float32, device="cpu"))
        self.register_buffer("num_updates", torch.tensor(0, dtype=torch.int32, device="cpu"))
        self._unet = (unet,)  # in a tuple, so that it is no submodule of this one

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, parameter in self._unet[0].named_parameters():
            destination[prefix + ema_name(name)] = parameter if keep_vars else parameter.detach()

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        # model_ema comes after model, so averages replace the raw weights: they are what sampling uses.
        with torch.no_grad():
            for name, parameter in self._unet[0].named_parameters():
                if (value := state_dict.get(prefix + ema_name(name))) is not None:
                    parameter.copy_(value)
        own = {
            prefix + name: state_dict[prefix + name]
            for name, _ in self.named_buffers()
            if prefix + name in state_dict
        }
        super()._load_from_state_dict(
            own, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class LayoutBuffers(nn.Module):
    """Buffers of a published rasterizer."""

    faces: torch.Tensor
    vertice_values: torch.Tensor

    def __init__(self, **arrays: np.ndarray):
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array)))


class FirstStage(nn.Module):
    """Everything but the diffusion, under the published names."""

    def __init__(self, networks: Collection[str], layout: UvLayout | None):
        super().__init__()
        if "encoder" in networks:
            self.encoder = Encoder()
        if "generator" in networks:
            self.generator = Generator()
        if "vq" in networks:
            self.compress_branch = VQModel()
        if layout is not None:
            self.rasterizer = LayoutBuffers(faces=layout.faces, vertice_values=layout.uv)
        if "renderer" in networks:
            self.renderer = Renderer()
        if layout is not None:
            self.normal_rasterizer = LayoutBuffers(faces=layout.faces)
        if "discriminator" in networks:
            self.discriminator = Discriminator()


class DinarModel(nn.Module):
    """Encoder, generator, VQ model, diffusion U-Net, renderer and discriminator of one checkpoint.

    Networks that were not asked for are None. `.unet` holds the weights to sample with (the moving average
    where there is one). `missing` and `unexpected` list the published names that the checkpoint lacked and
    its names that are not published ones. Weights of a directly built model are random as at the start of
    training; `export.checkpoint.load_checkpoint` builds and fills one.
    """

    def __init__(self, networks: Collection[str] = tuple(PREFIXES), uv_layout: UvLayout | None = None):
        """networks: names out of PREFIXES. Raises InputError for others."""
        super().__init__()
        if unknown := sorted(set(networks) - set(PREFIXES)):
            raise InputError(f"networks: got {unknown}, expected names out of {list(PREFIXES)}")
        for name, values in noise_schedule().items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32, device="cpu"))
        if "unet" in networks:
            self.model = UNet()
            self.model_ema = EmaWeights(self.model)
        self.first_stage = FirstStage(networks, uv_layout)
        self.missing: list[str] = []
        self.unexpected: list[str] = []

    @property
    def encoder(self) -> Encoder | None:
        return getattr(self.first_stage, "encoder", None)

    @property
    def generator(self) -> Generator | None:
        return getattr(self.first_stage, "generator", None)

    @property
    def vq(self) -> VQModel | None:
        return getattr(self.first_stage, "compress_branch", None)

    @property
    def unet(self) -> UNet | None:
        return getattr(self, "model", None)

    @property
    def renderer(self) -> Renderer | None:
        return getattr(self.first_stage, "renderer", None)

    @property
    def discriminator(self) -> Discriminator | None:
        return getattr(self.first_stage, "discriminator", None)

    @property
    def uv_layout(self) -> UvLayout | None:
        """The layout of the textures these networks know, or None where the checkpoint has none."""
        if not hasattr(self.first_stage, "rasterizer"):
            return None
        stored = self.first_stage.rasterizer
        return UvLayout(stored.faces.cpu().numpy(), stored.vertice_values.cpu().numpy())


def checked_layout(faces, uv) -> UvLayout:
    """UvLayout of faces [F,3] and uv [T,2]; InputError unless they are whole, finite and fit each other."""
    faces, uv = np.asarray(faces), np.asarray(uv, dtype=np.float32)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise InputError(
            f"faces of the UV layout: got {faces.dtype}{list(faces.shape)}, expected integers [F,3]"
        )
    if uv.ndim != 2 or uv.shape[1] != 2 or not np.isfinite(uv).all():
        raise InputError(
            f"UV layout: got shape {list(uv.shape)} or non-finite numbers, expected finite [T,2]"
        )
    if faces.size and not (0 <= faces.min() and faces.max() < len(uv)):
        raise InputError(
            f"faces of the UV layout: got indices {faces.min()}..{faces.max()}, expected 0..{len(uv) - 1}"
        )
    return UvLayout(faces.astype(np.int32), uv)
