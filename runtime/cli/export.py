"""dinar export --photo P --mask M --smplx FIT [--photo P2 --mask M2 --smplx FIT2 ...] --out AVATAR"""

from __future__ import annotations

import argparse
import pathlib

from ..avatar import Body
from ..avatar.files import refuse_existing
from ..errors import InputError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photo",
        action="append",
        required=True,
        help="a photo; several views of one person: give --photo, --mask and --smplx once for each",
    )
    parser.add_argument("--mask", action="append", required=True, help="the person in white")
    parser.add_argument(
        "--smplx",
        action="append",
        required=True,
        help=".npz of the SMPL-X fit: poses, transl, betas, expression, K, world_to_camera, image_size",
    )
    parser.add_argument("--method", choices=("projection",), default="projection", help="how the texture is made")
    parser.add_argument("--body", help="an SMPL-X model .npz that the fits belong to (default: the open body)")
    parser.add_argument("--texture-size", type=int, default=1024, help="texels a side")
    parser.add_argument("--name", help="default: the name of --out")
    parser.add_argument("--licence", default="", help="a note to store in the avatar")
    parser.add_argument("--out", required=True, help="bundle to write: a folder, or a .zip")
    parser.add_argument("--overwrite", action="store_true", help="replace an avatar that is already there")


def run(args: argparse.Namespace) -> int:
    from ...export.inputs import read_view
    from ...export.projection import project_photos

    if not len(args.photo) == len(args.mask) == len(args.smplx):
        raise InputError(
            f"got {len(args.photo)} --photo, {len(args.mask)} --mask and {len(args.smplx)} --smplx; expected one mask and one fit for "
            f"each photo"
        )
    out = pathlib.Path(args.out)
    refuse_existing(out, args.overwrite)  # before the work is done
    body = Body.load(args.body) if args.body else Body.open()
    views = [read_view(*v) for v in zip(args.photo, args.mask, args.smplx, strict=True)]
    avatar, figures = project_photos(views, body, name=args.name or out.stem, texture_size=args.texture_size, licence=args.licence)
    avatar.save(out, args.overwrite)
    for what, share in figures.items():
        print(f"{what}: {100 * share:.0f} % of the surface")
    print(f"{out}: avatar {avatar.name!r}; look at it with 'dinar inspect {out}'")
    return 0
