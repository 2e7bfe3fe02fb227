"""Readers of SMPL-X family files, on files made here with the documented keys (no AMASS or BEAT2 file is at
hand)."""

import io
import pathlib
import zipfile

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import load_motion, load_smplx_npz
from dinar_live.runtime.motion import reference_body as ref

N = 12
Z_UP = rot.axis_angle_to_quaternion((np.pi / 2, 0, 0))  # from y up to z up


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return pathlib.Path.mkdir, (pathlib.Path(self.path),)


def walk(seed=0):
    """Upright random poses [N,55,3] and a world path of the pelvis [N,3], y up."""
    r = np.random.default_rng(seed)
    body = r.normal(0, 0.25, (N, 55, 3))
    body[:, 0] = r.normal(0, 0.05, (N, 3)) + (0, 0.7, 0)
    return body, np.stack([np.linspace(0, 1, N), 0.95 + 0.02 * r.normal(size=N), np.linspace(0, 0.5, N)], -1)


def z_up(body, pelvis, rest):
    body = body.copy()
    body[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(Z_UP, rot.axis_angle_to_quaternion(body[:, 0])))
    return body, rot.rotate(Z_UP, pelvis) - rest


def stageii(tmp_path, body, trans, **more):
    """The keys of AMASS SMPL-X, with an object array that must not be opened."""
    flat = body.reshape(N, 165)
    path = tmp_path / "walk_stageii.npz"
    np.savez(
        path,
        gender="neutral",
        surface_model_type="smplx",
        mocap_frame_rate=120.0,
        mocap_time_length=0.1,
        trans=trans,
        poses=flat,
        betas=np.zeros(16),
        num_betas=16,
        root_orient=flat[:, :3],
        pose_body=flat[:, 3:66],
        pose_jaw=flat[:, 66:69],
        pose_eye=flat[:, 69:75],
        pose_hand=flat[:, 75:],
        markers_latent=np.zeros((5, 3)),
        latent_labels=np.array(["A", "B"]),
        markers_latent_vids=np.array([Trap(tmp_path / "sprung")], dtype=object),
        **more,
    )
    return path


def close(motion, body, pelvis, atol=1e-5):
    np.testing.assert_allclose(
        rot.axis_angle_to_matrix(motion.body), rot.axis_angle_to_matrix(body), atol=atol
    )
    np.testing.assert_allclose(motion.pelvis, pelvis, atol=atol)


def test_amass_smplx_is_turned_about_the_pelvis(tmp_path):
    body, pelvis = walk()
    path = stageii(tmp_path, *z_up(body, pelvis, ref.SMPLX_PELVIS))
    m = load_motion(path)
    close(m, body, pelvis)
    assert (m.fps, m.frames, m.name) == (120.0, N, "walk_stageii") and not m.notes
    assert not (tmp_path / "sprung").exists()
    raw = load_smplx_npz(path, up="y")
    assert np.abs(raw.pelvis[:, 2] - pelvis[:, 1]).max() < 1e-5  # left as it lies in the file


def test_amass_parts_without_poses(tmp_path):
    body, pelvis = walk(1)
    rotated, trans = z_up(body, pelvis, ref.SMPLX_PELVIS)
    flat = rotated.reshape(N, 165)
    path = tmp_path / "parts.npz"
    np.savez(
        path,
        root_orient=flat[:, :3],
        pose_body=flat[:, 3:66],
        pose_jaw=flat[:, 66:69],
        pose_eye=flat[:, 69:75],
        pose_hand=flat[:, 75:],
        trans=trans,
        mocap_frame_rate=np.array([60.0]),
    )
    close(load_motion(path), body, pelvis)


def test_amass_smplh_has_no_jaw_and_eyes(tmp_path):
    body, pelvis = walk(2)
    body[:, 22:25] = 0
    rotated, trans = z_up(body, pelvis, ref.SMPL_PELVIS)
    path = tmp_path / "smplh.npz"
    flat = np.concatenate([rotated[:, :22], rotated[:, 25:]], axis=1).reshape(N, 156)
    np.savez(
        path,
        poses=flat,
        trans=trans,
        betas=np.zeros(16),
        dmpls=np.zeros((N, 8)),
        gender="male",
        mocap_framerate=100.0,
        marker_data=np.zeros((N, 4, 3)),
        marker_labels=np.array(["a"] * 4),
    )
    m = load_motion(path)
    close(m, body, pelvis)
    assert m.fps == 100.0


@pytest.mark.parametrize("columns", [66, 72])
def test_smpl_has_no_fingers(tmp_path, columns):
    body, pelvis = walk(3)
    flat = np.concatenate([body[:, :22].reshape(N, 66), np.full((N, 6), 0.5)], axis=1)[:, :columns]
    path = tmp_path / "smpl.npz"
    np.savez(
        path, poses=flat, trans=pelvis - (ref.SMPL_PELVIS if columns == 72 else ref.SMPLX_PELVIS), fps=30
    )
    m = load_motion(path)
    body[:, 22:25], body[:, 25:] = 0, ref.relaxed_hands()
    close(m, body, pelvis)
    assert any("fingers" in n for n in m.notes)


def beat2(tmp_path, body, trans):
    path = tmp_path / "2_scott_0_1_1.npz"
    np.savez(
        path,
        poses=body.reshape(N, 165),
        betas=np.zeros(300),
        expressions=np.ones((N, 100)),
        trans=trans,
        model="smplx2020",
        gender="neutral",
        mocap_frame_rate=30,
    )
    return path


def test_beat2_hands_are_relative_to_a_mean(tmp_path):
    body, pelvis = walk(4)
    body[:, 25:] = np.random.default_rng(5).normal(0, 0.1, (N, 30, 3))
    path = beat2(tmp_path, body, pelvis - ref.SMPLX_PELVIS)
    m = load_motion(path)
    expected = body.copy()
    expected[:, 25:] += ref.relaxed_hands()
    close(m, expected, pelvis)
    assert any("relaxed hand stands in" in n for n in m.notes)
    assert m.expression.shape == (N, 100) and m.expression_names is None
    left, right = np.full(45, 0.1), np.full(45, -0.2)
    given = load_motion(path, hands_mean=(left, right))
    expected[:, 25:] = body[:, 25:] + np.repeat((0.1, -0.2), 15)[:, None]
    close(given, expected, pelvis)
    assert not given.notes
    close(load_motion(path, hands="flat"), body, pelvis)
    with pytest.raises(MotionError, match="hands_mean"):
        load_motion(path, hands_mean=(left, right[:12]))


@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_up_axis_of_a_plain_file_is_seen_from_the_spine(tmp_path, up):
    body, pelvis = walk(6)
    turn = rot.conjugate(
        rot.axis_angle_to_quaternion({"y": (0, 0, 0), "z": (-np.pi / 2, 0, 0), "-y": (np.pi, 0, 0)}[up])
    )
    stored = body.copy()
    stored[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(turn, rot.axis_angle_to_quaternion(body[:, 0])))
    path = tmp_path / "plain.npz"
    np.savez(path, poses=stored.reshape(N, 165), transl=rot.rotate(turn, pelvis) - ref.SMPLX_PELVIS, fps=30)
    close(load_motion(path), body, pelvis)
    close(load_motion(path, up=up), body, pelvis)


def test_a_lying_body_is_not_silently_stood_up(tmp_path):
    body, pelvis = walk(7)
    lying = body.copy()  # head along y of a z-up world: as the spine of a y-up file looks
    floor = np.stack([pelvis[:, 0], 3 + pelvis[:, 2], np.full(N, 0.12)], -1) - ref.SMPLX_PELVIS
    path = stageii(tmp_path, lying, floor)
    m = load_motion(path)
    assert any("--up=y if it should stand" in n for n in m.notes)
    assert abs(rot.rotate(m.quaternions[:, 0], (0, 1.0, 0))[:, 1]).max() < 0.5


def test_keys_that_promise_z_on_a_body_that_stands_along_y(tmp_path):
    body, pelvis = walk(7)
    m = load_motion(stageii(tmp_path, body, pelvis - ref.SMPLX_PELVIS))
    close(m, body, pelvis)
    assert any("taken as y-up" in n and "--up=z" in n for n in m.notes)
    assert abs(load_smplx_npz(m_path(tmp_path), up="z").pelvis[:, 1] - pelvis[:, 2]).max() < 1e-5


def m_path(tmp_path):
    return tmp_path / "walk_stageii.npz"


def test_resampled_while_loading(tmp_path):
    body, pelvis = walk(8)
    m = load_motion(stageii(tmp_path, *z_up(body, pelvis, ref.SMPLX_PELVIS)), resample=30)
    assert m.fps == 30 and m.frames == 3


GOOD = {"poses": np.zeros((N, 165)), "trans": np.zeros((N, 3)), "fps": 30}


@pytest.mark.parametrize(
    "change, text",
    [
        ({"poses": np.zeros((N, 160))}, "poses: got 160 columns"),
        ({"poses": np.zeros((N, 162))}, "162 needs root_orient"),
        ({"poses": np.full((N, 165), np.nan)}, "poses: holds NaN"),
        ({"poses": np.zeros((0, 165))}, "poses"),
        ({"poses": np.array(["x"] * N)}, "poses: holds <U1"),
        ({"poses": np.array([{}], dtype=object)}, "poses: holds object"),
        ({"poses": None, "pose_body": np.zeros((N, 63))}, "poses: not in the file"),
        ({"trans": np.zeros((N + 1, 3))}, "trans: .*expected 12 frames"),
        ({"trans": np.zeros((N, 2))}, "trans: got shape"),
        ({"trans": np.full((N, 3), np.inf)}, "trans: holds NaN"),
        ({"fps": None}, "frame rate: none of"),
        ({"fps": 0}, "fps: got"),
        ({"fps": np.array([30.0, 60.0])}, "fps: got"),
    ],
)
def test_bad_files_are_refused_by_file_and_key(tmp_path, change, text):
    path = tmp_path / "bad.npz"
    np.savez(path, **{k: v for k, v in (GOOD | change).items() if v is not None})
    with pytest.raises(MotionError, match=text) as e:
        load_motion(path)
    assert "bad.npz" in str(e.value)


def test_162_columns_with_a_root(tmp_path):
    body, pelvis = walk(9)
    path = tmp_path / "x.npz"
    np.savez(
        path,
        poses=body[:, 1:].reshape(N, 162),
        global_orient=body[:, 0],
        transl=pelvis - ref.SMPLX_PELVIS,
        fps=30,
    )
    close(load_motion(path), body, pelvis)


def test_frame_rate_from_the_caller(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, poses=GOOD["poses"])
    m = load_motion(path, fps=25)
    assert m.fps == 25 and any("translation" in n for n in m.notes)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x93NUMPY", b"\x80\x04N."])
def test_what_is_no_npz_is_one_clear_error(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(MotionError, match="x.npz"):
        load_motion(path)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 165)}
    )
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("poses.npy", header.getvalue())
    with pytest.raises(MotionError, match="poses: shape .* is too large"):
        load_motion(path)


def test_a_truncated_member_is_refused(tmp_path):
    path = tmp_path / "cut.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (N, 165)})
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("poses.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(MotionError, match="poses"):
        load_motion(path)


def test_unknown_kinds_and_missing_files(tmp_path):
    with pytest.raises(MotionError, match="unknown kind"):
        load_motion(tmp_path / "a.fbx")
    with pytest.raises(MotionError, match="no such file"):
        load_motion(tmp_path / "a.npz")
    with pytest.raises(MotionError, match="up: got 'x'"):
        load_smplx_npz(tmp_path / "a.npz", up="x")
