"""Renderers for avatars that nobody trained: the networks `light` and `lite`, learned over many people, and the
neural textures that they take. No torch.

A neural texture's first channels are what the completion knows of this person, KNOWN; the others are a map
that all people share, learned with the network: a code of the place on the body.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.export.fit import half
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError

FOLDER = pathlib.Path(__file__).parent / "weights"
CARD = "renderers.json"
KNOWN = ("error", "drape", "outwards", "seen", "painted", "along")
"""Of a texel, each in [0,1]: the expected error of its place (log), whether it hangs over both legs, how far the
mesh was moved outwards and along the surface, how well a photo sees it, how much of its colour is painted."""
SHARES = {"light": len(KNOWN), "lite": 4}  # of KNOWN, the first ones, that a network takes
MAP = 32  # texels a side of the shared map
NEURAL = 128  # texels a side of neural textures: as many as the completion knows
COLOUR = {"light": 768, "lite": 512}  # texels a side of the colours, at most
ERROR_LOG = (-6.0, -2.5)  # log of metres that 0 and 1 mean
OUTWARDS, ALONG = 0.15, 0.08  # metres that 1 means


def known_channels(
    error: np.ndarray,
    drape: np.ndarray,
    offset: np.ndarray,
    normal: np.ndarray,
    seen: np.ndarray,
    painted: np.ndarray,
) -> np.ndarray:
    """KNOWN f32[len(KNOWN),T,T] of planes f32[T,T] (error in metres, the others in [0,1]); offset, normal
    f32[3,T,T]."""
    low, high = ERROR_LOG
    across = (offset * normal).sum(0)
    along = np.linalg.norm(offset - across * normal, axis=0)
    planes = (
        (np.log(np.maximum(error, 1e-4)) - low) / (high - low),
        drape,
        across / OUTWARDS,
        seen,
        painted,
        along / ALONG,
    )
    return np.clip(np.stack(planes), 0, 1).astype(np.float32)


def enlarged_map(shared: np.ndarray, size: int) -> np.ndarray:
    """A map f32|u8[m,m,c] at size x size texels, f32[size,size,c]: corners on corners, linear between."""
    place = np.linspace(0, len(shared) - 1, size, dtype=np.float32)
    x, y = np.meshgrid(place, place)
    planes = [
        cv2.remap(np.ascontiguousarray(shared[..., k], np.float32), x, y, cv2.INTER_LINEAR)
        for k in range(shared.shape[2])
    ]
    return np.stack(planes, 2)


@dataclass(frozen=True, eq=False)
class GenericRenderer:
    """model: its ONNX file; shared u8[MAP,MAP,c]; known: how many channels of KNOWN come before them; margin:
    pixels; texels: a side of the colours, at most."""

    model: bytes
    shared: np.ndarray
    known: int
    margin: int
    texels: int

    def spec(self, colour: np.ndarray, known: np.ndarray) -> RendererSpec:
        """The renderer of a person with these colours u8[T,T,3] and channels f32[t,t,len(KNOWN)]."""
        both = np.concatenate(
            [known[..., : self.known], enlarged_map(self.shared, len(known)) / np.float32(255)], 2
        )
        neural = np.ascontiguousarray((255 * both + 0.5).astype(np.uint8))
        if len(colour) > self.texels:
            colour = np.ascontiguousarray(
                cv2.resize(colour, (self.texels,) * 2, interpolation=cv2.INTER_AREA)
            )
        return RendererSpec(colour, model=self.model, neural=neural, margin=self.margin, stride=half.STRIDE)


def shipped(folder: pathlib.Path = FOLDER) -> bool:
    """Whether this installation has the renderers."""
    return (folder / CARD).is_file()


def read_renderers(folder: pathlib.Path = FOLDER) -> dict[str, GenericRenderer]:
    """The shipped renderers by name, best first. Raises InputError where a file is not the one that the card
    names."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    out = {}
    for name, entry in card["renderers"].items():
        parts = {}
        for part, ending in (("model", "onnx"), ("shared", "map")):
            path = folder / f"{name}.{ending}"
            data = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(data).hexdigest() != entry[part]:
                raise InputError(f"{path}: missing, damaged or replaced; install the package again")
            parts[part] = data
        shared = np.frombuffer(parts["shared"], np.uint8).reshape(MAP, MAP, -1)
        out[name] = GenericRenderer(parts["model"], shared, entry["known"], entry["margin"], entry["texels"])
    return out


def write_renderers(renderers: dict[str, GenericRenderer], folder: pathlib.Path, made: str) -> None:
    """Write renderers and their card into `folder`. made: how they were trained, one line."""
    folder.mkdir(parents=True, exist_ok=True)
    card: dict = {"licence": "Apache-2.0", "made": made, "renderers": {}}
    for name, r in renderers.items():
        entry: dict = {"known": r.known, "margin": r.margin, "texels": r.texels}
        for part, ending, data in (("model", "onnx", r.model), ("shared", "map", r.shared.tobytes())):
            (folder / f"{name}.{ending}").write_bytes(data)
            entry[part] = hashlib.sha256(data).hexdigest()
        card["renderers"][name] = entry
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
