"""The student: a light renderer trained on a teacher's pictures with the loop that fits captures, put beside
the teacher."""

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
from dinar_live.export.fit.light import MAX_WIDTH, WIDTH, gflop
from dinar_live.export.fit.pipeline import light_renderer
from dinar_live.export.fit.samples import Crops
from dinar_live.export.fit.train import Model, Settings, Trainer
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
    """What is learned. name: of the renderer in the bundle; neural: texture channels beside the colour;
    width: of the network."""

    name: str = "light"
    neural: int = 16
    width: int = WIDTH

    def __post_init__(self):
        if not (16 <= self.width <= MAX_WIDTH and self.width % 16 == 0):
            raise InputError(f"width: got {self.width}, expected a multiple of 16 in 16..{MAX_WIDTH}")
        if not 0 <= self.neural <= 61:
            raise InputError(f"neural channels: got {self.neural}, expected 0..61")


def check_names(avatar: Avatar, teacher: str, student: Student) -> None:
    """InputError where the avatar has no such teacher, or where the student's name is taken."""
    if teacher not in avatar.renderers:
        raise InputError(f"teacher: got {teacher!r}, the avatar has {', '.join(avatar.renderers)}")
    if not RENDERER_NAME.fullmatch(student.name):
        raise InputError(
            f"student: got {student.name!r}, expected up to 32 lower-case letters, digits and '_'"
        )
    if student.name in avatar.renderers:
        raise InputError(f"student: the avatar has a renderer {student.name!r} already; choose another name")


def starting_textures(
    rig: Rig, frames: Sequence[Frame], spec: RendererSpec, neural: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """What the student starts with: colour f32[T,T,3], the mean of what the teacher's pictures show of each
    texel, and neural channels f32[T,T,neural], those after the colour in the teacher's own texture where it
    is a square one of the same layout (None: random)."""
    texture = spec.float_texture()
    size = texture.shape[0] if texture.shape[0] == texture.shape[1] else TEXTURE
    colour = filled_texture(rig, texels(rig, size), *mean_texture(rig, frames, size))
    alike = texture.shape == (size, size, 3 + neural) and texture.min() >= 0 and texture.max() <= 1
    return colour, texture[..., 3:] if alike else None


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
    colour, neural = starting_textures(avatar.rig, frames, avatar.renderers[teacher], student.neural)
    model = Model(colour, student.neural, student.width, settings.seed)
    if neural is not None:
        model.neural.data.copy_(torch.from_numpy(np.ascontiguousarray(neural.transpose(2, 0, 1))))
    crops = Crops(
        avatar.rig, frames, settings.size, settings.seed, plain=1.0
    )  # pictures there are enough of; these are sharp
    model = Trainer(model, lambda step: crops.batch(step, settings.batch), settings, file).run(report)
    return light_renderer(model)


def with_student(
    avatar: Avatar,
    teacher: str,
    student: Student,
    spec: RendererSpec,
    capture: Capture,
    settings: Settings,
    options: dict | None = None,
) -> tuple[Avatar, Evaluation]:
    """The avatar with the student as its first renderer and the measured difference to the teacher: the
    student's pictures of the capture's validation frames, in f32, against the teacher's."""
    frames = capture.frames("validation")
    both = replace(avatar, renderers={student.name: spec, **avatar.renderers}, checks=None)
    difference = evaluate(
        both, capture, frames, student.name, options={**(options or {}), "precision": "f32"}
    )
    channels = spec.texture.shape[2]
    provenance = {
        "teacher": teacher,
        "gflop": round(gflop(channels, student.width), 2),
        "training_frames": len(capture.frames("training")),
        "steps": settings.steps,
        "validation_frames": len(frames),
        **{name: round(float(values.mean()), 4) for name, values in difference.scores.items()},
    }
    both = replace(both, provenance={**avatar.provenance, f"distilled {student.name}": provenance})
    poses = (
        [capture.pose(i) for i in frames[:CHECKS]] if avatar.checks is None else _check_poses(avatar.checks)
    )
    return make_checks(both, poses), difference


def _check_poses(checks: Checks) -> list[Pose]:
    return [Pose(*p) for p in zip(checks.body, checks.transl, checks.expression, strict=True)]
