"""The mesh moves to clothes that are known: outlines alone, then colours; every equation is true for the true
offset."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from dinar_live import kernels
from dinar_live.export.fit import offsets
from dinar_live.export.fit.colours import mean_texture, rastered
from dinar_live.export.fit.contours import Edges, contour_equations, read
from dinar_live.export.fit.frames import Frame, pixels_per_metre, skinning, with_offsets
from dinar_live.export.fit.offsets import fit_offsets, laplacian
from dinar_live.export.fit.shading import shading_equations
from dinar_live.export.texture_space import vertex_normals
from dinar_live.runtime import Pose
from dinar_live.runtime.core.errors import InputError


def iou(rig, frames) -> float:
    """Mean overlap of the mesh's silhouette with the pictures'."""
    out = []
    for f in frames:
        mesh, person = rastered(rig, f).triangle_id >= 0, f.picture[..., 3] > 127
        out.append((mesh & person).sum() / (mesh | person).sum())
    return float(np.mean(out))


def test_skinning_as_an_affine_map_is_lbs(person):
    rng = np.random.default_rng(3)
    pose = Pose(rng.normal(0, 0.4, (55, 3)), rng.normal(0, 1, 3), rng.uniform(0, 1, 62))
    linear, shift, rest = skinning(person.bare, pose)
    expected = kernels.lbs(person.bare.model, pose.body, pose.transl, pose.expression)
    np.testing.assert_allclose(np.einsum("vab,vb->va", linear, rest) + shift, expected, atol=2e-5)


def test_pixels_per_metre_is_the_derivative_of_the_projection(person):
    f = person.frames[0]
    point, step = np.array([[0.1, 1.0, 0.2]]), 1e-6

    def pixels(p):
        h = p @ f.matrix[:, :3].T + f.matrix[:, 3]
        return h[:, :2] / h[:, 2:], h[:, 2]

    xy, z = pixels(point)
    numeric = np.stack([(pixels(point + step * axis)[0] - xy)[0] / step for axis in np.eye(3)], 1)
    np.testing.assert_allclose(pixels_per_metre(f.matrix, xy, z)[0], numeric, rtol=1e-4, atol=1e-3)


def test_contour_equations_hold_for_the_true_offset(person):
    edges = Edges(person.bare.faces)
    trunk, before, after = np.linalg.norm(person.offset, axis=1) > 0.04, [], []
    for f in person.frames:
        e = contour_equations(person.bare, f, np.zeros_like(person.offset, np.float64), edges)
        assert (
            len(e.target) > 100
            and e.vertex.shape == (len(e.target), 1)
            and e.row.shape == (len(e.target), 1, 3)
        )
        before.append(np.abs(e.target[trunk[e.vertex[:, 0]]]))
        e = contour_equations(person.bare, f, person.offset.astype(np.float64), edges)
        left = np.einsum("nkd,nkd->n", e.row, person.offset[e.vertex]) - e.target
        after.append(np.abs(left[trunk[e.vertex[:, 0]]]))
    before, after = np.concatenate(before), np.concatenate(after)
    assert len(before) > 40 and np.mean(before) > 0.02  # the jacket
    assert np.median(after) < 0.002 and np.mean(after) < 0.2 * np.mean(before)  # a pixel is 0.9 cm here


def test_offsets_from_outlines_find_the_jacket(person):
    lines = []
    offset = fit_offsets(person.bare, person.frames, colours=False, report=lines.append)
    assert len(lines) == len(offsets.SMOOTHNESS) and "outlines" in lines[0]
    held = [
        Frame(person.capture.pose(i), person.capture.camera(i).matrix, person.capture.premultiplied(i))
        for i in (20, 21, 22, 23)
    ]
    before, after = iou(person.bare, held), iou(with_offsets(person.bare, offset), held)
    assert before < 0.93 and after > 0.965, (before, after)
    trunk = np.linalg.norm(person.offset, axis=1) > 0.03
    away = np.linalg.norm(person.offset, axis=1) < 1e-6
    normal = vertex_normals(
        person.truth.rig.model.vertices, person.bare.faces
    )  # along the surface nothing can be seen
    off, true = (
        np.abs(np.einsum("vc,vc->v", o, normal))[trunk] for o in (offset - person.offset, person.offset)
    )
    assert np.median(off) < 0.35 * np.median(true), (np.median(off), np.median(true))
    assert np.linalg.norm(offset[away], axis=1).mean() < 0.008
    eyes = person.bare.model.skin_index[np.arange(len(offset)), person.bare.model.skin_weight.argmax(1)] >= 0
    eyes &= np.isin(person.bare.model.skin_index[:, 0], (23, 24))
    assert eyes.any() and np.abs(offset[eyes]).max() < 1e-3  # inner parts stay


@pytest.mark.slow
def test_colours_refine_what_outlines_leave(person, monkeypatch):
    monkeypatch.setattr(offsets, "BLUR", (2.0, 1.2))
    outlines = fit_offsets(person.bare, person.frames, colours=False)
    both = fit_offsets(person.bare, person.frames)
    trunk = np.linalg.norm(person.offset, axis=1) > 0.03
    left = [np.linalg.norm(o - person.offset, axis=1)[trunk].mean() for o in (outlines, both)]
    assert left[1] < left[0], left


def test_shading_equations_point_to_where_the_surface_is(person):
    """Render and picture of a mesh 8 mm off: the equations' least-squares answer for a common shift of all
    vertices finds it."""
    shift = np.array([0.008, 0.0, 0.0])
    moved = with_offsets(person.truth.rig, np.broadcast_to(shift, person.offset.shape))
    texture = person.truth.renderers["texture"].float_texture()
    rng = np.random.default_rng(0)
    A, b = [], []
    for f in person.frames[:8]:
        e = shading_equations(moved, f, np.zeros_like(person.offset, np.float64), texture, 1.5, 2000, rng)
        A.append(e.row.sum(1))
        b.append(e.target)
    found = np.linalg.lstsq(np.concatenate(A), np.concatenate(b), rcond=None)[0]
    np.testing.assert_allclose(found, -shift, atol=0.0025)


def test_mean_texture_is_the_texture_where_it_is_seen(person):
    texture, weight = mean_texture(person.truth.rig, person.frames, 128)
    true = person.truth.renderers["texture"].float_texture()[1::2, 1::2]
    seen = weight > 2
    assert seen.mean() > 0.15
    assert np.abs(texture - true)[seen].mean() < 0.08 < np.abs(texture[::-1] - true)[seen].mean()


def test_laplacian_of_a_constant_is_zero(person):
    L = laplacian(person.bare.faces, len(person.offset))
    ones = np.asarray(L @ np.ones(len(person.offset)))
    assert np.abs(ones[np.unique(person.bare.faces)]).max() < 1e-12


def test_reading_takes_pixel_centres_at_one_half():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert read(image, np.array([[1.5, 2.5]]))[0] == image[2, 1]
    assert read(image, np.zeros((0, 2))).shape == (0,)


def test_pictures_that_do_not_belong_are_refused(person):
    empty = [Frame(f.pose, f.matrix, np.zeros_like(f.picture)) for f in person.frames[:3]]
    with pytest.raises(InputError, match="no silhouette"):
        fit_offsets(person.bare, empty)
