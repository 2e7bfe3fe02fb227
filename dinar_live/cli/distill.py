"""dinar distill AVATAR --teacher NAME --out AVATAR"""

from __future__ import annotations

import argparse
import pathlib
import shutil
from dataclasses import asdict, replace

from dinar_live.runtime.avatar.files import refuse_existing
from dinar_live.runtime.core.errors import InputError

from . import ahead, common
from .progress import Progress


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser)
    parser.add_argument(
        "--out",
        required=True,
        help="bundle to write: a folder, or a .zip; it has the teacher's renderers and the new ones",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an avatar that is already there")
    parser.add_argument(
        "--teacher",
        default="auto",
        metavar="NAME",
        help="the renderer to learn from (default: the avatar's first)",
    )
    parser.add_argument(
        "--student",
        action="append",
        default=[],
        metavar="NAME",
        help="what the new renderer is called, once for each (default: light and lite, if the avatar has them not yet); "
        "lite gets the smaller network",
    )
    views = parser.add_argument_group("what the teacher is rendered in")
    views.add_argument(
        "--motion",
        action="append",
        default=[],
        metavar="FILE",
        # fmt: skip
        help=".npz, .bvh or .dmot file, once for each; poses come from the built-in motion and all of these",
    )
    common.file_arguments(views)
    views.add_argument("--capture", metavar="FOLDER", help="take poses from its frames too")
    views.add_argument("--frames", type=int, default=400, help="to train on")
    views.add_argument(
        "--validation",
        type=int,
        default=60,
        metavar="FRAMES",
        help="to measure the difference on, in poses of their own",
    )
    views.add_argument(
        "--size",
        type=common.size,
        default=(512, 512),
        metavar="WxH",
        help="picture size in pixels (default: 512x512)",
    )
    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=int, default=1500, help="of training, for each")
    training.add_argument(
        "--width", type=int, default=32, help="channels of the network, of lite always 16; a multiple of 16"
    )
    training.add_argument("--seed", type=int, default=0, help="of poses, cameras and training")
    training.add_argument("--keep-work", action="store_true", help="keep OUT.work: the teacher's pictures and the state of training, from "
                          "which an interrupted run goes on")  # fmt: skip
    common.engine_arguments(parser)
    ahead.argument(parser)


def run(args: argparse.Namespace) -> int:
    if not pathlib.Path(args.avatar).exists() and args.avatar != "demo":
        raise InputError(f"{args.avatar}: no such avatar")
    common.need("dinar distill", "export", "torch", "onnx")
    import torch

    from dinar_live.export.capture import Capture
    from dinar_live.export.distill.poses import CaptureSource, MotionSource, Source
    from dinar_live.export.distill.student import check_names, students, train_student, with_students
    from dinar_live.export.distill.teacher import Plan, render_teacher
    from dinar_live.export.evaluate import sheet, summary, table
    from dinar_live.export.fit.half import STRIDE
    from dinar_live.export.fit.train import Settings
    from dinar_live.export.sheets import report_paths
    from dinar_live.export.work import Work, fingerprint
    from dinar_live.runtime.bench.report import write_json
    from dinar_live.runtime.motion import demo_motion
    from dinar_live.runtime.render.sinks import write_png

    out = pathlib.Path(args.out)
    refuse_existing(out, args.overwrite)  # before the work is done
    avatar = common.open_avatar(args.avatar)
    teacher = next(iter(avatar.renderers)) if args.teacher == "auto" else args.teacher
    learners = students(avatar, args.student, args.width)
    for student in learners:
        check_names(avatar, teacher, student)
    plan = Plan(training=args.frames, validation=args.validation, size=args.size, seed=args.seed)
    crop = min(Settings.size, *(side // STRIDE * STRIDE for side in args.size))
    settings = Settings(steps=args.steps, size=crop, seed=args.seed, device=_device(args.device))
    settings = replace(settings, bf16=settings.device == "cuda")
    options = common.engine_options(args)
    if args.precision == "auto":
        options["precision"] = "f32"  # a teacher is worth its time
    if args.threads:
        torch.set_num_threads(args.threads)
    motions = [demo_motion(), *(common.open_motion(m, args) for m in args.motion)]
    sources: list[Source] = [MotionSource(m, avatar.rig) for m in motions]
    if args.capture is not None:
        capture = Capture.open(args.capture)
        capture.check_body(avatar.rig)
        sources.append(CaptureSource(capture))
    folder = out.with_name(f"{out.name}.work")

    def frames_progress(items):
        return Progress(items, unit="frame", desc=f"teacher {teacher}")

    capture = render_teacher(
        avatar, teacher, folder / "teacher", plan, sources, options=options, progress=frames_progress
    )
    basis = [folder / "teacher" / name for name in ("teacher.json", "capture.npz")]
    learned = []
    with common.TrainingBar(settings.steps * len(learners)) as bar:
        for done, student in enumerate(learners):
            work = Work(folder, fingerprint(basis, {**asdict(settings), **asdict(student)}))
            before = done * settings.steps
            spec = train_student(
                avatar,
                teacher,
                capture,
                student,
                settings,
                file=work.file("train"),
                report=lambda step, loss, before=before: bar(before + step, loss),
            )
            learned.append((student, spec))
    both, differences = with_students(avatar, teacher, learned, capture, settings, options)
    both.save(out, args.overwrite)
    write_png((paths := report_paths(out))[0], sheet(differences))
    summaries = {student.name: summary(d) for student, d in zip(learners, differences, strict=True)}
    write_json(paths[1], {"teacher": teacher, "student": summaries[learners[0].name], "students": summaries})
    if not args.keep_work:
        shutil.rmtree(folder, ignore_errors=True)
    for student, difference in zip(learners, differences, strict=True):
        print(f"{student.name} against {teacher}, in poses and views that were not trained on:")
        print("\n".join(table(difference)))
    print(f"{out}: renderers {', '.join(both.renderers)}; report: {paths[0]}, {paths[1]}")
    ahead.compile_ahead(args, out)
    return 0


def _device(wanted: str) -> str:
    """Where torch trains, for what --device says of rendering."""
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError(
            f"--device {wanted}: torch finds no CUDA device here; install a CUDA build of torch, or use --device cpu"
        )
    return "cuda"
