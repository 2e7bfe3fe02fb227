"""`dinar evaluate --table`: people found, same and novel views, the table, a user's networks."""

import json
import shutil

import cv2
import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.export.capture import Capture
from dinar_live.export.metrics.embeddings import Embedding, kid
from dinar_live.export.people_table import NOVEL, SAME, find_people, worst_against
from dinar_live.runtime.core.errors import InputError

FRAMES = 4


@pytest.fixture(scope="module")
def people(shared, tmp_path_factory):
    """Two people of the shared folder with four small validation frames each, in one folder."""
    root = tmp_path_factory.mktemp("people")
    for name in ("ada", "kofi"):
        source, folder = Capture.open(shared / "people" / name), root / name
        (folder / "images").mkdir(parents=True)
        shutil.copytree(source.path / "photo", folder / "photo")
        chosen = source.frames("validation")[:: len(source.frames("validation")) // FRAMES][:FRAMES]
        height, width = (s // 2 for s in source.size)
        K = source.K[chosen] * np.array([[0.5], [0.5], [1]], np.float32)
        for k, i in enumerate(chosen):
            rgba = cv2.resize(source.image(int(i)), (width, height), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / "images" / f"{k:06d}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        np.savez(
            folder / "capture.npz", poses=source.poses[chosen], transl=source.transl[chosen], betas=source.betas,
            expression=source.expression[chosen], K=K, world_to_camera=source.world_to_camera[chosen],
            image_size=np.array([width, height]), split=np.ones(FRAMES, np.uint8), close_up=np.zeros(FRAMES, np.uint8),
        )  # fmt: skip
    return root


def test_people_are_found_once(people):
    assert [p.name for p in find_people([people, people / "ada"])] == ["ada", "kofi"]
    with pytest.raises(InputError, match="no person"):
        find_people([people / "ada" / "images"])


@pytest.mark.slow
def test_the_table_of_two_people(people, tmp_path, capsys):
    files = {k: tmp_path / f"t.{k}" for k in ("json", "md", "png")}
    line = ["evaluate", "--table", str(people), "--methods", "projection", "outline", "--threads", "1"]
    line += ["--json", str(files["json"]), "--markdown", str(files["md"]), "--sheet", str(files["png"])]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "2 people, photos: front; 8 pictures in novel views" in said
    assert "outline against projection, worst case: " in said and files["md"].read_text() in said
    figures = json.loads(files["json"].read_text())
    scores = figures["scores"]
    assert figures["frames"] == 8 and set(scores) == {"projection", "outline"}
    for method in scores.values():
        assert set(method[NOVEL]["people"]) == {"ada", "kofi"}
        for view in (SAME, NOVEL):
            mean = [p["psnr"] for p in method[view]["people"].values()]
            assert abs(np.mean(mean) - method[view]["mean"]["psnr"]) < 1e-9
    same = {m: s[SAME]["mean"] for m, s in scores.items()}
    assert same["outline"]["psnr"] > same["projection"]["psnr"] + 3
    assert scores["outline"][NOVEL]["mean"]["psnr"] > scores["projection"][NOVEL]["mean"]["psnr"]
    name, gain = worst_against(scores, "outline", "projection")
    assert name in ("ada", "kofi") and gain > 0
    sheet = cv2.imread(str(files["png"]))
    assert sheet.shape[1] > 4 * 260 and sheet.shape[0] > 2 * 260


def embedding_file(path, size):
    """The mean colour, twice."""
    onnx = pytest.importorskip("onnx")
    helper, F = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["m"]), helper.make_node("Concat", ["m", "m"], ["y"], axis=1)]  # fmt: skip
    graph = helper.make_graph(
        nodes, "e", [helper.make_tensor_value_info("x", F, [1, 3, *size])],
        [helper.make_tensor_value_info("y", F, [1, 6, 1, 1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_users_network_gives_vectors(tmp_path):
    network = Embedding(embedding_file(tmp_path / "e.onnx", (32, 16)), (32, 16))
    red = np.zeros((64, 48, 3), np.float32)
    red[..., 0] = 0.5
    np.testing.assert_allclose(network(red), [0.5, 0, 0] * 2, atol=1e-4)
    assert network.similarity(red, red) == pytest.approx(1)
    assert network.similarity(red, red[..., ::-1].copy()) == pytest.approx(0, abs=1e-4)
    with pytest.raises(InputError, match="fixed shape"):
        Embedding(tmp_path / "e.onnx", (64, 64))
    with pytest.raises(InputError, match="no such file"):
        Embedding(tmp_path / "none.onnx", (32, 16))


def test_kid_is_zero_in_the_mean_for_one_distribution_and_grows_with_the_distance():
    rng = np.random.default_rng(0)
    same = np.mean([kid(rng.normal(size=(40, 8)), rng.normal(size=(40, 8))) for _ in range(40)])
    near, far = (kid(rng.normal(size=(40, 8)), rng.normal(size=(40, 8)) + shift) for shift in (0.5, 1.5))
    assert abs(same) < 0.05 < near < far
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    k = lambda a, b: (a @ b / 2 + 1) ** 3  # noqa: E731
    by_hand = (
        np.mean([k(x[i], x[j]) for i in range(3) for j in range(3) if i != j])
        + np.mean([k(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    assert kid(x, y) == pytest.approx(by_hand)
    assert np.isnan(kid(x[:1], y))


def test_networks_join_the_table(people, tmp_path, capsys):
    files = [
        str(embedding_file(tmp_path / f"{n}.onnx", s)) for n, s in (("k", (299, 299)), ("r", (256, 128)))
    ]
    line = ["evaluate", "--table", str(people / "ada"), "--methods", "projection", "--threads", "1"]
    assert main([*line, "--kid", files[0], "--reid", files[1], "--json", str(tmp_path / "t.json")]) == 0
    assert "novel view: KID" in capsys.readouterr().out
    scores = json.loads((tmp_path / "t.json").read_text())["scores"]["projection"]
    assert scores[SAME]["mean"]["kid"] is None and 0.9 < scores[NOVEL]["mean"]["reid"] <= 1


@pytest.mark.parametrize(
    "line, says",
    [
        (["evaluate"], "expected AVATAR and CAPTURE, or --table"),
        (["evaluate", "demo"], "expected AVATAR and CAPTURE, or --table"),
        (["evaluate", "demo", "x", "--table", "y"], "expected AVATAR and CAPTURE, or --table"),
        (["evaluate", "--table", "nowhere"], "nowhere: no person"),
        (["evaluate", "--table", "x", "--methods", "magic"], "--methods: got magic"),
        (["evaluate", "--table", "x", "--every", "0"], "--every: got 0"),
        (["evaluate", "--table", "x", "--markdown", "nowhere/t.md"], "its folder does not exist"),
    ],
)
def test_wrong_lines_are_named(line, says, capsys):
    assert main(line) == 2
    assert says in capsys.readouterr().err
