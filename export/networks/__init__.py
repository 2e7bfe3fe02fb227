"""The networks of DINAR (arXiv 2303.09375), each in its own file; state-dict names and numbers equal the
published ones."""

from .discriminator import Discriminator
from .encoder import Encoder
from .generator import Generator
from .model import DinarModel, UvLayout, checked_layout
from .random_weights import random_state_dict
from .renderer import Renderer, composite
from .schedule import noise_schedule
from .unet import UNet
from .vq import VQModel

__all__ = [
    "DinarModel",
    "Discriminator",
    "Encoder",
    "Generator",
    "Renderer",
    "UNet",
    "UvLayout",
    "VQModel",
    "checked_layout",
    "composite",
    "noise_schedule",
    "random_state_dict",
]
