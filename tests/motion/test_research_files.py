"""Results of pose estimators, in files made here by the layouts that docs/motion.md names.
samples/wham.joblib: written by joblib 1.6."""

import pathlib
import pickle
import time
import zipfile

import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import load_motion
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.motion.containers import read_container
from dinar_live.runtime.motion.research_files import convert_research

SAMPLE = pathlib.Path(__file__).parent / "samples" / "wham.joblib"
_DOWN = rot.axis_angle_to_quaternion((np.pi, 0, 0))  # our world as a camera sees it: y down, z forward


@pytest.fixture(scope="module")
def clip(demo):
    """Twelve frames: body f64[12,55,3] and pelvis path f64[12,3], as they are and as a camera sees them."""
    body, pelvis = demo.body[100:112].astype(float), demo.pelvis[100:112].astype(float)
    seen = body.copy()
    seen[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(_DOWN, rot.axis_angle_to_quaternion(body[:, 0])))
    return body, pelvis, seen, rot.rotate(_DOWN, pelvis)


def same(m, body, pelvis, tools, joints=22):
    assert tools.angle_between(m.body[:, :joints], body[:, :joints]).max() < 0.01
    np.testing.assert_allclose(m.pelvis, pelvis, atol=1e-5)


@pytest.mark.parametrize("world", ["world", "camera"])
def test_gvhmr(clip, tools, tmp_path, world):
    torch = pytest.importorskip("torch")
    body, pelvis, seen, path = clip

    def part(b, p):  # transl as a view into a larger tensor, as slices are saved
        wide = torch.zeros(12, 7)
        wide[:, 2:5] = torch.tensor(p - ref.SMPLX_PELVIS)
        return {
            "body_pose": torch.tensor(b[:, 1:22].reshape(12, 63)).float(),
            "betas": torch.zeros(12, 10),
            "transl": wide[:, 2:5],
            "global_orient": torch.tensor(b[:, 0]).float(),
        }

    top = {
        "smpl_params_global": part(body, pelvis),
        "smpl_params_incam": part(seen, path),
        "K_fullimg": torch.eye(3),
    }
    torch.save(top, tmp_path / "a.pt")
    m = convert_research(tmp_path / "a.pt", fps=25, world=world)
    same(m, body, pelvis, tools)
    assert m.fps == 25 and m.leg_length == ref.SMPLX_LEG
    assert any("30 assumed" in n for n in convert_research(tmp_path / "a.pt").notes)


@pytest.mark.parametrize("world", ["world", "camera"])
def test_wham_with_missing_frames(clip, tools, world):
    body, pelvis, _, _ = clip
    m = convert_research(SAMPLE, fps=30, world=world)
    assert m.frames == 14 and any("2 frames are missing" in n for n in m.notes)
    assert any("person 0 of 0 (12 frames), 4" in n for n in m.notes)
    kept = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13]
    assert tools.angle_between(m.body[kept, :22], body[:, :22]).max() < 0.01
    np.testing.assert_allclose(m.pelvis[kept], pelvis, atol=1e-5)
    assert convert_research(SAMPLE, person="4").frames == 3
    with pytest.raises(MotionError, match="person 7.*it has 0, 4"):
        convert_research(SAMPLE, person="7")


def test_a_plain_pickle_of_wham(clip, tools, tmp_path):
    body, pelvis, _, _ = clip
    pose = np.concatenate([body[:, :22].reshape(12, 66), np.zeros((12, 6))], axis=1)
    (tmp_path / "a.pkl").write_bytes(
        pickle.dumps({0: {"pose_world": pose, "trans_world": pelvis - ref.SMPL_PELVIS}})
    )
    same(convert_research(tmp_path / "a.pkl", fps=30), body, pelvis, tools)


def test_smplify(clip, tools, tmp_path):
    body, pelvis, seen, path = clip
    for i in range(12):
        d = {
            "camera_rotation": np.eye(3)[None],
            "camera_translation": path[i : i + 1] - ref.SMPLX_PELVIS,
            "betas": np.zeros((1, 10)),
            "global_orient": seen[i, :1],
            "body_pose": seen[i, 1:22].reshape(1, 63),
            "left_hand_pose": np.zeros((1, 12)),
            "jaw_pose": body[i, 22:23],
            "expression": np.zeros((1, 10)),
        }
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "000.pkl").write_bytes(pickle.dumps(d, 2))
    m = convert_research(tmp_path, fps=30)
    same(m, body, pelvis, tools, 23)
    assert any("PCA" in n for n in m.notes)
    d["body_pose"] = np.zeros((1, 32))
    (tmp_path / "latent.pkl").write_bytes(pickle.dumps(d, 2))
    with pytest.raises(MotionError, match="32 numbers, expected 63; it is a VPoser latent"):
        convert_research(tmp_path / "latent.pkl")


def test_smpler(clip, tools, tmp_path):
    body, pelvis, seen, path = clip
    for i in range(12):
        for person in (0, 1) if i < 5 else (0,):
            np.savez(
                tmp_path / f"{i + 1:05}_{person}.npz",
                global_orient=seen[i, :1],
                body_pose=seen[i, 1:22],
                left_hand_pose=np.zeros((15, 3)),
                right_hand_pose=np.zeros((15, 3)),
                jaw_pose=body[i, 22:23],
                leye_pose=np.zeros((1, 3)),
                reye_pose=np.zeros((1, 3)),
                betas=np.zeros((1, 10)),
                expression=np.zeros((1, 10)),
                transl=path[i : i + 1] - ref.SMPLX_PELVIS,
            )
    m = convert_research(tmp_path, fps=30)
    same(m, body, pelvis, tools, 23)
    assert tools.angle_between(m.body[:, 25:], ref.relaxed_hands()).max() < 1e-3  # zero = the mean hand
    assert convert_research(tmp_path, person="1").frames == 5


def test_nothing_in_a_file_is_executed(tmp_path):
    marker = tmp_path / "executed"

    class Bad:
        def __reduce__(self):
            return (pathlib.Path.touch, (marker,))

    payload = pickle.dumps({0: {"pose": Bad(), "trans": Bad()}})
    (tmp_path / "a.pkl").write_bytes(payload)
    (tmp_path / "b.pkl").write_bytes(b"\x80\x04\x8c\x13joblib.numpy_pickle0" + payload[2:])
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as z:
        z.writestr("x/data.pkl", payload)
    for name in ("a.pkl", "b.pkl", "c.pt"):
        with pytest.raises(MotionError, match=name):
            convert_research(tmp_path / name)
    assert not marker.exists()


def test_damaged_and_hostile_files_are_one_error_at_once(tmp_path):
    data = SAMPLE.read_bytes()
    cases = [data[:n] for n in (1, 50, 300, 1000, len(data) - 5)] + [
        b"",
        b"\x80\x04" + b"(" * 400_000 + b".",
        b"\x80\x04joblib.numpy_pickle" + b"]" * 400_000,
        b"x\x9cjunk",
        b"PK\x03\x04junk",
        data.replace(b"K\x0cKH\x86", b"J\xff\xff\xff\x7fKH\x86", 1),
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"joblib",
    ]
    for i, case in enumerate(cases):
        file = tmp_path / f"{i}.pkl"
        file.write_bytes(case)
        began = time.perf_counter()
        with pytest.raises(MotionError, match=f"{i}.pkl"):
            convert_research(file)
        assert time.perf_counter() - began < 1, i


def test_numbers_are_checked(clip, tmp_path):
    body = clip[0]
    pose, trans = np.zeros((12, 72)), np.zeros((12, 3))
    for change, text in (
        ({"pose": pose[:, :70]}, "pose"),
        ({"trans": trans[:5]}, "trans"),
        ({"trans": trans * np.nan}, "NaN"),
        ({"frame_ids": np.zeros(12)}, "ascend"),
        ({"frame_ids": np.arange(12) * 1e12}, "frames"),
        ({"trans": "x"}, "trans"),
    ):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({0: {"pose": pose, "trans": trans} | change}))
        with pytest.raises(MotionError, match=text):
            convert_research(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"pred_rotmat": body}))
    with pytest.raises(MotionError, match="not known here .*pred_rotmat.*supported: GVHMR"):
        convert_research(tmp_path / "a.pkl")
    (tmp_path / "none").mkdir()
    with pytest.raises(MotionError, match="no .npz and no .pkl"):
        convert_research(tmp_path / "none")


def test_containers_leave_arrays_in_the_file():
    top = read_container(SAMPLE)
    assert (
        list(top) == [0, 4] and top[0]["pose"].shape == (12, 72) and top[0]["pose"].load().dtype == np.float32
    )


def test_dinar_convert(demo, tmp_path, capsys):
    assert (
        main(
            [
                "convert",
                str(SAMPLE),
                str(tmp_path / "a.npz"),
                "--source-fps",
                "25",
                "--smooth",
                "--floor-snap",
            ]
        )
        == 0
    )
    assert load_motion(tmp_path / "a.npz").fps == 25 and "floor snap" in capsys.readouterr().out
    assert (
        main(["convert", "demo", str(tmp_path / "b.dmot"), "--start", "1", "--stop", "3", "--fps", "60"]) == 0
    )
    m = load_motion(tmp_path / "b.dmot")
    assert m.frames == 120 and m.fps == 60
    np.testing.assert_allclose(m.body[0], demo.body[30], atol=1e-6)
    assert (
        main(["convert", str(tmp_path / "b.dmot"), str(tmp_path / "c.bvh")]) == 0
        and "no place in BVH" in capsys.readouterr().out
    )
    for wrong, text in (
        (["demo", str(tmp_path / "a.fbx")], "expected .bvh"),
        (["demo", str(tmp_path / "a.bvh"), "--up", "z"], "--up"),
        (["demo", str(tmp_path / "a.bvh"), "--start", "99"], "lasts 26.00 s"),
        ([str(tmp_path / "x"), "a.bvh"], "no such"),
        (["demo", str(tmp_path / "a.bvh"), "--start", "3", "--stop", "2"], "--stop"),
        (["demo", str(tmp_path / "a.bvh"), "--smooth", "0"], "Hz"),
    ):
        assert main(["convert", *wrong]) == 2 and text in capsys.readouterr().err


def test_dinar_record(demo, tmp_path, capsys):
    take = str(tmp_path / "a.dmot")
    assert main(["record", "demo", "-o", take, "--seconds", "2"]) == 0 and load_motion(take).frames == 60
    assert main(["record", "demo", "-o", take]) == 2 and "--overwrite" in capsys.readouterr().err
    live = str(tmp_path / "b.dmot")
    assert main(["record", f"file:{take}", "-o", live, "--seconds", "0.6"]) == 0
    m = load_motion(live)
    assert (
        m.expression_names == demo.expression_names
        and 0.3 < m.duration < 1.0
        and np.abs(m.body[0] - demo.body[0]).max() < 0.2
    )
    for wrong in (
        [take, "-o", str(tmp_path / "a.npz")],
        ["demo", "-o", live, "--overwrite", "--seconds", "0"],
        ["vmc", "-o", live, "--overwrite", "--floor-snap"],
    ):
        assert main(["record", *wrong]) == 2
