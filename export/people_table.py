"""`dinar evaluate --table`: avatars of photos, made for every person of some folders, scored in the photo's own view
and in unseen poses and views, as the paper's tables do (definitions: docs/evaluate.md)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dinar_live.runtime.avatar import Avatar, Body
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.sinks import contact_sheet

from .capture import Capture
from .from_photos import avatar_from_photos
from .inputs import View, read_view
from .metrics.embeddings import Embedding, kid
from .metrics.pictures import Truth, psnr
from .metrics.structure import ms_ssim
from .sheets import captioned, fitted

PHOTOS = {"front": ("",), "back": ("_back",), "both": ("", "_back")}
SAME, NOVEL = "same view", "novel view"
LABELS = {"ms_ssim": "MS-SSIM ↑", "psnr": "PSNR ↑", "alpha_iou": "IoU ↑", "lpips": "LPIPS ↓", "dists": "DISTS ↓",
          "reid": "ReID ↑", "kid": "KID ↓"}  # fmt: skip
DECIMALS = {"psnr": 2}
CELL = 260
Perceptual = Callable[[np.ndarray, np.ndarray], float]  # of two pictures f32[H,W,3] in [0,1]
Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True, eq=False)
class Measures:
    """What is measured beyond PSNR, MS-SSIM and IoU: perceptual distances by name; networks for ReID and KID."""

    perceptual: Mapping[str, Perceptual] = field(default_factory=dict)
    reid: Embedding | None = None
    kid: Embedding | None = None

    def names(self) -> list[str]:
        """The columns, in order."""
        more = [n for n in ("reid", "kid") if getattr(self, n) is not None]
        return ["ms_ssim", "psnr", "alpha_iou", *self.perceptual, *more]


class Views:
    """Scores of the pictures of one line of the table, gathered picture by picture."""

    def __init__(self, measures: Measures):
        self._m = measures
        self.rows: list[dict[str, float]] = []
        self.features: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, truth: Truth, rgba: np.ndarray) -> None:
        """One render u8[H,W,4], premultiplied, of the true picture's size."""
        a, b = truth.picture, truth.crop(rgba, True)
        person = rgba[..., 3] >= 128
        iou = np.count_nonzero(person & truth.person) / np.count_nonzero(person | truth.person)
        row = {"ms_ssim": ms_ssim(a, b), "psnr": psnr(a, b), "alpha_iou": float(iou)}
        row |= {name: float(distance(a, b)) for name, distance in self._m.perceptual.items()}
        if self._m.reid is not None:
            row["reid"] = self._m.reid.similarity(a, b)
        if self._m.kid is not None:
            self.features.append((self._m.kid(a), self._m.kid(b)))
        self.rows.append(row)

    def mean(self) -> dict[str, float]:
        """The means by column; KID of all pictures together."""
        out = {name: float(np.mean([r[name] for r in self.rows])) for name in self.rows[0]}
        if self.features:
            out["kid"] = kid(*(np.stack(f) for f in zip(*self.features, strict=True)))
        return out


@dataclass(frozen=True, eq=False)
class Person:
    """photo/ and frames of one folder. views: the photos that avatars are made of; frames: of the split."""

    name: str
    views: list[View]
    capture: Capture
    frames: np.ndarray

    @classmethod
    def open(cls, folder, photos: str = "front", split: str = "validation", every: int = 1) -> Person:
        """Raises InputError naming what is missing."""
        capture = Capture.open(folder)
        photo = pathlib.Path(folder) / "photo"
        views = [
            read_view(photo / f"photo{s}.png", photo / f"mask{s}.png", photo / f"smplx{s}.npz")
            for s in PHOTOS[photos]
        ]
        return cls(capture.name, views, capture, capture.frames(split)[::every])


def find_people(folders: Sequence) -> list[pathlib.Path]:
    """Folders of people: those given that are captures with photo/, and those directly in the others. Raises
    InputError where there are none."""
    found: list[pathlib.Path] = []
    for given in map(pathlib.Path, folders):
        here = (
            [given]
            if (given / "capture.npz").is_file()
            else sorted(p.parent for p in given.glob("*/capture.npz"))
        )
        if not here:
            raise InputError(
                f"{given}: no person; expected a folder with capture.npz, images/ and photo/, or a folder of such"
            )
        found += [p for p in here if p not in found]
    return found


def _shots(person: Person, which: str) -> list[tuple[np.ndarray, Pose, Camera]]:
    """True pictures u8[H,W,4] with pose and camera."""
    if which == SAME:
        v = person.views[0]
        return [(np.dstack([v.rgb, (v.mask * 255 + 0.5).astype(np.uint8)]), v.pose, v.camera)]
    c = person.capture
    return [(c.image(i), c.pose(i), c.camera(i)) for i in map(int, person.frames)]


def measure(
    people: Iterable[Person],
    methods: Sequence[str],
    body: Body,
    measures: Measures,
    *,
    texture_size: int = 512,
    options: dict[str, Any] | None = None,
    rows: list[list[np.ndarray]] | None = None,
) -> dict:
    """Scores {method: {view: {"mean": {...}, "people": {name: {...}}}}} of `people`; rows: gets a row of the
    sheet for each person. Raises InputError."""
    total = {(m, w): Views(measures) for m in methods for w in (SAME, NOVEL)}
    single: dict[tuple[str, str], dict] = {k: {} for k in total}
    for person in people:
        cells = []
        for method in methods:
            avatar, _ = avatar_from_photos(
                person.views, body, name=method, method=method, texture_size=texture_size
            )
            for which in (SAME, NOVEL):
                own = Views(measures)
                shown = _score(avatar, _shots(person, which), (own, total[method, which]), options)
                single[method, which][person.name] = own.mean()
                if rows is not None and which == NOVEL:
                    cells.append((f"{method}: {own.mean()['psnr']:.1f} dB", *shown))
        if rows is not None:
            rows.append(_row(person, cells))
    return {
        m: {w: {"mean": total[m, w].mean(), "people": single[m, w]} for w in (SAME, NOVEL)} for m in methods
    }


def _score(avatar: Avatar, shots, into: Sequence[Views], options) -> tuple[np.ndarray, np.ndarray]:
    """Render and score; returns truth and render of the middle picture, for the sheet."""
    shown = None
    with Renderer(avatar, shots[0][0].shape[:2], crop=False, **dict[str, Any](options or {})) as renderer:
        for k, (image, pose, camera) in enumerate(shots):
            truth = Truth(image)
            rgba = renderer.render(pose, camera).rgba
            for views in into:
                views.add(truth, rgba)
            if k == len(shots) // 2:
                shown = truth.picture, truth.crop(rgba, True)
    assert shown is not None
    return shown


def _row(person: Person, cells) -> list[np.ndarray]:
    """A person's pictures: the photo, the true picture, each method's."""
    named = [(f"{person.name[:14]}: the photo", person.views[0].rgb), ("truth, unseen view", cells[0][1])]
    named += [(text, picture) for text, _, picture in cells]
    return [
        captioned(text, fitted(p if p.dtype == np.uint8 else (p * 255 + 0.5).astype(np.uint8), CELL))
        for text, p in named
    ]


def markdown(scores: Mapping, people: int, frames: int, photos: str) -> str:
    """The table in Markdown: a line for each method, same view and novel view beside each other."""
    names = list(next(iter(scores.values()))[SAME]["mean"])
    columns = [(w, n) for w in (SAME, NOVEL) for n in names if not (w == SAME and n == "kid" and people < 2)]
    head = [f"{w}: {LABELS[n]}" for w, n in columns]
    lines = [
        f"{people} {'person' if people == 1 else 'people'}, photos: {photos}; {frames} pictures in novel views",
        "",
        f"| method | {' | '.join(head)} |",
        "|---" * (len(head) + 1) + "|",
    ]
    for method, by_view in scores.items():
        values = [f"{by_view[w]['mean'][n]:.{DECIMALS.get(n, 4)}f}" for w, n in columns]
        lines.append(f"| {method} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def worst_against(scores: Mapping, method: str, baseline: str) -> tuple[str, float]:
    """The person for whom `method` gains least over `baseline` in novel views, and how many dB that is."""
    ours, theirs = (scores[m][NOVEL]["people"] for m in (method, baseline))
    name = min(ours, key=lambda n: ours[n]["psnr"] - theirs[n]["psnr"])
    return name, ours[name]["psnr"] - theirs[name]["psnr"]


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """One row for each person, u8[H,W,3]."""
    return contact_sheet([cell for row in rows for cell in row], columns=len(rows[0]))
