"""A teacher's pictures as a capture: planned by seed, rendered one by one, resumed where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dinar_live.export.capture import MAX_BYTES, MAX_FRAMES, SPLITS, Capture
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.formats.npz import Npz
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.sinks import write_png

from .cameras import CameraSampler
from .poses import PoseSampler, Source

VERSION = 1  # of the plan: the same seed gives another one when this changes
LEAST_SIDE = 32  # pixels

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Plan:
    """How many frames of which size (height, width) to render, from which seed. A frame does not depend on
    how many there are: more training frames later leave those that are rendered as they are."""

    training: int = 400
    validation: int = 60
    size: tuple[int, int] = (512, 512)
    seed: int = 0

    def __post_init__(self):
        if self.training < 1 or self.validation < 1 or self.training + self.validation > MAX_FRAMES:
            raise InputError(
                f"frames: got {self.training} and {self.validation} for validation, expected 1..{MAX_FRAMES} in all"
            )
        if not all(LEAST_SIDE <= s <= 2048 for s in self.size):
            raise InputError(
                f"size: got {self.size[1]}x{self.size[0]}, expected {LEAST_SIDE}..2048 pixels a side"
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed: got {self.seed}, expected 0..4294967295")


def planned(avatar: Avatar, plan: Plan, sources: Sequence[Source]) -> dict[str, np.ndarray]:
    """The arrays of capture.npz (see Capture): validation frames first, then training frames. Poses come from
    `sources`."""
    if not sources:
        raise InputError("poses: got no motion and no capture, expected at least one")
    poses, cameras = PoseSampler(avatar.rig, sources), CameraSampler(avatar.rig, plan.size)
    rows = []
    for split, count in (("validation", plan.validation), ("training", plan.training)):
        for i in range(count):
            rng = np.random.default_rng([VERSION, plan.seed, SPLITS[split], i])
            pose = poses.draw(rng, split == "validation")
            expression = np.zeros(avatar.rig.expressions, np.float32)
            expression[: len(pose.expression)] = pose.expression
            camera, framing = cameras.draw(rng, pose)
            rows.append(
                (pose.body, pose.transl, expression, camera.K, camera.world_to_camera, SPLITS[split], framing)
            )
    body, transl, expression, K, w2c, split, framing = (np.stack(c) for c in zip(*rows, strict=True))
    return {
        "poses": body,
        "transl": transl,
        "betas": np.zeros(0, np.float32),  # the shape is in the avatar's rig
        "expression": expression,
        "K": K,
        "world_to_camera": w2c,
        "image_size": np.array([plan.size[1], plan.size[0]], np.int32),
        "split": split.astype(np.uint8),
        "close_up": framing.astype(np.uint8),
    }


def render_teacher(
    avatar: Avatar,
    renderer: str,
    folder,
    plan: Plan,
    sources: Sequence[Source],
    *,
    options: dict | None = None,
    progress: Progress = iter,
) -> Capture:
    """Render the teacher `renderer` of `avatar` over a plan into a capture folder, keeping the pictures that
    are there already.

    options: keyword arguments of Renderer (engine, precision, threads). A folder begun with fewer training
    frames is continued; one begun for another teacher or precision, seed, size or other poses is refused
    (InputError).
    """
    folder, options = pathlib.Path(folder), options or {}
    arrays = planned(avatar, plan, sources)
    _claim(
        folder,
        {"key": _teacher_key(avatar, renderer, options), "teacher": renderer, "avatar": avatar.name},
        arrays,
    )
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # pyright: ignore[reportArgumentType]  numpy's stub takes a name for its own option
    _write(folder / "capture.npz", packed.getvalue())
    paths = [folder / "images" / f"{i:06d}.png" for i in range(len(arrays["poses"]))]
    missing = [i for i, path in enumerate(paths) if not path.is_file()]
    if missing:
        # The whole picture, because a network whose background is not exactly zero gives other edges in a
        # box.
        with Renderer(avatar, plan.size, renderer=renderer, straight=True, crop=False, **options) as r:
            for i in progress(missing):
                pose = Pose(arrays["poses"][i], arrays["transl"][i], arrays["expression"][i])
                write_png(paths[i], r.render(pose, Camera(arrays["K"][i], arrays["world_to_camera"][i])).rgba)
    return Capture.open(folder)


def _teacher_key(avatar: Avatar, renderer: str, options: dict) -> str:
    """Of everything that decides what the teacher's picture of a pose and camera is."""
    if renderer not in avatar.renderers:
        raise InputError(f"teacher: got {renderer!r}, the avatar has {', '.join(avatar.renderers)}")
    spec = avatar.renderers[renderer]
    digest = hashlib.sha256(spec.model or b"")
    how = [getattr(spec, k) for k in ("hardsegm", "threshold", "samples", "margin", "stride")]
    digest.update(repr([*how, options.get("engine"), options.get("precision")]).encode())
    for name, array in [*spec.arrays().items(), *avatar.rig.arrays().items()]:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _claim(folder: pathlib.Path, note: dict, arrays: dict[str, np.ndarray]) -> None:
    """Make `folder` ours, or check that it was begun for the same teacher and plan. Raises InputError."""
    file, begun = folder / "teacher.json", folder / "capture.npz"
    if not file.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                f"{folder}: is no empty folder and holds no pictures of a teacher; choose another one"
            )
        (folder / "images").mkdir(parents=True)
        _write(file, (json.dumps(note, indent=1) + "\n").encode())
    other = None
    try:
        if json.loads(file.read_bytes())["key"] != note["key"]:
            other = "another teacher or precision"
        elif begun.is_file():
            with Npz(begun, MAX_BYTES) as z:
                for name, array in arrays.items():
                    old = z.read(name)
                    n = min(len(old), len(array))
                    if not np.array_equal(old[:n], array[:n]):
                        other = f"another seed, size or set of poses ({name} differs)"
                        break
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise InputError(
            f"{folder}: teacher.json or capture.npz is damaged ({e}); delete the folder and start again"
        ) from None
    if other:
        raise InputError(f"{folder}: holds pictures of {other}; delete it or choose another folder")


def _write(path: pathlib.Path, content: bytes) -> None:
    """The whole file or nothing."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
