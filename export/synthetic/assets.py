"""The folder of MakeHuman CC0 assets and its person builder, opened from where the user has it; nothing
of it ships."""

from __future__ import annotations

import functools
import importlib
import pathlib
import sys
from dataclasses import dataclass
from types import ModuleType

from dinar_live.runtime.core.errors import InputError

# what no training sees when it is to be judged by people whose clothes, hair and skin are new to it
HELD_OUT = (
    "female_elegantsuit01",
    "ponytail01",
    "shoes03",
    "young_lightskinned_female_diffuse3",
    "eyebrow009",
)
EYES = ("green_eye", "brown_eye", "brownlight_eye")


@dataclass(frozen=True, eq=False)
class Assets:
    """Names of what people can be made of, and the modules that make them. `builder` is mhperson,
    `poser` is
    render_person of the folder."""

    folder: pathlib.Path
    builder: ModuleType
    poser: ModuleType
    suits: tuple[str, ...]
    shoes: tuple[str, ...]
    hair: tuple[str, ...]
    skins: tuple[str, ...]
    brows: tuple[str, ...]
    lashes: tuple[str, ...]

    @classmethod
    def open(cls, folder, without: tuple[str, ...] = ()) -> Assets:
        """Open the folder makehuman_cc0, leaving out the assets named in `without`. Raises
        InputError."""
        folder = pathlib.Path(folder).resolve()
        if not (folder / "mhperson.py").is_file():
            raise InputError(f"{folder}: expected the folder makehuman_cc0 with mhperson.py and assets/")
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        try:
            builder, poser = (
                importlib.import_module("mhperson"),
                importlib.import_module("render_person"),
            )
        except ImportError as e:
            raise InputError(f"{folder}: its scripts need numba, scipy and anny==0.6.2 ({e})") from e
        _keep_parts(builder)
        found = {
            k: tuple(sorted(p.stem if k == "skins" else p.name for p in (folder / "assets" / d).iterdir()))
            for k, d in (
                ("clothes", "clothes"),
                ("hair", "hair"),
                ("skins", "skins/textures"),
                ("brows", "eyebrows"),
                ("lashes", "eyelashes"),
            )
        }
        names = {n for group in found.values() for n in group}
        if unknown := sorted(set(without) - names):
            raise InputError(f"without: {unknown} are not in {folder / 'assets'}")
        left = {k: tuple(n for n in group if n not in without) for k, group in found.items()}
        clothes = left.pop("clothes")
        suits = tuple(n for n in clothes if "suit" in n)
        return cls(folder, builder, poser, suits, tuple(n for n in clothes if "shoes" in n), **left)


def _keep_parts(builder: ModuleType) -> None:
    """Make the builder keep its parts beside the flat arrays, read every texture once, and leave the
    light to us."""
    if hasattr(builder, "_whole_flatten"):
        return
    flatten = builder._flatten
    changed = dict(
        _whole_flatten=flatten,
        _whole_bake=builder._bake,
        _flatten=lambda parts: dict(flatten(parts), parts=parts),
        _bake=lambda per, parts: None,
        load_texture=functools.lru_cache(None)(builder.load_texture),
    )
    for name, value in changed.items():
        setattr(builder, name, value)
