"""Body models: the open body, and SMPL-X model files."""

import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.runtime import Body
from dinar_live.runtime.core.errors import BodyError, DinarError
from dinar_live.runtime.core.skeleton import PARENTS


def smplx_arrays(columns: int = 20, V: int = 40) -> dict[str, np.ndarray]:
    """A small random model with exactly the keys of an SMPL-X .npz."""
    rng = np.random.default_rng(3)
    weights = rng.random((V, 55)) * (rng.random((V, 55)) < 0.08)
    weights[:, 0] += 0.1
    regressor = rng.random((55, V))
    parents = np.array(PARENTS, np.int64)
    return {
        "v_template": rng.normal(0, 0.5, (V, 3)),
        "shapedirs": rng.normal(0, 0.01, (V, 3, columns)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "posedirs": rng.normal(0, 0.01, (V, 3, 486)),
        "f": rng.integers(0, V, (60, 3)).astype(np.uint32),
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(55)]).astype(
            np.uint32
        ),
        "hands_meanl": rng.normal(0, 0.1, 45),
        "hands_meanr": rng.normal(0, 0.1, 45),
        "vt": rng.random((50, 2)),
        "ft": rng.integers(0, 50, (60, 3)).astype(np.uint32),
    }


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.open()


def test_open_body_is_a_person(body):
    rig = body.rig()
    height = np.ptp(rig.model.vertices[:, 1])
    assert 1.6 < height < 1.9
    assert rig.joints[16, 0] > 0.1 and rig.joints[17, 0] < -0.1  # left is +x
    assert rig.expressions == 62 and rig.expression_names[0] == "smile"
    assert len(rig.uv) == 15066 and rig.uv.min() >= 0 and rig.uv.max() <= 1


def test_uv_is_turned_once(body, shared):
    stored = np.load(shared / "open_body" / "open_body.npz")["uv"]
    np.testing.assert_allclose(body.uv[:, 1], 1 - stored[:, 1], atol=1e-7)
    np.testing.assert_array_equal(body.uv[:, 0], stored[:, 0])


def test_betas_and_expression_move_the_joints_as_the_regressor_says(body):
    rng = np.random.default_rng(0)
    betas, expression = rng.normal(0, 1, 20).astype(np.float32), rng.normal(0, 0.5, 62).astype(np.float32)
    rig = body.rig(betas)
    vertices = body.template + body.shape_dirs @ betas
    np.testing.assert_allclose(rig.joints, body.joint_regressor @ vertices, atol=1e-5)
    moved = rig.joints + rig.model.expression_joint_dirs @ expression
    np.testing.assert_allclose(
        moved, body.joint_regressor @ (vertices + body.expression_dirs @ expression), atol=1e-5
    )


def test_relaxed_hands_bend_the_fingers_alike_on_both_sides(body):
    left, right = body.hands_mean_l.reshape(15, 3), body.hands_mean_r.reshape(15, 3)
    np.testing.assert_allclose(left * [1, -1, -1], right, atol=0.02)


@pytest.mark.parametrize("columns, shapes, expressions", [(20, 10, 10), (400, 300, 100)])
def test_smplx_file_loads_and_poses(tmp_path, columns, shapes, expressions):
    a = smplx_arrays(columns)
    np.savez(
        tmp_path / "m.npz", **a, part2num=np.array([{"head": 1}], dtype=object)
    )  # an object array that must never be read
    body = Body.load(tmp_path / "m.npz")
    assert (
        body.kind == "smplx"
        and body.shape_dirs.shape[2] == shapes
        and body.expression_dirs.shape[2] == expressions
    )
    rig = body.rig(np.ones(5))
    np.testing.assert_allclose(
        rig.model.vertices, a["v_template"] + a["shapedirs"][..., :5].sum(-1), atol=1e-6
    )
    pose = np.zeros((55, 3), np.float32)
    out = kernels.lbs(rig.model, pose, np.zeros(3, np.float32), np.zeros(0, np.float32))
    np.testing.assert_allclose(out, rig.model.vertices, atol=1e-5)
    dense = np.zeros_like(a["weights"])
    np.add.at(
        dense, (np.arange(len(dense))[:, None], rig.model.skin_index.astype(int)), rig.model.skin_weight
    )
    np.testing.assert_allclose(dense, a["weights"], atol=1e-6)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda a: a.pop("weights"), "weights"),
        (lambda a: a.update(shapedirs=a["shapedirs"][..., :15]), "15 columns"),
        (lambda a: a.update(posedirs=a["posedirs"][..., :100]), "posedirs"),
        (lambda a: a.update(v_template=np.full_like(a["v_template"], np.nan)), "v_template"),
        (lambda a: a.update(f=a["f"] + 1000), "faces"),
        (lambda a: a.update(kintree_table=a["kintree_table"][:, ::-1].copy()), "parents"),
        (lambda a: a.update(weights=np.array([{}], dtype=object)), "plain arrays"),
        (lambda a: a.update(J_regressor=a["J_regressor"][:, :7]), "J_regressor"),
    ],
)
def test_bad_model_files_name_the_key(tmp_path, change, says):
    a = smplx_arrays()
    change(a)
    np.savez(tmp_path / "m.npz", **a)
    with pytest.raises(BodyError, match=says) as e:
        Body.load(tmp_path / "m.npz")
    assert "m.npz" in str(e.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_files_that_are_no_models(tmp_path, content):
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(BodyError, match="m.npz"):
        Body.load(tmp_path / "m.npz")
    with pytest.raises(BodyError, match="no such file"):
        Body.load(tmp_path / "absent.npz")


def test_too_many_betas(body):
    with pytest.raises(DinarError, match="betas"):
        body.rig(np.zeros(21))
    with pytest.raises(DinarError, match="betas"):
        body.rig([np.nan])
