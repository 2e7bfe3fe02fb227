"""CUDA skinning and projection against the float64 reference (1e-5 m) and the CPU's."""

import numpy as np
import pytest

from dinar_live.kernels import BodyModel, cuda, lbs, project
from dinar_live.kernels.reference import lbs as reference

pytestmark = pytest.mark.gpu


def random_body(rng, vertices=1000, joints=20, slots=4, expressions=9, moved=300, pose_dirs=True):
    f32 = np.float32
    weight = rng.random((vertices, slots)) * (rng.random((vertices, slots)) < 0.6)
    weight[:, -1] += 0.01  # the slot in use need not be the first
    return BodyModel(
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


def random_pose(rng, model):
    f32, E = np.float32, model.expression_count
    body = rng.normal(0, 0.7, model.joints.shape).astype(f32)
    body[rng.random(len(body)) < 0.3] = 0  # features that are exactly zero are skipped
    expression = rng.normal(0, 1, E).astype(f32) * (rng.random(E) < 0.7)
    return body, rng.normal(0, 1, 3).astype(f32), expression.astype(f32)


def run(gpu, model, pose, matrices, want_vertices=True):
    """Vertices, joints and projective vertices per view."""
    body, transl, expression = pose
    device_body = cuda.DeviceBody(gpu.device, model)
    p = gpu.parameters(
        joints=len(model.joints),
        origins=[(0, 0)] * len(matrices),
        matrices=matrices,
        body=body,
        transl=transl,
        expression=expression,
    )
    projective = gpu.poisoned((len(matrices), *model.vertices.shape), np.float32)
    vertices = gpu.poisoned(model.vertices.shape, np.float32) if want_vertices else None
    for array in (device_body.columns, device_body.posed_joints, device_body.features, device_body.active):
        if array is not None:
            array.fill_bytes(0xEE, gpu.stream)
    gpu.program.run(gpu.stream, gpu.program.lbs(device_body, p, projective, vertices))
    return (
        (vertices.numpy(gpu.stream) if want_vertices else None),
        device_body.posed_joints.numpy(gpu.stream),
        projective.numpy(gpu.stream),
    )


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(pose_dirs=False),
        dict(vertices=1, joints=1, slots=1, moved=0, expressions=0),
        dict(vertices=33, slots=8, moved=1),
        dict(vertices=256, moved=256, expressions=1),
        dict(vertices=97, joints=128, slots=1, expressions=0, moved=0),
        dict(vertices=129, joints=2, pose_dirs=False, slots=12, moved=100),
    ],
)
def test_equals_reference(gpu, rng, options):
    model = random_body(rng, **options)
    matrices = np.array(
        [
            [[300, 0, 200, 10], [0, -310, 150, 900], [0, 0.1, 1, 4]],
            [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]],
        ],
        np.float64,
    )
    for views in (1, 2):
        pose = random_pose(rng, model)
        vertices, joints, projective = run(gpu, model, pose, matrices[:views])
        want, want_joints = reference.lbs(model, *pose)
        np.testing.assert_allclose(vertices, want, atol=1e-5)
        np.testing.assert_allclose(joints, want_joints, atol=2e-6)
        np.testing.assert_allclose(vertices, lbs(model, *pose), atol=5e-6)
        for got, matrix in zip(projective, matrices, strict=False):
            np.testing.assert_array_almost_equal_nulp(got, project(vertices, matrix)[0], 1)
        _, _, again = run(gpu, model, pose, matrices[:views], want_vertices=False)
        np.testing.assert_array_equal(again, projective)


def test_without_pose_directions_as_on_the_cpu(gpu, rng):
    """The same operations in the same order: no more than the sine's last bit apart."""
    model = random_body(rng, pose_dirs=False)
    pose = random_pose(rng, model)
    vertices, joints, _ = run(gpu, model, pose, np.zeros((1, 3, 4)))
    want_joints = np.empty_like(joints)
    np.testing.assert_allclose(vertices, lbs(model, *pose, joints_out=want_joints), atol=3e-7)
    np.testing.assert_allclose(joints, want_joints, atol=3e-7)


def test_open_body(gpu, rng):
    from dinar_live.runtime import Body

    model = Body.open().rig().model
    body, transl, expression = random_pose(rng, model)
    vertices, _, _ = run(gpu, model, (body * np.float32(0.4), transl, expression), np.zeros((1, 3, 4)))
    want, _ = reference.lbs(model, body * np.float32(0.4), transl, expression)
    np.testing.assert_allclose(vertices, want, atol=1e-5)


def test_two_frames_in_flight_share_one_body(gpu, rng):
    model = random_body(rng)
    first = cuda.DeviceBody(gpu.device, model)
    second = first.share()
    assert second.arrays is first.arrays and second.columns.pointer != first.columns.pointer
    poses, outs, steps = [random_pose(rng, model) for _ in range(2)], [], []
    for body, (pose, transl, expression) in zip((first, second), poses, strict=True):
        p = gpu.parameters(
            joints=20, matrices=np.zeros((1, 3, 4)), body=pose, transl=transl, expression=expression
        )
        outs.append(gpu.poisoned(model.vertices.shape, np.float32))
        steps.append(gpu.program.lbs(body, p, gpu.poisoned((1, *model.vertices.shape), np.float32), outs[-1]))
    gpu.program.run(
        gpu.stream, [s[0] for s in steps] + [s[1] for s in steps]
    )  # both posed before either is skinned
    for pose, out in zip(poses, outs, strict=True):
        np.testing.assert_allclose(out.numpy(gpu.stream), lbs(model, *pose), atol=5e-6)
