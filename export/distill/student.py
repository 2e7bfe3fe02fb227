"""The students: renderers trained on a teacher's pictures with the loop that fits captures, put beside the
teacher."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dinar_live.export.capture import Capture
from dinar_live.export.checks import make_checks
from dinar_live.export.evaluate import Evaluation, evaluate
from dinar_live.export.fit.colours import filled_texture, mean_texture
from dinar_live.export.fit.frames import Frame, read_frames
from dinar_live.export.fit.half import LADDER, Rung, gflop
from dinar_live.export.fit.pipeline import eight_bits, network_renderer
from dinar_live.export.fit.samples import Crops
from dinar_live.export.fit.train import NEURAL_TEXELS, Model, Settings, Trainer
from dinar_live.export.texture_space import texels
from dinar_live.runtime.avatar import Avatar, Checks, RendererSpec, Rig
from dinar_live.runtime.avatar.avatar import RENDERER_NAME
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose

CHECKS = 2  # poses
TEXTURE = 512  # texels a side, where the teacher's texture is not square

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Student:
    """What is learned. name: of the renderer in the bundle; rung: the size of its network. Raises InputError."""

    name: str = "light"
    rung: Rung = LADDER[0]

    def __post_init__(self):
        if not RENDERER_NAME.fullmatch(self.name):
            raise InputError(
                f"student: got {self.name!r}, expected up to 32 lower-case letters, digits and '_'"
            )


def students(avatar: Avatar, names: Sequence[str] = (), width: int = LADDER[0].width) -> tuple[Student, ...]:
    """The students of these names; without any, those of the ladder that the avatar does not have yet. A name of the
    ladder gets the network of that name; any other, and `light`, a network like light's of `width`. Raises
    InputError."""
    known = {rung.name: rung for rung in LADDER}
    if not names:
        names = [name for name in known if name not in avatar.renderers]
        if not names:
            raise InputError(
                f"student: the avatar has {' and '.join(known)} already; choose another name with --student"
            )
    if len(set(names)) < len(names):
        raise InputError(f"student: got {', '.join(names)}; expected every name once")
    first = LADDER[0].name
    try:
        wide = replace(LADDER[0], width=width)
    except ValueError as e:
        raise InputError(str(e)) from e
    return tuple(Student(name, known[name] if name in known and name != first else wide) for name in names)


def check_names(avatar: Avatar, teacher: str, student: Student) -> None:
    """InputError where the avatar has no such teacher, or where the student's name is taken."""
    if teacher not in avatar.renderers:
        raise InputError(f"teacher: got {teacher!r}, the avatar has {', '.join(avatar.renderers)}")
    if student.name in avatar.renderers:
        raise InputError(f"student: the avatar has a renderer {student.name!r} already; choose another name")


def starting_textures(
    rig: Rig, frames: Sequence[Frame], spec: RendererSpec, neural: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a student starts with: colour f32[T,T,3], the mean of what the teacher's pictures show of each
    texel, and neural channels f32[T/2,T/2,neural]: those of the teacher's own textures where they are square ones
    of the same layout (None: random)."""
    texture = spec.float_texture()
    size = texture.shape[0] if texture.shape[0] == texture.shape[1] else TEXTURE
    colour = filled_texture(rig, texels(rig, size), *mean_texture(rig, frames, size))
    side = size // NEURAL_TEXELS
    if spec.neural is not None:
        own = spec.float_neural()
    elif spec.model is not None and texture.shape[:2] == (NEURAL_TEXELS * side, NEURAL_TEXELS * side):
        own = texture[..., 3:].reshape(side, NEURAL_TEXELS, side, NEURAL_TEXELS, -1).mean((1, 3))
    else:
        return colour, None
    alike = own.shape == (side, side, neural) and neural and own.min() >= 0 and own.max() <= 1
    return colour, own if alike else None


def train_student(
    avatar: Avatar,
    teacher: str,
    capture: Capture,
    student: Student,
    settings: Settings,
    *,
    file: pathlib.Path | None = None,
    report: Report = lambda step, loss: None,
) -> RendererSpec:
    """Learn `student` from the training frames of `capture`, pictures of the avatar's renderer `teacher`, on
    the avatar's own mesh.

    file: keeps the state of training, from which an interrupted run goes on. Raises InputError.
    """
    frames = read_frames(capture, capture.frames("training"))
    rung = student.rung
    colour, neural = starting_textures(avatar.rig, frames, avatar.renderers[teacher], rung.neural)
    model = Model(colour, rung, settings.seed)
    if neural is not None:
        model.neural.data.copy_(torch.from_numpy(np.ascontiguousarray(neural.transpose(2, 0, 1))))
    crops = Crops(
        avatar.rig, frames, settings.size, settings.seed, plain=1.0
    )  # pictures there are enough of; these are sharp
    model = Trainer(model, lambda step: crops.batch(step, settings.batch), settings, file).run(report)
    return network_renderer(model)


def mean_renderer(avatar: Avatar, teacher: str, capture: Capture) -> RendererSpec:
    """The mesh with the mean colours of the teacher's pictures and no network: the lowest rung."""
    frames = read_frames(capture, capture.frames("training"))
    colour, _ = starting_textures(avatar.rig, frames, avatar.renderers[teacher], 0)
    return RendererSpec(eight_bits(colour), samples=2)


def with_students(
    avatar: Avatar,
    teacher: str,
    learned: Sequence[tuple[Student, RendererSpec]],
    capture: Capture,
    settings: Settings,
    options: dict | None = None,
) -> tuple[Avatar, list[Evaluation]]:
    """The avatar with the students as its first renderers, and with a texture as its last one where it has no
    renderer without a network; and the measured difference of each student to the teacher: its pictures of the
    capture's validation frames, in f32, against the teacher's."""
    frames = capture.frames("validation")
    renderers = {**{student.name: spec for student, spec in learned}, **avatar.renderers}
    if all(spec.type.needs_network for spec in renderers.values()) and "texture" not in renderers:
        renderers["texture"] = mean_renderer(avatar, teacher, capture)
    both = replace(avatar, renderers=renderers, checks=None)
    differences, provenance = [], dict(avatar.provenance)
    for student, _ in learned:
        difference = evaluate(
            both, capture, frames, student.name, options={**(options or {}), "precision": "f32"}
        )
        differences.append(difference)
        provenance[f"distilled {student.name}"] = {
            "teacher": teacher,
            "gflop": round(gflop(student.rung), 2),
            "training_frames": len(capture.frames("training")),
            "steps": settings.steps,
            "validation_frames": len(frames),
            **{name: round(float(values.mean()), 4) for name, values in difference.scores.items()},
        }
    both = replace(both, provenance=provenance)
    poses = (
        [capture.pose(i) for i in frames[:CHECKS]] if avatar.checks is None else _check_poses(avatar.checks)
    )
    return make_checks(both, poses), differences


def _check_poses(checks: Checks) -> list[Pose]:
    return [Pose(*p) for p in zip(checks.body, checks.transl, checks.expression, strict=True)]
