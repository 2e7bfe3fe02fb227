"""A small capture: a person whose clothes are a known offset of the body, in a texture of smooth colours."""

import types

import cv2
import numpy as np
import pytest

from dinar_live.export.capture import Capture
from dinar_live.export.fit.frames import read_frames, with_offsets
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec

SIZE = 192
VIEWS, HELD = 20, 4


def jacket(rig) -> np.ndarray:
    """Offsets f32[V,3]: the trunk swells by up to 8 cm."""
    v = rig.model.vertices
    hips, neck = rig.joints[0, 1], rig.joints[12, 1]
    inside = np.clip(1 - ((v[:, 1] - (hips + neck) / 2) / (0.55 * (neck - hips))) ** 2, 0, 1) * (
        np.abs(v[:, 0]) < 0.22
    )
    out = v * [1, 0, 1]
    return (
        0.08 * inside[:, None] * out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 0.02)
    ).astype(np.float32)


def smooth_colours(size: int = 256) -> np.ndarray:
    """Texture u8[T,T,3] with structure of about 12 texels, which a surface can be placed by."""
    noise = np.random.default_rng(1).random((size, size, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.clip((blurred - 0.5) * 9 * 255 + 128, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def person(tmp_path_factory):
    """capture, the bare rig, the true offset [V,3], the true avatar (renderer texture), frames for
    fitting."""
    body = Body.open()
    bare = body.rig()
    offset = jacket(bare)
    truth = Avatar(
        "truth", with_offsets(bare, offset), {"texture": RendererSpec(smooth_colours(), samples=4)}
    )
    rng = np.random.default_rng(0)
    n = VIEWS + HELD
    poses, K, w2c = np.zeros((n, 55, 3), np.float32), [], []
    poses[:, [16, 17], 2] = rng.uniform(-0.6, 0.6, (n, 2)) - [1.0, -1.0]
    poses[:, [1, 2, 3, 6]] = rng.normal(0, 0.12, (n, 4, 3))
    folder = tmp_path_factory.mktemp("capture") / "person"
    (folder / "images").mkdir(parents=True)
    with Renderer(truth, (SIZE, SIZE), straight=True, smooth_edges=False) as renderer:
        for i in range(n):
            camera = Camera.orbit(
                bare.joints[0], (SIZE, SIZE), azimuth=2.4 * i, elevation=0.3 * np.sin(i), distance=3.6
            )
            rgba = renderer.render(Pose(poses[i]), camera).rgba
            cv2.imwrite(str(folder / "images" / f"{i:06d}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
            K.append(camera.K)
            w2c.append(camera.world_to_camera)
    np.savez(
        folder / "capture.npz", poses=poses, transl=np.zeros((n, 3), np.float32), betas=np.zeros(20, np.float32),
        expression=np.zeros((n, 62), np.float32), K=np.array(K, np.float32), world_to_camera=np.array(w2c, np.float32),
        image_size=np.array([SIZE, SIZE]), split=(np.arange(n) >= VIEWS).astype(np.uint8), close_up=np.zeros(n, np.uint8),
    )  # fmt: skip
    capture = Capture.open(folder)
    frames = read_frames(capture, capture.frames("training"))
    return types.SimpleNamespace(
        capture=capture, body=body, bare=bare, offset=offset, truth=truth, frames=frames
    )
