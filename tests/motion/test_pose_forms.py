"""Rotations and places in other people's forms: through the reader of .npz files, as a user meets them."""

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import load_motion
from dinar_live.runtime.motion import pose_forms as forms
from dinar_live.runtime.motion import reference_body as ref


@pytest.fixture
def clip(demo):
    """Body f64[90,55,3] and the translation [90,3] of a clip that walks."""
    body, pelvis = demo.body[300:390].astype(float), demo.pelvis[300:390].astype(float)
    pelvis[:, 1] += 0.95 - pelvis[0, 1]
    pelvis[:, 2] += np.linspace(0, 3, 90)
    return body, pelvis - ref.SMPLX_PELVIS


def written(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **{"fps": 30.0, **arrays})
    return tmp_path / "a.npz"


@pytest.mark.parametrize("joints", [22, 24, 55])
@pytest.mark.parametrize("flat", [False, True])
def test_matrices(clip, tools, tmp_path, joints, flat):
    body, trans = clip
    matrices = rot.axis_angle_to_matrix(body[:, :joints]).astype(np.float32)
    m = load_motion(written(tmp_path, poses=matrices.reshape(90, -1) if flat else matrices, trans=trans))
    assert tools.angle_between(m.body[:, :22], body[:, :22]).max() < 0.05
    assert any("poses: rotation matrices" in n for n in m.notes)


def test_matrices_in_parts(clip, tools, tmp_path):
    body, trans = clip
    turned = rot.axis_angle_to_matrix(body)
    path = written(tmp_path, global_orient=turned[:, :1], body_pose=turned[:, 1:22], transl=trans)
    assert tools.angle_between(load_motion(path).body[:, :22], body[:, :22]).max() < 0.05
    path = written(tmp_path, global_orient=turned[:, 0], body_pose=turned[:, 1:24], transl=trans)
    assert tools.angle_between(load_motion(path).body[:, :22], body[:, :22]).max() < 0.05


@pytest.mark.parametrize("columns", [66, 72, 165])
def test_a_batch_of_one(clip, tools, tmp_path, columns):
    body, trans = clip
    flat = body.reshape(1, 90, -1)
    whole = written(tmp_path, poses=flat[..., :columns], trans=trans[None])
    np.testing.assert_allclose(load_motion(whole).pelvis[:, 2], trans[:, 2] + ref.SMPLX_PELVIS[2], atol=0.05)
    for path in (
        whole,
        written(tmp_path, global_orient=flat[..., :3], body_pose=flat[..., 3:66], transl=trans[None]),
    ):
        m = load_motion(path)
        assert m.frames == 90 and tools.angle_between(m.body[:, :22], body[:, :22]).max() < 0.05
    one = written(tmp_path, global_orient=body[:1, 0], body_pose=flat[:, :1, 3:66], transl=trans[:1])
    assert load_motion(one).frames == 1
    with pytest.raises(MotionError, match="poses"):
        load_motion(written(tmp_path, poses=np.concatenate([flat, flat]), trans=trans))


@pytest.mark.parametrize("columns", [66, 72, 165])
def test_degrees_are_converted_and_noted(clip, tools, tmp_path, columns):
    body, trans = clip
    poses = np.degrees(body.reshape(90, -1)[:, :columns])
    poses[:, 66:72] = 0 if columns == 72 else poses[:, 66:72]
    m = load_motion(written(tmp_path, poses=poses, trans=trans))
    assert tools.angle_between(m.body[:, :22], body[:, :22]).max() < 0.01
    assert any("in degrees" in n for n in m.notes)


def test_radians_stay_and_are_not_noted(clip, tools, tmp_path):
    body, trans = clip
    wound = body.reshape(90, -1).copy()
    wound[:, :3] = np.linspace(0, 14, 90)[:, None] * (0, 1, 0)  # twice around, as solvers wind it up
    m = load_motion(written(tmp_path, poses=wound, trans=trans))
    assert not any("degree" in n or "radians" in n for n in m.notes)
    assert tools.angle_between(m.body[:, 1:22], body[:, 1:22]).max() < 0.01


@pytest.mark.parametrize(
    "poses, text",
    [
        (np.full((9, 55, 4), 0.5), "looks like quaternions"),
        (np.zeros((9, 22, 6)), "6D form"),
        (np.full((9, 22, 3, 3), 0.3), "do not turn"),
        (np.full((9, 165), 4000.0), "neither radians nor degrees"),
        (np.zeros((9, 88)), "22 joints as quaternions"),
        (np.zeros((9, 132)), "22 joints as the 6D form"),
        (np.zeros((9, 22, 2, 2)), "expected axis-angle"),
    ],
)
def test_other_forms_are_named(tmp_path, poses, text):
    with pytest.raises(MotionError, match=f"poses: .*{text}"):
        load_motion(written(tmp_path, poses=poses, trans=np.zeros((9, 3))))


@pytest.mark.parametrize("unit", ["cm", "mm"])
@pytest.mark.parametrize("up", ["y", "z"])
def test_centimetres(clip, tmp_path, unit, up):
    body, trans = clip
    metres = load_motion(written(tmp_path, poses=body.reshape(90, -1), trans=trans))
    wanted = metres.pelvis
    if up == "z":
        turn = rot.axis_angle_to_quaternion((np.pi / 2, 0, 0))
        body = body.copy()
        body[:, 0] = rot.quaternion_to_axis_angle(
            rot.multiply(turn, rot.axis_angle_to_quaternion(body[:, 0]))
        )
        trans = rot.rotate(turn, trans + ref.SMPLX_PELVIS) - ref.SMPLX_PELVIS
    m = load_motion(written(tmp_path, poses=body.reshape(90, -1), trans=trans / forms.UNITS[unit]))
    np.testing.assert_allclose(m.pelvis, wanted, atol=1e-4)
    assert any("metres" in n for n in m.notes) and not any("metres" in n for n in metres.notes)


def test_centimetres_of_a_path_that_begins_at_nought(clip, tmp_path):
    body, trans = clip
    trans = trans - trans[0]
    m = load_motion(written(tmp_path, poses=body.reshape(90, -1), trans=trans * 100))
    np.testing.assert_allclose(m.pelvis - m.pelvis[0], trans, atol=1e-4)


@pytest.mark.parametrize("height", [0.2, 0.95, 8.0])
def test_metres_stay(clip, tmp_path, height):
    """Also a sprinter and a body far from the origin."""
    body, trans = clip
    trans = trans - trans[0] + (30.0, height, 0.0)
    trans[:, 2] = np.linspace(0, 33, 90)  # 11 m/s
    m = load_motion(written(tmp_path, poses=body.reshape(90, -1), trans=trans))
    assert not any("metres" in n for n in m.notes)
    np.testing.assert_allclose(m.pelvis, trans + ref.SMPLX_PELVIS, atol=1e-4)


@pytest.mark.parametrize(
    "shape, text",
    [
        ((9, 322), "Motion-X"),
        ((9, 263), "HumanML3D"),
        ((9, 22, 3), "positions of 22 joints"),
        ((9, 7), "anything"),
    ],
)
def test_npy_arrays_are_called_by_their_name(tmp_path, shape, text):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    with pytest.raises(MotionError, match=text):
        load_motion(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(MotionError, match="no readable .npy"):
        load_motion(tmp_path / "b.npy")


def test_fbx_is_named_with_the_way_round(tmp_path):
    (tmp_path / "a.fbx").write_bytes(b"Kaydara FBX Binary")
    with pytest.raises(MotionError, match="FBX is not read.*glTF"):
        load_motion(tmp_path / "a.fbx")
