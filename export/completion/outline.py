"""The mesh moved to the masks' outlines: without any learned weights, or as a correction of what the
network predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.export.capture import premultiplied
from dinar_live.export.fit import offsets
from dinar_live.export.fit.contours import Edges, contour_equations, read
from dinar_live.export.fit.frames import Frame, skinning, with_offsets
from dinar_live.export.inputs import View
from dinar_live.export.projection import check_expressions, mean_betas
from dinar_live.runtime.avatar import Body, Rig

from .surface import Field

CARVE_STEPS = np.linspace(0, 1, 25)  # of an offset, looked at for where it leaves the mask
CARVE_ROUNDS = 2
PULL = 5.0  # towards predicted offsets of median confidence, relative to the pull of a fit towards the body
PULL_RANGE = (0.2, 40.0)


@dataclass(frozen=True, eq=False)
class MovedBody:
    """Stands for a Body in `project_photos`: of one person, with their offsets."""

    kind: str
    moved: Rig

    def rig(self, betas=()) -> Rig:
        """The person's rig, whatever the betas."""
        return self.moved


def frame_of(view: View) -> Frame:
    """A view as fitting takes it."""
    rgba = np.dstack([view.rgb, (view.mask * 255 + 0.5).astype(np.uint8)])
    return Frame(view.pose, view.camera.matrix, premultiplied(rgba))


def outlined(views: Sequence[View], body: Body) -> MovedBody:
    """The body moved to the outlines of the views' masks, for `project_photos(views, outlined(views,
    body), ...)`.

    Takes a few seconds. Raises InputError where no outline can be used.
    """
    rig = body.rig(mean_betas(views))
    check_expressions(views, rig)
    offset = offsets.fit_offsets(rig, [frame_of(v) for v in views], colours=False)
    return MovedBody(body.kind, with_offsets(rig, offset))


def carved(field: Field, rig: Rig, offset: np.ndarray, frame: Frame) -> np.ndarray:
    """Offsets f64[V,3] shortened where a vertex would leave the mask: to the last place before it goes
    outside."""
    linear, shift, rest = skinning(rig, frame.pose)
    alpha = cv2.dilate(frame.picture[..., 3].astype(np.float32) / 255, np.ones((3, 3)))
    size = np.array(alpha.shape[::-1])
    skin = field.atlas.skin_vertex
    for _ in range(CARVE_ROUNDS):
        inside = []
        for k in CARVE_STEPS:
            v = (np.einsum("vab,vb->va", linear, rest + k * offset) + shift).astype(np.float32)
            projective, _ = kernels.project(v, frame.matrix)
            xy = projective[:, :2] / np.maximum(projective[:, 2:], 1e-6)
            beyond = ((xy < 0) | (xy > size)).any(
                1
            )  # of the picture: nobody knows whether the person goes on there
            inside.append(beyond | (read(alpha, xy) > 0.5))
        inside = np.array(inside)
        entered = np.maximum.accumulate(inside, 0)
        left = entered & ~inside
        first = np.where(left.any(0), left.argmax(0), len(CARVE_STEPS))
        keep = np.where(entered[-1], CARVE_STEPS[np.clip(first - 1, 0, len(CARVE_STEPS) - 1)], 0.0)
        keep[~skin] = 1
        weight = np.where(keep < 1, 3.0, 1.0)
        smooth = _solve(field, keep, weight)
        offset = offset * np.clip(np.minimum(smooth, keep + 0.15), 0, 1)[:, None]
    return offset


def _solve(field: Field, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    from scipy import sparse
    from scipy.sparse.linalg import splu

    return splu((field.stiff * 0.3 + sparse.diags(weight)).tocsc()).solve(weight * value)


def refined(
    field: Field, rig: Rig, offset: np.ndarray, frames: Sequence[Frame], error: np.ndarray | None = None
) -> np.ndarray:
    """Predicted offsets f64[V,3] brought to the masks' outlines; what is sure is pulled back to the
    prediction more.

    error f[V]: the expected error of each offset in metres, or None.
    """
    from scipy import sparse

    for frame in frames:
        offset = carved(field, rig, offset, frame)
    moved = with_offsets(rig, offset.astype(np.float32))
    solver = offsets.Solver(moved)
    if error is not None:
        pull = np.clip(PULL * (np.median(error) / error) ** 2, *PULL_RANGE)
        solver.stay = sparse.diags((solver.stay.diagonal().reshape(-1, 3) * pull[:, None]).ravel())
    edges = Edges(moved.faces[solver.skin[moved.faces].all(1)])
    change = np.zeros_like(offset)
    for k, smoothness in enumerate(offsets.SMOOTHNESS):
        matrix, target = solver.matrix([contour_equations(moved, f, change, edges) for f in frames])
        if not len(target):
            break
        change = solver.solve([(matrix, target, 1.0, offsets.HUBER_METRES)], smoothness, change, robust=k > 0)
    return offset + change
