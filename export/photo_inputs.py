"""Masks and fits for photos that come without: made by the networks and the solver, written as files, so that what
follows reads them like those a user brings."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.fit_files import write_fit, write_picture
from dinar_live.runtime.vision.get_models import get_with_pip
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.models import ModelFolder
from dinar_live.runtime.vision.person import PersonPhoto, fit_person, look_at, scaled_mask
from dinar_live.runtime.vision.pictures import Picture, read_picture
from dinar_live.runtime.vision.solver.body import BETAS, SolverBody
from dinar_live.runtime.vision.solver.photo_fit import FitOptions

from .inputs import read_photo


@dataclass(frozen=True)
class PhotoFiles:
    """Paths of photos, masks and fits, one of each per view."""

    photos: list[str]
    masks: list[str]
    fits: list[str]


def complete(
    photos: Sequence[str],
    masks: Sequence[str],
    fits: Sequence[str],
    folder: pathlib.Path,
    *,
    body: Body,
    height: float | None = None,
    person: int | None = None,
    say: Callable[[str], None] = print,
) -> PhotoFiles:
    """The views with everything they need. masks, fits: none at all, or one for each photo, which then wins; what is
    not given is made and written to `folder`, with a picture of what was understood. height: of the person in
    metres. person: which one, from the left. Raises InputError naming photo or option."""
    for option, given in (("--mask", masks), ("--smplx", fits)):
        if given and len(given) != len(photos):
            raise InputError(
                f"got {len(photos)} --photo and {len(given)} {option}; expected one {option} for each photo, or none: "
                f"then they are made"
            )
    if masks and fits:
        return PhotoFiles(list(photos), list(masks), list(fits))
    options = FitOptions(height=height)
    pictures = [read_picture(p) for p in photos]
    known = (
        [_given_mask(p, m, picture) for p, m, picture in zip(photos, masks, pictures, strict=True)]
        if masks
        else []
    )
    landmarker = Landmarker(ModelFolder(getter=lambda f: get_with_pip(f, say)))
    sights = look_at(pictures, landmarker, masks=known, person=person)
    names = _names(pictures)
    found: list[PersonPhoto] = []
    if not fits:
        found = fit_person(
            pictures, sights, body=SolverBody(body, min(BETAS, body.shape_dirs.shape[2])), options=options
        )
    folder.mkdir(parents=True, exist_ok=True)
    out = PhotoFiles([], list(masks), list(fits))
    for i, (path, picture, name) in enumerate(zip(photos, pictures, names, strict=True)):
        out.photos.append(_upright_photo(path, picture, folder / f"{name}.png"))
        if not masks:
            write_picture(folder / f"{name}_mask.png", _mask(sights[i].landmarks.mask))
            out.masks.append(str(folder / f"{name}_mask.png"))
        elif picture.stored != picture.size:
            write_picture(folder / f"{name}_mask.png", _mask(known[i]))
            out.masks[i] = str(folder / f"{name}_mask.png")
        say(f"{path}: {sights[i].report}" + (f"; seen from {found[i].side}" if found else ""))
        if found:
            write_fit(folder / f"{name}_fit.npz", found[i].fit)
            out.fits.append(str(folder / f"{name}_fit.npz"))
            write_picture(folder / f"{name}_overlay.jpg", found[i].overlay())
            for line in (str(found[i].score), *found[i].score.warnings):
                say(f"{path}: {line}")
    say(f"masks, fits and overlays are in {folder}; look at the overlays before you trust the avatar")
    return out


def _mask(mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        raise InputError("no mask was made")
    return np.round(255 * mask).astype(np.uint8)


def _given_mask(photo: str, mask: str, picture: Picture) -> np.ndarray:
    return scaled_mask(read_photo(photo, mask)[1], picture.size)


def _upright_photo(path: str, picture: Picture, copy: pathlib.Path) -> str:
    """The photo's own path if what reads it next sees the same pixels, else that of an upright, 8-bit copy."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is not None and image.shape == picture.rgb.shape and picture.alpha is None:
        if np.array_equal(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), picture.rgb):
            return str(path)
    write_picture(copy, picture.rgb)
    return str(copy)


def _names(pictures: Sequence[Picture]) -> list[str]:
    """A name for each picture's files: its own, numbered where two are the same."""
    out: list[str] = []
    for picture in pictures:
        name, n = picture.name, 2
        while name in out:
            name, n = f"{picture.name}_{n}", n + 1
        out.append(name)
    return out
