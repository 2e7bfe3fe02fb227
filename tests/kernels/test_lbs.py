"""lbs and project against the float64 reference and the smplx package."""

import importlib.resources

import numpy as np
import pytest

from dinar_live.kernels import NEAR, BodyModel, lbs, project
from dinar_live.kernels.reference import lbs as reference


def random_body(rng, vertices=3000, joints=20, slots=4, expressions=9, moved=777, pose_dirs=True):
    f32 = np.float32
    weight = rng.random((vertices, slots)) * (rng.random((vertices, slots)) < 0.6)
    weight[:, -1] += 0.01  # the slot in use need not be the first
    return dict(
        vertices=rng.normal(0, 0.5, (vertices, 3)).astype(f32),
        joints=rng.normal(0, 0.5, (joints, 3)).astype(f32),
        parents=np.array([-1, *(rng.integers(0, j) for j in range(1, joints))], np.int32),
        skin_index=rng.integers(0, joints, (vertices, slots)).astype(np.uint16),
        skin_weight=(weight / weight.sum(1, keepdims=True)).astype(f32),
        expression_vertex=rng.permutation(vertices)[:moved].astype(np.int32),
        expression_dirs=(
            rng.normal(0, 0.02, (moved, 3, expressions)) * (rng.random((moved, 1, expressions)) < 0.3)
        ).astype(f32),
        expression_joint_dirs=rng.normal(0, 0.01, (joints, 3, expressions)).astype(f32),
        pose_dirs=rng.normal(0, 0.01, (9 * (joints - 1), vertices, 3)).astype(f32) if pose_dirs else None,
    )


def random_pose(rng, model, expressions=None):
    e = model.expression_count if expressions is None else expressions
    f32 = np.float32
    return (
        rng.normal(0, 0.7, model.joints.shape).astype(f32),
        rng.normal(0, 1, 3).astype(f32),
        rng.normal(0, 1, e).astype(f32),
    )


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(pose_dirs=False),
        dict(vertices=1, joints=1, slots=1, moved=0, expressions=0),
        dict(vertices=1025, slots=8, moved=1),
        dict(vertices=2048, moved=2048, expressions=1),
    ],
)
def test_lbs_equals_reference(rng, options):
    model = BodyModel(**random_body(rng, **options))
    for expressions in {model.expression_count, model.expression_count // 2, 0}:
        pose = random_pose(rng, model, expressions)
        out, joints = np.full_like(model.vertices, np.nan), np.full_like(model.joints, np.nan)
        assert lbs(model, *pose, out=out, joints_out=joints) is out
        want, want_joints = reference.lbs(model, *pose)
        np.testing.assert_allclose(out, want, atol=5e-6)
        np.testing.assert_allclose(joints, want_joints, atol=2e-6)


def test_rest_pose_is_the_template(rng):
    model = BodyModel(**random_body(rng))
    out = lbs(model, np.zeros_like(model.joints), np.zeros(3, np.float32), np.zeros(9, np.float32))
    np.testing.assert_allclose(out, model.vertices, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-20, 1e-8, 1e-4, 0.0099, 0.0101, 1.0, np.pi, 6.2, 40.0])
def test_rotation_is_accurate_at_every_angle(rng, angle):
    """One joint that turns a point at 1 m: the angle's own float32 rounding is the only error left."""
    f32, i32 = np.float32, np.int32
    axis = rng.normal(size=3)
    body = (angle * axis / np.linalg.norm(axis)).astype(f32)[None]
    model = BodyModel(
        np.eye(3, dtype=f32),
        np.zeros((1, 3), f32),
        np.array([-1], i32),
        np.zeros((3, 1), np.uint16),
        np.ones((3, 1), f32),
        np.zeros(0, i32),
        np.zeros((0, 3, 0), f32),
        np.zeros((1, 3, 0), f32),
    )
    out = lbs(model, body, np.zeros(3, f32), np.zeros(0, f32))
    np.testing.assert_allclose(out, reference.rotation_matrices(body)[0].T, atol=1e-7)
    if 0 < angle < 1e-3:  # first order: I + [a]x, nothing lost near zero
        moved = out.T.astype(np.float64) - np.eye(3)
        np.testing.assert_allclose([moved[2, 1], moved[0, 2], moved[1, 0]], body[0], rtol=1e-3, atol=1e-30)


def test_same_bits_for_every_thread_count_and_instruction_set(rng, variants):
    model = BodyModel(**random_body(rng, vertices=5000))
    pose = random_pose(rng, model)
    results = [lbs(model, *pose, threads=t).tobytes() for _ in variants for t in (1, 2, 4, 0)]
    assert len(set(results)) == 1


def open_body():
    with importlib.resources.files("dinar_live.runtime").joinpath("assets/open_body.npz").open("rb") as f:
        return dict(np.load(f, allow_pickle=False))


def test_equals_smplx_package(rng, tmp_path):
    """Open body in the file layout of the smplx package, with pose directions and expression that are not
    zero: 1e-5 m."""
    smplx, torch = pytest.importorskip("smplx"), pytest.importorskip("torch")
    from smplx.vertex_ids import vertex_ids

    body = open_body()
    V, J, E = len(body["v_template"]), 55, 10
    # The package picks landmark vertices by fixed numbers; any vertex will do here, the numbers only have to
    # exist.
    assert max(vertex_ids["smplx"].values()) < V
    weights = np.zeros((V, J), np.float32)
    np.add.at(weights, (np.arange(V)[:, None], body["lbs_idx"].astype(int)), body["lbs_w"])
    weights /= weights.sum(1, keepdims=True)
    regressor = np.zeros((J, V), np.float32)
    regressor[body["J_regressor_row"], body["J_regressor_col"]] = body["J_regressor_val"]
    shape_and_expression = np.zeros((V, 3, 400), np.float32)
    shape_and_expression[..., 300 : 300 + E] = body["exprdirs"][..., :E]
    pose_dirs = rng.normal(0, 2e-3, (V, 3, 9 * (J - 1))).astype(np.float32)
    parents = body["parents"].astype(np.int64)
    np.savez(
        tmp_path / "SMPLX_NEUTRAL.npz",
        v_template=body["v_template"],
        f=body["faces"].astype(np.uint32),
        weights=weights,
        J_regressor=regressor,
        kintree_table=np.stack([parents % 2**32, np.arange(J)]).astype(np.uint32),
        posedirs=pose_dirs,
        shapedirs=shape_and_expression,
        hands_componentsl=np.eye(45),
        hands_componentsr=np.eye(45),
        hands_meanl=np.zeros(45),
        hands_meanr=np.zeros(45),
        lmk_faces_idx=np.zeros(51, np.int64),
        lmk_bary_coords=np.ones((51, 3)) / 3,
        dynamic_lmk_faces_idx=np.zeros((79, 17), np.int64),
        dynamic_lmk_bary_coords=np.ones((79, 17, 3)) / 3,
    )
    layer = smplx.SMPLX(
        str(tmp_path / "SMPLX_NEUTRAL.npz"),
        use_pca=False,
        flat_hand_mean=True,
        num_betas=10,
        num_expression_coeffs=E,
    )

    order = np.argsort(-weights, 1)[:, :8]
    moving = np.flatnonzero(np.abs(shape_and_expression).max((1, 2)) > 0).astype(np.int32)
    dirs = shape_and_expression[..., 300 : 300 + E]
    model = BodyModel(
        body["v_template"],
        regressor @ body["v_template"],
        body["parents"],
        order.astype(np.uint16),
        np.ascontiguousarray(np.take_along_axis(weights, order, 1)),
        moving,
        np.ascontiguousarray(dirs[moving]),
        np.einsum("jv,vce->jce", regressor, dirs).astype(np.float32),
        np.ascontiguousarray(pose_dirs.transpose(2, 0, 1)),
    )
    for _ in range(3):
        pose, transl, expression = random_pose(rng, model)
        pose[30:40] = 0  # features that are exactly zero are skipped
        t = {
            k: torch.from_numpy(v.reshape(1, -1))
            for k, v in dict(
                global_orient=pose[0],
                body_pose=pose[1:22],
                jaw_pose=pose[22],
                leye_pose=pose[23],
                reye_pose=pose[24],
                left_hand_pose=pose[25:40],
                right_hand_pose=pose[40:],
                expression=expression,
                transl=transl,
            ).items()
        }
        with torch.no_grad():
            want = layer(**t, return_verts=True)
        joints = np.empty((J, 3), np.float32)
        got = lbs(model, pose, transl, expression, joints_out=joints)
        assert np.abs(want.vertices[0].numpy() - got).max() < 1e-5
        assert np.abs(want.joints[0, :J].numpy() - joints).max() < 1e-5


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(vertices=lambda a: a.astype(np.float64)), "vertices has dtype float64"),
        (dict(joints=lambda a: a[:, :2].copy()), "joints has shape"),
        (dict(vertices=lambda a: a[::-1]), "vertices is not C-contiguous"),
        (dict(vertices=lambda a: a.tolist()), "vertices is a list"),
        (dict(vertices=lambda a: np.where(a == a[5], np.float32(np.nan), a)), "vertices holds NaN"),
        (dict(parents=lambda a: np.r_[a[:-1], np.int32(len(a))].astype(np.int32)), "parents"),
        (dict(skin_index=lambda a: a + np.uint16(19)), "skin_index refers to joint"),
        (dict(skin_weight=lambda a: a * np.float32(1.01)), "skin_weight"),
        (
            dict(expression_vertex=lambda a: np.repeat(a[:1], len(a))),
            "expression_vertex names a vertex twice",
        ),
        (dict(expression_vertex=lambda a: a + np.int32(2999)), "expression_vertex spans"),
        (dict(expression_joint_dirs=lambda a: a[..., :-1].copy()), "expression_joint_dirs has shape"),
        (dict(pose_dirs=lambda a: a[1:].copy()), "pose_dirs has shape"),
    ],
)
def test_bad_bodies_are_refused(rng, change, message):
    arrays = random_body(rng)
    for name, f in change.items():
        arrays[name] = f(arrays[name])
    with pytest.raises((TypeError, ValueError), match=message):
        BodyModel(**arrays)


def test_bad_poses_are_refused(rng):
    model = BodyModel(**random_body(rng))
    good = dict(zip(("body", "transl", "expression"), random_pose(rng, model), strict=True))
    for name in good:
        for value in (np.nan, np.inf):
            bad = {k: v.copy() for k, v in good.items()}
            bad[name].flat[-1] = value
            with pytest.raises(ValueError, match=f"{name} holds NaN or Inf"):
                lbs(model, **bad)
        with pytest.raises(TypeError, match=f"{name} has dtype float64"):
            lbs(model, **{**good, name: good[name].astype(np.float64)})
    with pytest.raises(ValueError, match="expression has 10 coefficients; this body has 9"):
        lbs(model, **{**good, "expression": np.zeros(10, np.float32)})
    with pytest.raises(ValueError, match="out has shape"):
        lbs(model, **good, out=np.empty((1, 3), np.float32))
    with pytest.raises(ValueError, match="threads is -1"):
        lbs(model, **good, threads=-1)
    frozen = np.empty_like(model.vertices)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        lbs(model, **good, out=frozen)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_project_equals_reference(rng, count):
    points = rng.normal(0, 1, (count, 3)).astype(np.float32)
    matrix = np.array([[500.0, 0, 256], [0, 480, 250], [0, 0, 1]]) @ np.c_[np.eye(3), [0.1, 0.2, 6]]
    out = np.full((count, 3), np.nan, np.float32)
    got, bounds = project(points, matrix, out=out)
    want, want_bounds = reference.project(points, matrix, NEAR)
    assert got is out
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-4)
    if count == 0:
        assert bounds is None
    else:
        np.testing.assert_allclose(bounds, want_bounds, atol=1e-3)
        points[-1, 2] = -6 + NEAR / 2
        assert project(points, matrix)[1] is None


def test_project_refuses_nan():
    points, matrix = np.zeros((5, 3), np.float32), np.eye(3, 4)
    for bad in (np.nan, np.inf, -np.inf):
        broken = points.copy()
        broken[3, 1] = bad
        with pytest.raises(ValueError, match="vertices or matrix"):
            project(broken, matrix)
        with pytest.raises(ValueError, match="matrix holds NaN"):
            project(points, np.full((3, 4), bad))
