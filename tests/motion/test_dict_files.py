"""Dictionaries of clips: AIST++, PromptHMR and their kin, in files made here; and the cases that were reported."""

import collections
import pathlib
import pickle

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import load_motion
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.motion.research_files import convert_research

CASES = pathlib.Path(__file__).parents[3] / "shared" / "motion_cases"
_DOWN = rot.axis_angle_to_quaternion((np.pi, 0, 0))


@pytest.fixture(scope="module")
def clip(demo):
    return demo.body[100:130].astype(float), demo.pelvis[100:130].astype(float) + (0, 0.95, 0)


def pickled(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    return tmp_path / "a.pkl"


def same(m, body, pelvis, tools):
    assert tools.angle_between(m.body[:, :22], body[:, :22]).max() < 0.01
    np.testing.assert_allclose(m.pelvis, pelvis, atol=1e-4)


def smpl72(body):
    return np.concatenate([body[:, :22].reshape(len(body), 66), np.zeros((len(body), 6))], axis=1)


def test_aist_is_divided_by_its_scaling(clip, tools, tmp_path):
    body, pelvis = clip
    path = pickled(
        tmp_path,
        {
            "smpl_loss": 0.3,
            "smpl_poses": smpl72(body),
            "smpl_scaling": np.array([93.78]),
            "smpl_trans": (pelvis - ref.SMPL_PELVIS) * 93.78,
        },
    )
    m = convert_research(path)
    same(m, body, pelvis, tools)
    assert m.fps == 60 and any("60 assumed" in n for n in m.notes)
    assert convert_research(path, fps=30).fps == 30


@pytest.mark.parametrize("world", ["world", "camera"])
@pytest.mark.parametrize("form", ["pose", "rotmat"])
def test_prompthmr(clip, tools, tmp_path, world, form):
    body, pelvis = clip
    seen = body.copy()
    seen[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(_DOWN, rot.axis_angle_to_quaternion(body[:, 0])))
    path = rot.rotate(_DOWN, pelvis)

    def part(b, p):
        turned = rot.axis_angle_to_matrix(b) if form == "rotmat" else b.reshape(len(b), 165)
        return {
            form: turned.astype(np.float32),
            "shape": np.zeros((len(b), 10)),
            "trans": p - ref.SMPLX_PELVIS,
        }

    people = {
        1: {"smplx_cam": part(seen, path), "smplx_world": part(body, pelvis), "frames": np.arange(30)},
        2: {
            "smplx_cam": part(seen[:4], path[:4]),
            "smplx_world": part(body[:4], pelvis[:4]),
            "frames": np.arange(4),
        },
    }
    file = pickled(tmp_path, {"camera": {"img_focal": 1000.0}, "people": people, "has_tracks": True})
    m = convert_research(file, world=world)
    same(m, body, pelvis, tools)
    assert any("person 1 of 1 (30 frames), 2 (4 frames)" in n for n in m.notes)
    assert convert_research(file, person="2").frames == 4
    with pytest.raises(MotionError, match="person 3: not in the file; it has 1, 2"):
        convert_research(file, person="3")


def test_frames_that_are_missing_are_bridged(clip, tools, tmp_path):
    body, pelvis = clip
    kept = np.r_[0:10, 14:30]
    part = {
        "poses": body[kept].reshape(26, 165),
        "transl": pelvis[kept] - ref.SMPLX_PELVIS,
        "frame_ids": kept,
    }
    m = convert_research(pickled(tmp_path, {"person": part}))
    assert m.frames == 30 and any("4 frames are missing" in n for n in m.notes)
    assert tools.angle_between(m.body[kept, :22], body[kept, :22]).max() < 0.01


def test_parts_of_a_clip_in_one_dictionary(clip, tools, tmp_path):
    body, pelvis = clip
    content = collections.defaultdict(
        list,
        global_orient=body[:, 0],
        body_pose=body[:, 1:22].reshape(30, 63),
        transl=pelvis - ref.SMPLX_PELVIS,
        fps=25,
    )
    m = convert_research(pickled(tmp_path, content))
    same(m, body, pelvis, tools)
    assert m.fps == 25


@pytest.mark.parametrize("factory", [dict, list])
def test_wham_in_a_defaultdict(clip, tools, tmp_path, factory):
    body, pelvis = clip
    people = collections.defaultdict(factory)
    people[0] = {"pose_world": smpl72(body), "trans_world": pelvis - ref.SMPL_PELVIS}
    same(convert_research(pickled(tmp_path, people)), body, pelvis, tools)


def test_bfloat16(clip, tools, tmp_path):
    torch = pytest.importorskip("torch")
    body, pelvis = clip
    half = {
        "global_orient": torch.tensor(body[:, 0]).bfloat16(),
        "body_pose": torch.tensor(body[:, 1:22].reshape(30, 63)).bfloat16(),
        "transl": torch.tensor(pelvis - ref.SMPLX_PELVIS).bfloat16(),
    }
    torch.save({"smpl_params_global": half}, tmp_path / "a.pt")
    m = convert_research(tmp_path / "a.pt")
    assert tools.angle_between(m.body[:, :22], body[:, :22]).max() < 1.0  # 8 bits
    torch.save({"smpl_params_global": {**half, "transl": torch.nn.Linear}}, tmp_path / "b.pt")
    with pytest.raises(MotionError, match="smpl_params_global: transl: got a torch.nn.modules.linear.Linear"):
        convert_research(tmp_path / "b.pt")


def test_people_in_a_list_and_a_rate_around_them(clip, tools, tmp_path):
    body, pelvis = clip
    part = {"poses": body.reshape(30, 165), "trans": pelvis - ref.SMPLX_PELVIS}
    m = convert_research(pickled(tmp_path, {"fps": 25.0, "people": [part]}))
    same(m, body, pelvis, tools)
    assert m.fps == 25 and not any("assumed" in n for n in m.notes)


def test_other_ways_of_torch_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    content = {"poses": torch.zeros(9, 165), "trans": torch.zeros(9, 3)}
    with pytest.raises(MotionError, match="a plain pickle of torch tensors.*torch.save"):
        convert_research(pickled(tmp_path, content))
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(MotionError, match="before torch 1.6"):
        convert_research(tmp_path / "old.pt")


def test_what_a_dictionary_lacks_is_named(tmp_path):
    with pytest.raises(MotionError, match="pose: got 160 columns"):
        convert_research(
            pickled(tmp_path, {"people": {1: {"pose": np.zeros((9, 160)), "trans": np.zeros((9, 3))}}})
        )
    with pytest.raises(MotionError, match="layout that is not known.*AIST"):
        convert_research(pickled(tmp_path, {"people": {1: {"verts": np.zeros((9, 3))}}}))


def case(name):
    path = CASES / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the reported cases are not part of the repository")
    return path


@pytest.mark.parametrize(
    "name, note, height",
    [
        ("npz_amass_keys_but_yup.npz", "taken as y-up", 0.55),
        ("npz_body69.npz", "relaxed hands", 0.66),
        ("npz_degrees.npz", "in degrees", 0.55),
        ("npz_rotmat.npz", "rotation matrices", 0.55),
        ("aist_smpl.pkl", "60 assumed", 0.73),
        ("wham_plain_pickle_defaultdict.pkl", "relaxed hands", 0.66),
        ("gvhmr_bf16.pt", "relaxed hands", 0.55),
    ],
)
def test_reported_cases(name, note, height):
    path = case(name)
    m = load_motion(path) if path.suffix == ".npz" else convert_research(path)
    assert any(note in n for n in m.notes)
    spine = rot.rotate(m.quaternions[:, 0], (0.0, 1.0, 0.0))
    assert spine[:, 1].min() > 0.9  # stands
    assert abs(np.median(m.pelvis[:, 1]) - height) < 0.05 and np.ptp(m.pelvis[:, 2]) < 5
    assert np.linalg.norm(m.body[:, 1:22], axis=-1).max() < 2.5


def test_reported_case_without_a_rate():
    with pytest.raises(MotionError, match="--source-fps"):
        load_motion(case("npz_no_rate.npz"))
    assert load_motion(case("npz_no_rate.npz"), fps=120).fps == 120
