"""Fits: ours and the published pickle, the pickle reader against hostile files, and the body against the
smplx package."""

import collections
import datetime
import importlib.util
import os
import pickle
import struct
import sys

import numpy as np
import pytest

from dinar_live.export.dinar.crop import make_K
from dinar_live.export.dinar.fits import LEFT_EYE, RIGHT_EYE, HandPCA, published_fit, read_fit
from dinar_live.runtime import Body
from dinar_live.runtime.core.errors import BodyError, InputError
from dinar_live.runtime.formats.pickles import load_pickle

SIZE = (480, 640)


def parameters(seed=0, dtype=np.float32):
    r = np.random.RandomState(seed)
    sizes = {
        "betas": 10,
        "global_orient": 3,
        "body_pose": 63,
        "left_hand_pose": 12,
        "right_hand_pose": 12,
        "jaw_pose": 3,
        "expression": 10,
    }
    out = {k: (0.3 * r.randn(1, n)).astype(dtype) for k, n in sizes.items()}
    return out | {"transl": np.array([[0.1, -0.2, 30.0]], dtype)}


@pytest.fixture(scope="module")
def hands():
    r = np.random.RandomState(1)
    return HandPCA(
        *(r.randn(6, 45).astype(np.float32) * 0.1 for _ in range(2)),
        *(r.randn(45).astype(np.float32) * 0.1 for _ in range(2)),
    )


def stored(tmp_path, value, protocol=4, name="fit.pkl"):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(value, protocol))
    return path


# --- the pickle reader


def test_arrays_of_every_protocol_and_kind(tmp_path):
    value = {
        "f": np.random.RandomState(0).randn(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "int": np.arange(4, dtype=np.int64),
        "bool": np.array([True, False]),
        "big": np.arange(3, dtype=">f4"),
        "half": np.ones(2, np.float16),
        "scalar": np.float32(1.5),
        "nothing": np.zeros((0, 3)),
        "zero": np.array(2.0),
        "list": [1, 2.5, "x", None, b"y", (True,)],
        "ordered": collections.OrderedDict(a=np.ones(1)),
    }
    value["again"] = value["f"]
    for protocol in range(6):
        got = load_pickle(stored(tmp_path, value, protocol))
        assert set(got) == set(value)
        for k in value:
            if isinstance(value[k], (np.ndarray, np.generic)):
                assert got[k].dtype == value[k].dtype.newbyteorder("=") and got[k].shape == value[k].shape
                np.testing.assert_array_equal(got[k], value[k])
        assert got["list"] == value["list"] and got["ordered"]["a"][0] == 1


def test_python_2_and_numpy_1_names(tmp_path):
    data = np.float64([1.5, -2.0]).tobytes()
    python2 = (
        b"(dp0\nS'betas'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
        b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS"
        + repr(data)[1:].encode()
        + b"\np15\ntp16\nbs."
    )
    (tmp_path / "two.pkl").write_bytes(python2)
    np.testing.assert_array_equal(load_pickle(tmp_path / "two.pkl")["betas"], [1.5, -2.0])
    new = pickle.dumps({"a": np.arange(3.0)}, 2)
    names = b"numpy._core.multiarray", b"numpy.core.multiarray"
    for a, b in (names, names[::-1]):
        (tmp_path / "old.pkl").write_bytes(new.replace(a, b))
        np.testing.assert_array_equal(load_pickle(tmp_path / "old.pkl")["a"], [0, 1, 2])


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "function, arguments, says",
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open('{}', 'w')",), "eval"),
        (exec, ("open('{}', 'w')",), "exec"),
        (open, ("{}", "w"), "open"),
        (getattr, ("x", "y"), "getattr"),
        (datetime.date, (2020, 1, 1), "datetime.date"),
        (np.load, ("{}",), "numpy"),
        (set, ([1],), "set"),
    ],
)
def test_nothing_is_executed(tmp_path, function, arguments, says, protocol):
    mark = tmp_path / "mark"
    arguments = tuple(a.format(mark) if isinstance(a, str) else a for a in arguments)
    path = stored(tmp_path, {"betas": np.ones(3), "x": Calls(function, *arguments)}, protocol)
    with pytest.raises(InputError, match=says) as e:
        load_pickle(path)
    assert "fit.pkl" in str(e.value) and not mark.exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
HOSTILE = {
    "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__class__\x93.",
    "dotted module": b"cnumpy.core.multiarray\n__builtins__.eval\n.",
    "memo bomb": b"\x80\x02]r\xff\xff\xff\x7f.",
    "put bomb": b"(lp2147483647\n.",
    "persistent": b"Phello\n.",
    "extension": b"\x82\x01.",
    "instance": b"(ios\nsystem\n.",
    "object": b"(cos\nsystem\no.",
    "empty": b"",
    "text": b"not a pickle",
    "cut": pickle.dumps({"a": np.ones(50)})[:60],
    "long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "huge string": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "object array": pickle.dumps(np.array([{}], object), 2),
    "text array": pickle.dumps(np.array(["a"]), 2),
    "dtype alone": pickle.dumps(np.dtype("f4"), 2),
    "function": b"cnumpy.core.multiarray\nscalar\n.",
    "wrong size": RECONSTRUCT + b"(I1\n(I9\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntRI00\nS'12345678'\ntb.",
    "negative": RECONSTRUCT + b"(I1\n(I-1\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntRI00\nS'12345678'\ntb.",
    "bad dtype": RECONSTRUCT + b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntRI00\nS'12345678'\ntb.",
    "no state": RECONSTRUCT + b".",
    "bad state": RECONSTRUCT + b"I1\nb.",
    "class state": b"cnumpy\nndarray\n}(S'__call__'\nI1\nub.",
    "cycle": b"(lp0\ng0\na.",
    "deep": b"]" * 100 + b"a" * 99 + b".",
    "bytes": b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_one_clear_error(tmp_path, name):
    (tmp_path / "evil.pkl").write_bytes(HOSTILE[name])
    with pytest.raises(InputError, match="evil.pkl"):
        load_pickle(tmp_path / "evil.pkl")


def test_shared_parts_do_not_explode(tmp_path):
    value = [0.5]
    for _ in range(30):
        value = [value, value]
    got = load_pickle(stored(tmp_path, {"x": value}))["x"]
    assert got[0] is got[1]


def test_damaged_files_never_escape(tmp_path):
    """Any byte changed: a fit, or an InputError."""
    good = bytearray(pickle.dumps({"result": {k: v for k, v in list(parameters().items())[:3]}}, 2))
    r = np.random.RandomState(0)
    errors = 0
    for _ in range(400):
        bad = bytearray(good)
        for k in r.randint(0, len(bad), 2):
            bad[k] = r.randint(256)
        (tmp_path / "bad.pkl").write_bytes(bad)
        try:
            load_pickle(tmp_path / "bad.pkl")
        except InputError:
            errors += 1
    assert errors > 50


# --- the published parameters


@pytest.mark.parametrize(
    "nest",
    [
        lambda p: p,
        lambda p: {"smplx": p},
        lambda p: {"result": p},
        lambda p: {"result": {"smplx": p, "other": 1}},
    ],
)
def test_published_fit(tmp_path, hands, nest):
    p = parameters() | {
        "frame_fns": ["a.png"],
        "camera_rotation": np.eye(3)[None],
        "reye_pose": np.ones((1, 3)),
    }
    fit = read_fit(stored(tmp_path, nest(p)), SIZE, hands)
    body = fit.pose.body
    np.testing.assert_array_equal(body[0], p["global_orient"][0])
    np.testing.assert_array_equal(body[1:22].ravel(), p["body_pose"][0])
    np.testing.assert_array_equal(body[22:25], np.float32([p["jaw_pose"][0], LEFT_EYE, RIGHT_EYE]))
    np.testing.assert_allclose(
        body[25:40].ravel(), p["left_hand_pose"][0, :6] @ hands.left + hands.mean_l, atol=1e-6
    )
    np.testing.assert_allclose(
        body[40:].ravel(), p["right_hand_pose"][0, :6] @ hands.right + hands.mean_r, atol=1e-6
    )
    np.testing.assert_array_equal(fit.camera.K, make_K(*SIZE))
    np.testing.assert_array_equal(fit.camera.world_to_camera, np.eye(4))
    np.testing.assert_array_equal(fit.pose.transl, p["transl"][0])
    np.testing.assert_array_equal(fit.betas, p["betas"][0])
    assert (fit.scale, fit.ltrb, fit.gender) == (1.0, None, "neutral")


def test_optional_parameters(hands):
    p = parameters()
    p["camera_translation"] = p.pop("transl")
    fit = published_fit(p | {"ltrb": [10, -20, 110, 280], "body_scale": 1.2, "gender": "female"}, SIZE, hands)
    assert fit.ltrb == (10, -20, 110, 280) and fit.gender == "female" and fit.scale == pytest.approx(1.2)
    np.testing.assert_array_equal(fit.camera.K, make_K(300, 100))
    np.testing.assert_array_equal(fit.pose.transl, p["camera_translation"][0])


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(betas=None), "betas"),
        (dict(body_pose=np.zeros((1, 60))), "body_pose"),
        (dict(jaw_pose=np.full((1, 3), np.nan)), "jaw_pose.*NaN"),
        (dict(left_hand_pose=np.zeros((1, 5))), "left_hand_pose"),
        (dict(expression="smile"), "expression"),
        (dict(gender="robot"), "gender"),
        (dict(body_scale=0), "body_scale"),
        (dict(ltrb=[0, 0, 4, 4]), "ltrb"),
        (dict(ltrb=[0, 0, 4]), "ltrb"),
        (dict(ltrb=[900, 0, 990, 99]), "ltrb"),
        (dict(body_pose=np.full((1, 63), 1e3)), "Pose.body"),
    ],
)
def test_bad_parameters(tmp_path, hands, change, says):
    with pytest.raises(InputError, match=says) as e:
        read_fit(stored(tmp_path, parameters() | change), SIZE, hands)
    assert "fit.pkl" in str(e.value)


def test_missing_keys_and_hands(tmp_path, hands):
    p = parameters()
    del p["body_pose"]
    with pytest.raises(InputError, match="body_pose: is missing"):
        published_fit(p, SIZE, hands)
    with pytest.raises(InputError, match="--body"):
        published_fit(parameters(), SIZE, None)
    with pytest.raises(InputError, match="dict"):
        published_fit([1], SIZE, hands)
    with pytest.raises(InputError, match="no such file"):
        read_fit(tmp_path / "absent.pkl", SIZE, hands)


def test_hand_space_files(tmp_path):
    keys = {
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": np.zeros(45),
        "hands_meanr": np.zeros((1, 45)),
    }
    np.savez(tmp_path / "h.npz", **keys)
    assert HandPCA.load(tmp_path / "h.npz").left.shape == (6, 45)
    for change in (
        dict(hands_componentsl=np.eye(4)),
        dict(hands_meanl=np.full(45, np.nan)),
        dict(hands_meanr=np.array([{}], object)),
    ):
        np.savez(tmp_path / "bad.npz", **(keys | change))
        with pytest.raises(BodyError, match="bad.npz"):
            HandPCA.load(tmp_path / "bad.npz")
    with pytest.raises(BodyError, match="absent"):
        HandPCA.load(tmp_path / "absent.npz")


def test_our_fits(shared):
    folder = shared / "people" / "ada" / "photo"
    z = np.load(folder / "smplx.npz")
    fit = read_fit(folder / "smplx.npz", (512, 512))
    np.testing.assert_allclose(fit.camera.K[:2], z["K"].reshape(3, 3)[:2] / 2, rtol=1e-6)
    np.testing.assert_array_equal(fit.pose.body, z["poses"].reshape(55, 3))
    vertices = fit.projective(Body.open().rig(fit.betas))
    assert vertices.shape[1] == 3 and (vertices[:, 2] > 0.5).all()
    with pytest.raises(InputError, match="smplx.npz.*aspect"):
        read_fit(folder / "smplx.npz", (512, 300))


def test_too_many_expressions(hands):
    fit = published_fit(parameters() | {"expression": np.zeros(70)}, SIZE, hands)
    with pytest.raises(InputError, match="70 expression"):
        fit.vertices(Body.open().rig())


def test_vertices_equal_the_smplx_package(shared, tmp_path):
    """The published parameters through the published body model code, on the open body in the SMPL-X file
    layout."""
    smplx, torch = pytest.importorskip("smplx"), pytest.importorskip("torch")
    folder = str(shared / "open_body")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location(
            "export_smplx_layout", folder + "/export_smplx_layout.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        import open_body
    finally:
        sys.path.remove(folder)
    arrays = module.expand(open_body.load(folder + "/open_body.npz"), smplx.vertex_ids.vertex_ids["smplx"])
    r = np.random.RandomState(0)
    arrays["hands_componentsl"], arrays["hands_componentsr"] = (
        np.linalg.qr(r.randn(45, 45))[0].astype(np.float32) for _ in range(2)
    )
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    np.savez(path, **arrays)
    p = parameters(5) | {"body_scale": np.float32(1.1)}
    model = smplx.SMPLX(
        str(path), use_pca=True, num_pca_comps=6, flat_hand_mean=False, num_betas=10, num_expression_coeffs=10
    )
    t = {
        k: torch.from_numpy(v if "hand" not in k else v[:, :6])
        for k, v in p.items()
        if k not in ("transl", "body_scale")
    }
    with torch.no_grad():
        want = (
            model(**t, leye_pose=torch.tensor([LEFT_EYE]), reye_pose=torch.tensor([RIGHT_EYE]))
            .vertices[0]
            .numpy()
            * 1.1
            + p["transl"]
        )
    fit = published_fit(load_pickle(stored(tmp_path, p)), SIZE, HandPCA.load(path))
    vertices = fit.vertices(Body.load(path).rig(fit.betas))
    assert np.abs(vertices - want).max() < 1e-5
    projective = fit.projective(Body.load(path).rig(fit.betas))
    np.testing.assert_allclose(
        projective[:, :2] / projective[:, 2:], want[:, :2] / want[:, 2:] * 5000 + [320, 240], atol=0.02
    )


def test_pickles_have_a_size_limit(tmp_path, monkeypatch):
    from dinar_live.runtime.formats import pickles

    monkeypatch.setattr(pickles, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="bytes"):
        load_pickle(stored(tmp_path, {"a": np.ones(9)}))
