"""RendererSpec: one renderer of a bundle, and RendererType: what kind of renderer it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.core.errors import BundleError
from dinar_live.runtime.core.short_repr import short_repr

from .rig import check_array

TEXTURE_CAPS = {"Ht": 4096, "Wt": 4096, "C": 64}
NEURAL_CAPS = {**TEXTURE_CAPS, "C": 48}
ARRAYS = ("texture", "neural")
"""What texture.safetensors may hold: fields of RendererSpec, the first always."""
TEXTURE_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True)
class RendererType:
    """What sets one kind of renderer apart from the others, as far as a bundle can tell. How a type makes
    pixels is in runtime/render/shading.py (CPU) and runtime/render/gpu/shading.py.

    form: which input its network takes, as a bundle says it; 1 where it says nothing.
    files: (file in the renderer's folder, field of RendererSpec that holds its bytes). A renderer is of the
        first of TYPES whose files and form it has.
    blocks: pixels a side that the network sees as one: its planes are the frame's size divided by it.
    needs_network: whether an engine runs model.onnx for it, so that sizes are compiled and can be built ahead.
    channels: of its texture, None = any number. samples: how often it may sample per axis.
    colour: texture channels that show its colour; colour_is_final: they are that colour in [0, 1].
    """

    name: str
    form: int
    files: tuple[tuple[str, str], ...]
    needs_network: bool
    blocks: int
    channels: int | None
    samples: tuple[int, ...]
    colour: slice
    colour_is_final: bool


NETWORK = RendererType(
    "network",
    form=1,
    files=(("model.onnx", "model"),),
    needs_network=True,
    blocks=1,
    channels=None,
    samples=(1,),
    colour=slice(0, 3),
    colour_is_final=False,
)
"""A network turns the gathered texture, u, v and mask into colour and alpha."""
HALF = RendererType(
    "half",
    form=2,
    files=(("model.onnx", "model"),),
    needs_network=True,
    blocks=2,
    channels=3,
    samples=(1,),
    colour=slice(0, 3),
    colour_is_final=True,
)
"""A network at half resolution says what to add to the texture's colour and the mask; a second texture, neural,
is gathered at half resolution for it."""
TEXTURE = RendererType(
    "texture",
    form=1,
    files=(),
    needs_network=False,
    blocks=1,
    channels=3,
    samples=(1, 2, 4),
    colour=slice(-3, None),
    colour_is_final=True,
)
"""The gathered texture is the colour and the mask is alpha."""
TYPES = (HALF, NETWORK, TEXTURE)
FORMS = tuple(sorted({t.form for t in TYPES}))
FILES = dict(pair for kind in TYPES for pair in kind.files)
"""File in a renderer's folder -> field of RendererSpec."""


@dataclass(frozen=True, eq=False)
class RendererSpec:
    """How one renderer of a bundle makes pixels.

    texture f32|f16|u8 [Ht,Wt,C] (u8 means value/255); model: bytes of model.onnx, None = the first three
    channels are the colour and the mask is alpha.
    neural f32|f16|u8 [ht,wt,c], c up to 48: the second texture of a network that takes blocks of pixels (form 2).
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
    neural: np.ndarray | None = None
    type: RendererType = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self):
        has = {file for file, name in FILES.items() if getattr(self, name) is not None}
        form = HALF.form if self.neural is not None else NETWORK.form
        kinds = (t for t in TYPES if t.form == form and has.issuperset(file for file, _ in t.files))
        if (kind := next(kinds, None)) is None:
            raise BundleError("neural: a second texture, but there is no model.onnx")
        object.__setattr__(self, "type", kind)
        for name, texture, caps in (
            ("texture", self.texture, TEXTURE_CAPS),
            ("neural", self.neural, NEURAL_CAPS),
        ):
            if texture is not None:
                _check_texture(name, texture, caps)
        if min(self.texture.shape[:2]) < 2 or kind.channels not in (None, self.texture.shape[2]):
            raise BundleError(
                f"texture: got shape {list(self.texture.shape)}, expected 3 channels without a network or beside neural"
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
            (
                "stride",
                self.stride in (1, 2, 4, 8, 16, 32, 64) and self.stride >= kind.blocks,
                f"a power of two from {kind.blocks} to 64",
            ),
        ):
            if not ok:
                raise BundleError(f"renderer: {name} is {getattr(self, name)!r}, expected {expected}")

    @property
    def network(self) -> bytes:
        """The bytes of model.onnx. Raises BundleError for a type without a network."""
        if self.model is None:
            raise BundleError(f"a renderer of the type {self.type.name} has no network")
        return self.model

    @property
    def features(self) -> int:
        """Channels of what the network takes."""
        if self.neural is not None:
            return 4 * self.type.blocks**2 + self.neural.shape[2]
        return self.texture.shape[2] + 3

    def network_key(self, key: tuple[int, int, int]) -> tuple[int, int, int]:
        """(N, h, w) of the network's planes, for (N, height, width) pixels."""
        return key[0], key[1] // self.type.blocks, key[2] // self.type.blocks

    def arrays(self) -> dict[str, np.ndarray]:
        """What texture.safetensors holds, by name."""
        return {n: np.ascontiguousarray(a) for n in ARRAYS if (a := getattr(self, n)) is not None}

    def files(self) -> dict[str, bytes]:
        """File in the renderer's folder -> its bytes, of those that its type adds to the texture."""
        return {file: getattr(self, name) for file, name in self.type.files}

    def float_texture(self) -> np.ndarray:
        """The texture as f32[Ht,Wt,C], u8 scaled to [0,1]."""
        return _as_float(self.texture)

    def half_textures(self) -> tuple[np.ndarray, np.ndarray]:
        """Colour [Ht,Wt,4] and neural [ht,wt,C] as kernels.gather_half takes them: bytes where the bundle has bytes,
        which are a quarter of the memory to go through, else f32. Raises BundleError for a type without neural."""
        if self.neural is not None and self.texture.dtype == self.neural.dtype == np.uint8:
            colour, neural = self.texture, self.neural
        else:
            colour, neural = self.float_texture(), self.float_neural()
        padded = np.concatenate([colour, np.ones_like(colour[..., :1])], 2)
        return padded, np.ascontiguousarray(neural)

    def float_neural(self) -> np.ndarray:
        """The second texture as f32[ht,wt,c], u8 scaled to [0,1]. Raises BundleError for a type without one."""
        if self.neural is None:
            raise BundleError(f"a renderer of the type {self.type.name} has no neural texture")
        return _as_float(self.neural)


def _as_float(texture: np.ndarray) -> np.ndarray:
    scale = np.float32(1 / 255 if texture.dtype == np.uint8 else 1)
    return np.ascontiguousarray(texture.astype(np.float32) * scale)


def _check_texture(name: str, texture: np.ndarray, caps: dict[str, int]) -> None:
    dtype = str(texture.dtype)
    if dtype not in TEXTURE_DTYPES:
        raise BundleError(f"{name}: got dtype {dtype}, expected one of {TEXTURE_DTYPES}")
    check_array(name, texture, dtype, ("Ht", "Wt", "C"), {}, caps)
    if min(texture.shape[:2]) < 2:
        raise BundleError(f"{name}: got shape {list(texture.shape)}, expected at least 2x2 texels")
