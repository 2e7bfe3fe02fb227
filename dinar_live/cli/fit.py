"""dinar fit CAPTURE --out AVATAR: an avatar with hair and clothes from many posed pictures of a person"""

from __future__ import annotations

import argparse
import pathlib
import shutil

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.avatar.files import refuse_existing

from . import ahead, common


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "capture", metavar="CAPTURE", help="folder with capture.npz and images/ (docs/evaluate.md#captures)"
    )
    parser.add_argument("--out", required=True, help="bundle to write: a folder, or a .zip")
    parser.add_argument("--overwrite", action="store_true", help="replace an avatar that is already there")
    parser.add_argument("--name", help="default: the name of --out")
    parser.add_argument("--licence", default="", help="a note to store in the avatar")
    parser.add_argument(
        "--body", help="the SMPL-X model .npz that the capture belongs to (default: the open body)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=1500,
        help="of training, for each network; 0 = none: the textured mesh with soft outlines",
    )
    parser.add_argument("--texture-size", type=int, default=512, help="texels a side")
    parser.add_argument(
        "--channels", type=int, default=16, help="of the neural texture of `light`, beside the colour"
    )
    parser.add_argument(
        "--width",
        type=int,
        default=32,
        help="channels of the network `light` at half resolution, a multiple of 16",
    )
    parser.add_argument("--no-offsets", action="store_true", help="keep the body's own mesh")
    parser.add_argument(
        "--silhouettes-only", action="store_true", help="move the mesh by outlines alone, not by colours"
    )
    parser.add_argument(
        "--refine-poses",
        action=argparse.BooleanOptionalAction,
        help="refine each frame's pose while the mesh moves (default: where the capture says that its poses are estimates, as "
        "`dinar capture` makes them); writes OUT_poses.npz",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="same seed, same avatar, on the CPU of one machine"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network is trained"
    )
    parser.add_argument("--threads", type=int, default=0, help="for training; 0 = all cores")
    ahead.argument(parser)
    parser.add_argument(
        "--keep-work",
        action="store_true",
        help="keep OUT.work, the finished stages from which an interrupted run goes on",
    )


def run(args: argparse.Namespace) -> int:
    from dinar_live.export.capture import Capture

    out = pathlib.Path(args.out)
    refuse_existing(out, args.overwrite)  # before the work is done
    common.check_threads(args.threads)
    capture = Capture.open(args.capture)
    common.need("dinar fit", "export", "torch", "onnx")
    import torch

    from dinar_live.export.fit.pipeline import FitSettings, fit_with_poses
    from dinar_live.export.fit.report import check_validation, write_report

    if args.threads:
        torch.set_num_threads(args.threads)
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    settings = FitSettings(
        texture=args.texture_size, neural=args.channels, width=args.width, steps=args.steps, offsets=not args.no_offsets,
        colours=not args.silhouettes_only, seed=args.seed, device=device, poses=args.refine_poses,
    )  # fmt: skip
    check_validation(capture)
    body = Body.load(args.body) if args.body else Body.open()
    work = out.with_name(f"{out.name}.work")
    with common.TrainingBar(settings.steps * len(settings.ladder)) as bar:
        avatar, capture = fit_with_poses(
            capture, body, settings, name=args.name or out.stem, licence=args.licence, work=work, progress=bar
        )
    avatar.save(out, args.overwrite)
    if avatar.provenance["poses"] == "refined":
        poses = out.with_name(f"{out.name.removesuffix('.zip')}_poses.npz")
        capture.write_poses(poses)
        print(f"refined poses: {poses}")
    write_report(out, avatar, capture)
    if not args.keep_work:
        shutil.rmtree(work, ignore_errors=True)
    print(
        f"{out}: avatar {avatar.name!r} in {avatar.provenance['seconds']['all']:.0f} s; look at it with 'dinar inspect {out}'"
    )
    ahead.compile_ahead(args, out)
    return 0
