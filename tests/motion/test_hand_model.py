"""Hands as PCA coefficients, with a body model that the test makes."""

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import load_motion
from dinar_live.runtime.motion import reference_body as ref


@pytest.fixture
def model(tmp_path):
    r = np.random.default_rng(3)
    basis = {s: np.linalg.qr(r.normal(size=(45, 45)))[0] for s in "lr"}
    mean = {s: r.normal(0, 0.1, 45) for s in "lr"}
    np.savez(
        tmp_path / "SMPLX_NEUTRAL.npz",
        **{f"hands_components{s}": basis[s] for s in "lr"},
        **{f"hands_mean{s}": mean[s] for s in "lr"},
    )
    for s, name in (("l", "LEFT"), ("r", "RIGHT")):
        (tmp_path / "mano").mkdir(exist_ok=True)
        np.savez(tmp_path / "mano" / f"MANO_{name}.npz", hands_components=basis[s], hands_mean=mean[s])
    return tmp_path, basis, mean


def clip(tmp_path, count, **more):
    r = np.random.default_rng(5)
    left, right = r.normal(0, 0.3, (2, 8, count))
    arrays = {
        "global_orient": np.zeros((8, 3)),
        "body_pose": np.zeros((8, 63)),
        "transl": np.zeros((8, 3)),
        "left_hand_pose": left,
        "right_hand_pose": right,
        "fps": 30.0,
    }
    np.savez(tmp_path / "a.npz", **(arrays | more))
    return tmp_path / "a.npz", left, right


@pytest.mark.parametrize("which", ["SMPLX_NEUTRAL.npz", "mano"])
@pytest.mark.parametrize("hands", ["auto", "flat"])
@pytest.mark.parametrize("count", [6, 12, 45])
def test_coefficients_become_fingers(model, tools, which, hands, count):
    folder, basis, mean = model
    path, left, right = clip(folder, count, num_pca_comps=count)
    m = load_motion(path, hands_model=folder / which, hands=hands)
    for side, s, numbers in ((0, "l", left), (1, "r", right)):
        wanted = numbers @ basis[s][:count] + (0 if hands == "flat" else mean[s])
        got = m.body[:, 25 + 15 * side : 40 + 15 * side]
        assert tools.angle_between(got, wanted.reshape(8, 15, 3)).max() < 0.01


def test_without_a_model_hands_are_relaxed_and_a_note_says_what_is_needed(tmp_path):
    m = load_motion(clip(tmp_path, 12)[0])
    assert any("12 PCA coefficients" in n and "--hands-model" in n for n in m.notes)
    np.testing.assert_allclose(m.body[0, 25:], ref.relaxed_hands(), atol=1e-6)


def test_poses_with_coefficients_in_their_columns(model, tools):
    folder, basis, mean = model
    coefficients = np.random.default_rng(7).normal(0, 0.3, (8, 12))
    np.savez(
        folder / "b.npz",
        poses=np.concatenate([np.zeros((8, 66)), coefficients], axis=1),
        trans=np.zeros((8, 3)),
        num_pca_comps=6,
        fps=30.0,
    )
    m = load_motion(folder / "b.npz", hands_model=folder / "mano")
    wanted = coefficients[:, 6:] @ basis["r"][:6] + mean["r"]
    assert tools.angle_between(m.body[:, 40:], wanted.reshape(8, 15, 3)).max() < 0.01


def test_axis_angle_is_not_taken_for_coefficients(model, tools):
    folder, _, _ = model
    path, left, _ = clip(folder, 45, num_pca_comps=6)  # smplx notes its default even where it is unused
    m = load_motion(path, hands_model=folder / "mano")
    assert tools.angle_between(m.body[:, 25:40], left.reshape(8, 15, 3)).max() < 0.01


def test_the_mean_hand_comes_from_the_model(model, tools):
    folder, _, mean = model
    path, left, _ = clip(folder, 45)
    m = load_motion(path, hands="mean", hands_model=folder / "mano")
    assert tools.angle_between(m.body[:, 25:40], (left + mean["l"]).reshape(8, 15, 3)).max() < 0.01


def test_bad_models_are_refused(tmp_path):
    path = clip(tmp_path, 6)[0]
    np.savez(tmp_path / "no.npz", v_template=np.zeros((3, 3)))
    np.savez(tmp_path / "short.npz", hands_componentsl=np.zeros((45, 44)), hands_meanl=np.zeros(45))
    (tmp_path / "MANO_LEFT.pkl").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, text in (
        ("no.npz", "hands_componentsl: not in the file"),
        ("short.npz", "hands_componentsl: got float64"),
        ("MANO_LEFT.pkl", "got '.pkl'"),
        ("empty", "got 0 .npz files with 'left'"),
        ("nowhere.npz", "cannot be read"),
    ):
        with pytest.raises(MotionError, match=text):
            load_motion(path, hands_model=tmp_path / name)
    np.savez(
        tmp_path / "few.npz",
        **{f"hands_components{s}": np.zeros((3, 45)) for s in "lr"},
        **{f"hands_mean{s}": np.zeros(45) for s in "lr"},
    )
    with pytest.raises(
        MotionError, match="left_hand_pose: left hand: got 6 PCA coefficients, the model has 3"
    ):
        load_motion(path, hands_model=tmp_path / "few.npz")
