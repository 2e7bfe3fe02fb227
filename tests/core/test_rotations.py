"""rotations.py against scipy, and the cases where formulas break."""

import itertools

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot

Rotation = pytest.importorskip("scipy.spatial.transform").Rotation
Slerp = pytest.importorskip("scipy.spatial.transform").Slerp


def random_vectors(n=500, seed=0):
    r = np.random.default_rng(seed)
    v = r.normal(size=(n, 3))
    v *= (r.uniform(0, np.pi, n) / np.linalg.norm(v, axis=1))[:, None]
    v[:4] = (0, 0, 0), (1e-12, 0, 0), (np.pi, 0, 0), (0, np.pi - 1e-9, 0)
    return v


def wxyz(rotation):
    return rotation.as_quat()[..., [3, 0, 1, 2]]


def same(a, b, atol=1e-12):
    np.testing.assert_allclose(np.abs(np.sum(a * b, axis=-1)), 1.0, atol=atol)


def test_conversions_match_scipy():
    v = random_vectors()
    s = Rotation.from_rotvec(v)
    q = rot.axis_angle_to_quaternion(v)
    same(q, wxyz(s))
    np.testing.assert_allclose(rot.quaternion_to_matrix(q), s.as_matrix(), atol=1e-12)
    same(rot.matrix_to_quaternion(s.as_matrix()), q)
    np.testing.assert_allclose(rot.quaternion_to_axis_angle(q)[4:], v[4:], atol=1e-9)
    np.testing.assert_allclose(
        rot.axis_angle_to_matrix(rot.quaternion_to_axis_angle(rot.matrix_to_quaternion(s.as_matrix()))),
        s.as_matrix(),
        atol=1e-9,
    )


def test_half_turns_survive_the_matrix():
    for axis in np.vstack([np.eye(3), rot.unit([(1, 1, 1), (1, -2, 0.5), (-1, 1e-5, 0)])]):
        m = rot.axis_angle_to_matrix(axis * np.pi)
        np.testing.assert_allclose(
            rot.axis_angle_to_matrix(rot.quaternion_to_axis_angle(rot.matrix_to_quaternion(m))), m, atol=1e-7
        )


def test_axis_angle_is_the_short_way_for_either_sign():
    q = rot.axis_angle_to_quaternion((0.3, -0.2, 0.5))
    np.testing.assert_allclose(rot.quaternion_to_axis_angle(-q), (0.3, -0.2, 0.5), atol=1e-12)
    far = rot.axis_angle_to_quaternion((0, 1.5 * np.pi, 0))
    np.testing.assert_allclose(rot.quaternion_to_axis_angle(far), (0, -0.5 * np.pi, 0), atol=1e-12)


@pytest.mark.parametrize(
    "order", ["".join(p) for p in itertools.permutations("xyz")] + ["zxz", "yxy", "x", "zy"]
)
def test_euler_matches_scipy(order):
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (50, len(order)))
    same(rot.euler_to_quaternion(angles, order), wxyz(Rotation.from_euler(order.upper(), angles)))


def test_products_and_rotated_vectors_match_scipy():
    a, b = random_vectors(seed=2), random_vectors(seed=3)
    sa, sb = Rotation.from_rotvec(a), Rotation.from_rotvec(b)
    qa, qb = rot.axis_angle_to_quaternion(a), rot.axis_angle_to_quaternion(b)
    same(rot.multiply(qa, qb), wxyz(sa * sb))
    np.testing.assert_allclose(rot.rotate(qa, b), sa.apply(b), atol=1e-12)
    same(rot.conjugate(qa), wxyz(sa.inv()))


def test_slerp_matches_scipy_and_takes_the_short_way():
    a, b = (
        rot.axis_angle_to_quaternion(random_vectors(60, 4)),
        rot.axis_angle_to_quaternion(random_vectors(60, 5)),
    )
    for t in (0.0, 0.2, 0.5, 1.0):
        got = rot.slerp(a, -b, t)  # the sign of an end must not matter
        for i in range(4, 60):
            s = Slerp([0, 1], Rotation.from_quat([a[i][[1, 2, 3, 0]], b[i][[1, 2, 3, 0]]]))
            same(got[i], wxyz(s(t)), 1e-9)


def test_slerp_of_nearly_equal_rotations():
    q = rot.axis_angle_to_quaternion((0.4, 0.1, -0.7))
    for step in (0.0, 1e-16, 1e-9, 1e-6, 1e-4, 3e-4):
        p = rot.multiply(q, rot.axis_angle_to_quaternion((step, 0, 0)))
        moved = rot.quaternion_to_axis_angle(rot.multiply(rot.conjugate(q), rot.slerp(q, p, 0.25)))
        np.testing.assert_allclose(moved, (0.25 * step, 0, 0), atol=1e-11)


def test_between_carries_one_direction_to_the_other():
    r = np.random.default_rng(6)
    a, b = r.normal(size=(200, 3)), r.normal(size=(200, 3))
    b[0], b[1] = 2 * a[0], -3 * a[1]  # equal and opposite
    q = rot.between(a, b)
    np.testing.assert_allclose(rot.rotate(q, rot.unit(a)), rot.unit(b), atol=1e-7)
    angle = np.linalg.norm(rot.quaternion_to_axis_angle(q), axis=1)
    np.testing.assert_allclose(
        angle, np.arccos(np.clip(np.sum(rot.unit(a) * rot.unit(b), -1), -1, 1)), atol=1e-7
    )


def test_continuous_flips_only_signs():
    q = rot.axis_angle_to_quaternion(
        np.linspace(0, 3, 40)[:, None, None] * np.array([[(1.0, 0, 0)], [(0, -1.0, 0)]]).reshape(1, 2, 3)
    )
    sign = np.random.default_rng(7).choice([-1.0, 1.0], (40, 2, 1))
    fixed = rot.continuous(q * sign)
    assert (np.sum(fixed[1:] * fixed[:-1], axis=-1) > 0).all()
    np.testing.assert_allclose(np.abs(fixed), np.abs(q))
