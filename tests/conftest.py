"""Fixtures shared by all tests."""

import dataclasses
import importlib.util
import os
import pathlib
import time

import cv2
import numpy as np
import pytest

from dinar_live.runtime import Avatar, Body, Pose, Renderer
from dinar_live.runtime.avatar import Checks, RendererSpec
from dinar_live.runtime.render.framing import whole_body_camera

ROOT = pathlib.Path(__file__).resolve().parent.parent

if os.environ.get(
    "DINAR_EMULATED_CUDA"
):  # before anything looks for a driver: see tests/cuda_kernels/emulate.py
    spec = importlib.util.spec_from_file_location("emulate", ROOT / "tests" / "cuda_kernels" / "emulate.py")
    emulate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emulate)
    EMULATED = emulate.load()


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped, with the reason, where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from dinar_live.kernels import cuda

    try:
        cuda.Device()
    except cuda.CudaError as e:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {e}"))


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of captures and reference data beside the checkout (or $DINAR_SHARED); tests that need it
    are skipped without it."""
    path = pathlib.Path(os.environ.get("DINAR_SHARED", ROOT.parent / "shared"))
    if not (path / "people").is_dir():
        pytest.skip("no shared data beside the checkout")
    return path


@pytest.fixture(scope="session")
def data() -> pathlib.Path:
    """Small files that the tests own."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def vision_models():
    """The folder of the networks that find people in pictures, in this user's cache; got through pip where it is
    empty. Tests that need it are skipped, with what pip said, where that fails."""
    from dinar_live.runtime.core.errors import ModelError
    from dinar_live.runtime.vision.get_models import get_with_pip
    from dinar_live.runtime.vision.models import ModelFolder

    folder = ModelFolder()
    try:
        get_with_pip(folder)
    except ModelError as e:
        pytest.skip(f"NO NETWORKS, so nothing of vision that needs them is tested: {e}")
    return folder


@pytest.fixture(scope="session")
def avatar_with_checks():
    """The open body in random colours (renderer "texture"), with one check picture of 96x96."""
    rig = Body.open().rig()
    texture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    plain = Avatar("random", rig, {"texture": RendererSpec(texture)})
    pose, camera = Pose(), whole_body_camera(rig, rig.joints[0], (96, 96))
    with Renderer(plain, (96, 96), smooth_edges=False) as renderer:
        picture = renderer.render(pose, camera).rgba.copy()
    checks = Checks(
        pose.body[None],
        pose.transl[None],
        np.zeros((1, rig.expressions), np.float32),
        camera.K[None],
        camera.world_to_camera[None],
        {"texture": picture[None]},
    )
    return dataclasses.replace(plain, checks=checks)


@pytest.fixture
def eventually():
    """Waits until a condition holds."""

    def wait(condition, seconds: float = 5.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def people_photos(shared):
    """name -> (rgb u8[1024,1024,3], true mask f32 in 0..1) of three people, front and back."""
    out = {}
    for name in ("ada", "marco", "kofi"):
        folder = shared / "people" / name / "photo"
        for back in ("", "_back"):
            rgb = cv2.imread(str(folder / f"photo{back}.png"))[..., ::-1].copy()
            out[name + back] = rgb, cv2.imread(str(folder / f"mask{back}.png"), 0).astype(np.float32) / 255
    return out


@pytest.fixture(scope="session")
def write_video():
    """write_video(path, frames u8[H,W,3] RGB, fps=30): an .mp4 or .avi as OpenCV writes it."""

    def write(path, frames, fps=30.0):
        code = "MJPG" if path.suffix == ".avi" else "mp4v"
        height, width = frames[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (width, height))
        assert writer.isOpened()
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()
        return path

    return write


@pytest.fixture(scope="session")
def walk(people_photos, write_video, tmp_path_factory):
    """A video of ada, who slides 4 pixels a frame to the picture's right; 9 frames of 360x360, 15 a second."""
    rgb = cv2.resize(people_photos["ada"][0], (360, 360), interpolation=cv2.INTER_AREA)
    shifts = [np.array([[1.0, 0, 4 * i - 16], [0, 1, 0]]) for i in range(9)]
    frames = [cv2.warpAffine(rgb, m, (360, 360), borderMode=cv2.BORDER_REPLICATE) for m in shifts]
    return write_video(tmp_path_factory.mktemp("video") / "walk.mp4", frames, 15.0)


@pytest.fixture(scope="session")
def landmarker(vision_models):
    from dinar_live.runtime.vision.landmarker import Landmarker

    return Landmarker(vision_models)
