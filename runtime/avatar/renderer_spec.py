"""RendererSpec: one renderer of a bundle, and RendererType: what kind of renderer it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.core.errors import BundleError

from .rig import check_array

TEXTURE_CAPS = {"Ht": 4096, "Wt": 4096, "C": 64}
TEXTURE_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True)
class RendererType:
    """What sets one kind of renderer apart from the others, as far as a bundle can tell. How a type makes
    pixels is in runtime/render/shading.py (CPU) and runtime/render/gpu/shading.py.

    files: (file in the renderer's folder, field of RendererSpec that holds its bytes). A renderer is of the
        first of TYPES whose files it has.
    needs_network: whether an engine runs model.onnx for it, so that sizes are compiled and can be built ahead.
    channels: of its texture, None = any number. samples: how often it may sample per axis.
    colour: texture channels that show its colour; colour_is_final: they are that colour in [0, 1].
    """

    name: str
    files: tuple[tuple[str, str], ...]
    needs_network: bool
    channels: int | None
    samples: tuple[int, ...]
    colour: slice
    colour_is_final: bool


NETWORK = RendererType(
    "network",
    files=(("model.onnx", "model"),),
    needs_network=True,
    channels=None,
    samples=(1,),
    colour=slice(0, 3),
    colour_is_final=False,
)
"""A network turns the gathered texture, u, v and mask into colour and alpha."""
TEXTURE = RendererType(
    "texture",
    files=(),
    needs_network=False,
    channels=3,
    samples=(1, 2, 4),
    colour=slice(-3, None),
    colour_is_final=True,
)
"""The gathered texture is the colour and the mask is alpha."""
TYPES = (NETWORK, TEXTURE)
FILES = dict(pair for kind in TYPES for pair in kind.files)
"""File in a renderer's folder -> field of RendererSpec."""


@dataclass(frozen=True, eq=False)
class RendererSpec:
    """How one renderer of a bundle makes pixels.

    texture f32|f16|u8 [Ht,Wt,C] (u8 means value/255); model: bytes of model.onnx, None = the first three
    channels are the colour and the mask is alpha.
    hardsegm: alpha = min(1, alpha + mask); threshold: tau of the remap, 0 = off; samples: 1, 2 or 4,
        supersampling per axis;
    margin: pixels around the body's box that the network needs; stride: the box starts and ends on multiples
        of it.
    type: follows from the files that it has. Raises BundleError.
    """

    texture: np.ndarray
    model: bytes | None = None
    hardsegm: bool = False
    threshold: float = 0.0
    samples: int = 1
    margin: int = 0
    stride: int = 1
    type: RendererType = field(init=False, repr=False)

    def __post_init__(self):
        has = {file for file, name in FILES.items() if getattr(self, name) is not None}
        kind = next(t for t in TYPES if has.issuperset(file for file, _ in t.files))
        object.__setattr__(self, "type", kind)
        dtype = str(self.texture.dtype)
        if dtype not in TEXTURE_DTYPES:
            raise BundleError(f"texture: got dtype {dtype}, expected one of {TEXTURE_DTYPES}")
        check_array("texture", self.texture, dtype, ("Ht", "Wt", "C"), {}, TEXTURE_CAPS)
        if min(self.texture.shape[:2]) < 2 or kind.channels not in (None, self.texture.shape[2]):
            raise BundleError(
                f"texture: got shape {list(self.texture.shape)}, expected at least 2x2 texels and, without a network, 3 channels"
            )
        for name, ok, expected in (
            ("hardsegm", isinstance(self.hardsegm, bool), "true or false"),
            (
                "threshold",
                isinstance(self.threshold, int | float) and 0 <= self.threshold < 1,
                "a number in [0, 1)",
            ),
            ("samples", self.samples in kind.samples, "1, 2 or 4 (1 with a network)"),
            (
                "margin",
                isinstance(self.margin, int) and 0 <= self.margin <= 1024,
                "a whole number of pixels in 0..1024",
            ),
            ("stride", self.stride in (1, 2, 4, 8, 16, 32, 64), "a power of two up to 64"),
        ):
            if not ok:
                raise BundleError(f"renderer: {name} is {getattr(self, name)!r}, expected {expected}")

    @property
    def network(self) -> bytes:
        """The bytes of model.onnx. Raises BundleError for a type without a network."""
        if self.model is None:
            raise BundleError(f"a renderer of the type {self.type.name} has no network")
        return self.model

    def files(self) -> dict[str, bytes]:
        """File in the renderer's folder -> its bytes, of those that its type adds to the texture."""
        return {file: getattr(self, name) for file, name in self.type.files}

    def float_texture(self) -> np.ndarray:
        """The texture as f32[Ht,Wt,C], u8 scaled to [0,1]."""
        scale = np.float32(1 / 255 if self.texture.dtype == np.uint8 else 1)
        return np.ascontiguousarray(self.texture.astype(np.float32) * scale)
