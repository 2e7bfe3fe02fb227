"""dinar export --photo P [--photo P2 ...] [--mask M ...] [--smplx FIT ...] [--checkpoint C] --out AVATAR

Without --checkpoint the package's own completion network makes a whole person of one photo or several."""

from __future__ import annotations

import argparse
import pathlib

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.avatar.files import refuse_existing
from dinar_live.runtime.core.errors import InputError

from . import ahead, common


def arguments(parser: argparse.ArgumentParser) -> None:
    _photo_arguments(parser)
    parser.add_argument("--out", required=True, help="bundle to write: a folder, or a .zip")
    parser.add_argument("--overwrite", action="store_true", help="replace an avatar that is already there")
    parser.add_argument(
        "--body", help="the SMPL-X model .npz that the fits belong to (default: the open body)"
    )
    parser.add_argument("--name", help="default: the name of --out")
    parser.add_argument("--licence", default="", help="a note to store in the avatar")
    parser.add_argument(
        "--method",
        choices=("completion", "outline", "projection", "dinar"),
        help="completion: a network shapes and paints what no photo shows (default; open body only); outline: the body is moved to "
        "the masks' outlines, nothing learned; projection: the bare body; dinar: the published networks (default with --checkpoint)",
    )
    parser.add_argument("--texture-size", type=int, default=1024, help="texels a side (not of dinar)")
    parser.add_argument(
        "--weights", metavar="FILE.onnx", help="completion: a network you trained (docs/completion.md)"
    )
    parser.add_argument("--threads", type=int, default=0, help="of the completion network; 0 = all cores")
    ahead.argument(parser)
    _dinar_arguments(parser)


def _dinar_arguments(parser: argparse.ArgumentParser) -> None:
    dinar = parser.add_argument_group(
        "dinar: the networks of arXiv 2303.09375 (needs the extra export: torch and onnx)"
    )
    dinar.add_argument("--checkpoint", help="published .ckpt, or .safetensors")
    dinar.add_argument(
        "--assets", help="asset folder of the published repository (default: derived from the body)"
    )
    dinar.add_argument("--steps", type=int, default=200, help="of the diffusion")
    dinar.add_argument("--tune-steps", type=int, default=64, help="of texture tuning; 0 = none")
    dinar.add_argument(
        "--finetune-back", action="store_true", help="tune the colours of unseen parts first (Eq. 7)"
    )
    dinar.add_argument("--seed", type=int, default=0, help="same seed, same avatar on one machine")
    dinar.add_argument(
        "--no-occlusion",
        action="store_true",
        help="also sample along the outlines of limbs in front of the body",
    )
    dinar.add_argument(
        "--sampling",
        choices=("last", "sum"),
        default="last",
        help="texels that several pixels hit: published code, or Algorithm 1",
    )
    dinar.add_argument(
        "--blend",
        choices=("none", "pyramid", "poisson"),
        default="none",
        help="seams: between views, or around the known part",
    )
    dinar.add_argument(
        "--precision", choices=("f32", "bf16", "f16"), default="f32", help="of the diffusion and of tuning"
    )
    dinar.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the networks run"
    )
    dinar.add_argument(
        "--wrap-white", action="store_true", help="pure white becomes black, as in the published code"
    )
    dinar.add_argument(
        "--backend",
        choices=("eager", "inductor", "torch-tensorrt"),
        default="eager",
        help="what runs the diffusion U-Net: torch as it is, torch.compile, or TensorRT (pip install torch-tensorrt)",
    )
    dinar.add_argument(
        "--compile", dest="backend", action="store_const", const="inductor", help=argparse.SUPPRESS
    )
    dinar.add_argument(
        "--lpips", nargs=2, metavar=("VGG16", "HEADS"), help="weights of tuning's LPIPS loss, which you bring"
    )
    dinar.add_argument(
        "--keep-work",
        action="store_true",
        help="keep OUT.work, the finished stages, which an interrupted run goes on from",
    )


def _photo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photo",
        action="append",
        required=True,
        help="a photo of the whole person; give --photo once for each view (front and back are best)",
    )
    parser.add_argument(
        "--mask",
        action="append",
        default=[],
        help="the person in white, one for each photo (default: made from the photo)",
    )
    parser.add_argument(
        "--smplx",
        action="append",
        default=[],
        help="SMPL-X fit, one for each photo: .npz with its camera, or the published .pkl (with --checkpoint) "
        "(default: made from the photo)",
    )
    parser.add_argument(
        "--height", type=float, metavar="METRES", help="of the person, e.g. 1.74; a photo cannot tell it"
    )
    parser.add_argument(
        "--person", type=int, metavar="N", help="which one of several people, counted from the left"
    )


def run(args: argparse.Namespace) -> int:
    if args.checkpoint and args.method not in (None, "dinar"):
        raise InputError(f"--method {args.method}: takes no --checkpoint; use --method dinar")
    if args.method == "dinar" and not args.checkpoint:
        raise InputError("--method dinar needs --checkpoint")
    if args.checkpoint and args.weights:
        raise InputError("--weights: means nothing for --method dinar")
    common.check_threads(args.threads)
    out = pathlib.Path(args.out)
    refuse_existing(out, args.overwrite)  # before the work is done
    body = Body.load(args.body) if args.body else Body.open()
    _complete(args, out, body)
    (_dinar if args.checkpoint else _from_photos)(args, out, body)
    print(f"{out}: avatar {args.name or out.stem!r}; look at it with 'dinar inspect {out}'")
    ahead.compile_ahead(args, out)
    return 0


def _complete(args: argparse.Namespace, out: pathlib.Path, body: Body) -> None:
    """Masks and fits that are not given are made, beside the avatar; `args` then names them."""
    from dinar_live.export.photo_inputs import complete

    folder = out.with_name(f"{out.name.removesuffix('.zip')}_photos")
    files = complete(
        args.photo, args.mask, args.smplx, folder, body=body, height=args.height, person=args.person
    )
    args.photo = files.photos
    args.mask = files.masks
    args.smplx = files.fits


def _from_photos(args: argparse.Namespace, out: pathlib.Path, body: Body) -> None:
    from dinar_live.export.from_photos import avatar_from_photos, choose_method
    from dinar_live.export.inputs import read_view

    views = [read_view(*v) for v in zip(args.photo, args.mask, args.smplx, strict=True)]
    method, why = (args.method, "") if args.method else choose_method(body, args.weights)
    if why:
        print(f"note: method {method}: {why}")
    avatar, figures = avatar_from_photos(
        views, body, name=args.name or out.stem, method=method, texture_size=args.texture_size,
        licence=args.licence, own_weights=args.weights, threads=args.threads,
    )  # fmt: skip
    avatar.save(out, args.overwrite)
    for what, share in figures.items():
        print(f"{what}: {100 * share:.0f} % of the surface")


def _dinar(args: argparse.Namespace, out: pathlib.Path, body: Body) -> None:
    common.need("--method dinar", "export", "torch", "onnx")
    from dinar_live.export.dinar.fits import HandPCA, read_fit
    from dinar_live.export.dinar.pipeline import Materials, Photo, Settings, make_avatar
    from dinar_live.export.dinar.report import write_report
    from dinar_live.export.inputs import read_photo
    from dinar_live.export.work import Work, fingerprint

    settings = Settings(
        steps=args.steps, tune_steps=args.tune_steps, finetune_back=args.finetune_back, seed=args.seed, occlusion=not args.no_occlusion,
        sampling=args.sampling, blend=args.blend, precision=args.precision, device=args.device,
        wrap_white=args.wrap_white, backend=args.backend,
    )  # fmt: skip
    hands = (
        HandPCA.load(args.body)
        if any(f.endswith((".pkl", ".pickle")) for f in args.smplx) and args.body
        else None
    )
    photos = []
    for photo, mask, fit in zip(args.photo, args.mask, args.smplx, strict=True):
        rgb, alpha = read_photo(photo, mask)
        photos.append(Photo(pathlib.Path(photo).stem, rgb, alpha, read_fit(fit, alpha.shape, hands)))
    if not pathlib.Path(args.checkpoint).is_file():
        raise InputError(
            f"{args.checkpoint}: no such file; expected the published DINAR checkpoint (.ckpt) or a .safetensors of it"
        )
    assets = (
        [] if args.assets is None else sorted(p for p in pathlib.Path(args.assets).glob("*") if p.is_file())
    )
    lpips = None
    if args.lpips is not None:
        from dinar_live.export.dinar.lpips import load_lpips

        lpips = load_lpips(*args.lpips)
    files = [
        *(args.lpips or []),
        *args.photo,
        *args.mask,
        *args.smplx,
        args.checkpoint,
        *([args.body] if args.body else []),
        *assets,
    ]
    work = Work(out.with_name(f"{out.name}.work"), fingerprint(files, vars(settings)))
    result = make_avatar(
        photos,
        Materials(args.checkpoint, body, args.assets, lpips),
        settings,
        name=args.name or out.stem,
        work=work,
        licence=args.licence,
    )
    result.avatar.save(out, args.overwrite)
    sheet, figures = write_report(out, result)
    if not args.keep_work:
        work.remove()
    print(
        f"seen: {', '.join(f'{100 * s:.0f} %' for s in result.figures['seen'])} of the surface; LPIPS loss {result.figures['lpips']}"
    )
    print(
        f"exported network against the checkpoint's: off by at most {max(result.figures['parity_max_error'].values()):.1e}"
    )
    print(f"report: {sheet}, {figures}")
