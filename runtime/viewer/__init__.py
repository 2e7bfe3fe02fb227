"""The page to watch and its gateway. Knows no 3D."""

from .gateway import Gateway

__all__ = ["Gateway"]
