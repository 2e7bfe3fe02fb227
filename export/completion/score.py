"""How near avatars of one photo come to true pictures of the person in unseen poses and views.

    python -m dinar_live.export.completion.score CAPTURE [CAPTURE_OF_A_MOTION] --model completion.onnx

CAPTURE holds photo/photo.png, mask.png and smplx.npz (and photo_back.png, ...) beside its frames.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.export.inputs import View, read_view
from dinar_live.export.metrics.pictures import Truth, psnr
from dinar_live.export.metrics.structure import ms_ssim
from dinar_live.export.projection import project_photos
from dinar_live.runtime.avatar import Avatar, Body
from dinar_live.runtime.render import Renderer

from .outline import outlined

MOTION_STEP = 2  # every second frame of a motion
WAYS = ("projection", "outline", "completion", "unrefined")
LEARNED = WAYS[2:]


def photo(capture, side: str = "") -> View:
    """The photo of a capture folder: side "" for the front, "_back" for the back."""
    folder = pathlib.Path(capture) / "photo"
    return read_view(folder / f"photo{side}.png", folder / f"mask{side}.png", folder / f"smplx{side}.npz")


def frames(captures: Sequence) -> list[tuple[Capture, int]]:
    """Validation frames of captures; of captures of a motion every second frame and all single views."""
    out = []
    for folder in captures:
        c = Capture.open(folder)
        if c.split.min() < 2:
            chosen = c.frames("validation")
        else:
            single = len(c) // 3  # the motion's frames are the first two thirds
            chosen = [*range(0, len(c) - single, MOTION_STEP), *range(len(c) - single, len(c))]
        out += [(c, int(i)) for i in chosen]
    return out


def scores(avatar: Avatar, chosen: Sequence[tuple[Capture, int]], renderer: str = "texture") -> np.ndarray:
    """PSNR in dB, MS-SSIM and alpha IoU of every frame, f64[N,3]."""
    rows = []
    with Renderer(avatar, chosen[0][0].size, renderer=renderer, crop=False) as drawing:
        for capture, i in chosen:
            truth = Truth(capture.image(i))
            rgba = drawing.render(capture.pose(i), capture.camera(i)).rgba
            a, b = truth.picture, truth.crop(rgba, True)
            person = rgba[..., 3] >= 128
            union = np.count_nonzero(person | truth.person)
            overlap = np.count_nonzero(person & truth.person) / max(union, 1)
            rows.append((psnr(a, b), ms_ssim(a, b), overlap))
    return np.array(rows)


def photo_score(avatar: Avatar, view: View) -> np.ndarray:
    """PSNR, MS-SSIM and IoU in the photo's own view, f64[3]."""
    truth = Truth(np.dstack([view.rgb, (view.mask * 255 + 0.5).astype(np.uint8)]))
    with Renderer(avatar, view.rgb.shape[:2], renderer="texture", crop=False) as renderer:
        rgba = renderer.render(view.pose, view.camera).rgba
    a, b = truth.picture, truth.crop(rgba, True)
    person = rgba[..., 3] >= 128
    overlap = np.count_nonzero(person & truth.person) / np.count_nonzero(person | truth.person)
    return np.array([psnr(a, b), ms_ssim(a, b), overlap])


def sheet(avatar: Avatar, chosen: Sequence[tuple[Capture, int]], renderer: str = "texture") -> np.ndarray:
    """True pictures above the avatar's, u8[2H,W,3], on white."""
    rows = [[], []]
    with Renderer(avatar, chosen[0][0].size, renderer=renderer, crop=False) as r:
        for capture, i in chosen:
            for row, rgba in zip(rows, (capture.premultiplied(i), None), strict=True):
                rgba = r.render(capture.pose(i), capture.camera(i)).rgba if rgba is None else rgba
                picture = rgba[..., :3] + (255 - rgba[..., 3:])
                row.append(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return np.vstack([np.hstack(row) for row in rows])


def make(way: str, views: Sequence[View], body: Body, completer=None) -> Avatar:
    """An avatar by one of WAYS. Raises ValueError where the way needs a completer and there is none."""
    if way == "projection":
        return project_photos(views, body, name=way, texture_size=512)[0]
    if way == "outline":
        return project_photos(views, outlined(views, body), name=way, texture_size=512)[0]
    if completer is None:
        raise ValueError(f"{way}: needs a completer")
    return completer.complete(views, name=way, refine=way != "unrefined")[0]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--model", help="completion.onnx")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=("projection", "outline", "completion"))
    parser.add_argument("--both", action="store_true", help="the front and the back photo")
    parser.add_argument("--every", type=int, default=1, help="only every n-th frame")
    parser.add_argument("--sheet", help="a picture of six frames, truth above the last way's avatar")
    a = parser.parse_args(arguments)
    if not a.model and (needy := [w for w in a.ways if w in LEARNED]):
        parser.error(f"--model: nothing given, but --ways {needy[0]} needs it")
    completer = None
    if a.model:
        from .predict import Completer

        completer = Completer(a.model, Body.open())
    body, chosen = Body.open(), frames(a.captures)[:: a.every]
    views = [photo(a.captures[0], s) for s in (("", "_back") if a.both else ("",))]
    avatar = None
    for way in a.ways:
        avatar = make(way, views, body, completer)
        mean, own = scores(avatar, chosen).mean(0), photo_score(avatar, views[0])
        line = "  ".join(f"{p:.2f}/{s:.3f}/{u:.3f}" for p, s, u in (mean, own))
        name = pathlib.Path(a.captures[0]).name
        print(f"{name:10s} {way:11s} novel, own view: {line}", flush=True)
    if a.sheet and avatar:
        full = [f for f in chosen if not f[0].close_up[f[1]]]
        picture = sheet(avatar, full[:: max(1, len(full) // 6)][:6])
        cv2.imwrite(a.sheet, picture[..., ::-1])


if __name__ == "__main__":
    main()
