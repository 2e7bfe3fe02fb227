"""Windows, alpha and colours of a capture's pictures; what is behind a person makes their mask better."""

import cv2
import numpy as np
import pytest

from dinar_live.export.filming.background import Background
from dinar_live.export.filming.pictures import Window, straight_rgba, window_of


def test_a_window_holds_everybody_and_moves_the_camera_along():
    masks = [np.zeros((400, 300), np.float32) for _ in range(2)]
    masks[0][100:300, 80:120] = 1
    masks[1][120:320, 150:220] = 1
    window = window_of(masks, 100)
    assert max(window.size) == 100 and window.x <= 80 and window.x + window.taken[1] >= 220
    K = np.array([[500, 0, 150], [0, 500, 200], [0, 0, 1.0]])
    spots = np.zeros((400, 300), np.float32)
    spots[150:170, 100:120] = 1  # its middle is (110, 160)
    small = window.cut(spots)
    rows, columns = np.mgrid[0 : small.shape[0], 0 : small.shape[1]] + 0.5
    middle = np.array([(columns * small).sum(), (rows * small).sum()]) / small.sum()
    ray = np.linalg.inv(K) @ [110, 160, 1]
    np.testing.assert_allclose((window.camera(K) @ ray)[:2], middle, atol=0.05)


def test_colours_at_the_outline_are_the_persons():
    mask = np.zeros((60, 60), np.float32)
    mask[:, 20:40] = 1
    mask[:, [19, 40]] = 0.5
    rgb = np.full((60, 60, 3), (0, 255, 0), np.uint8)
    rgb[:, 20:40] = (200, 0, 0)
    rgb[:, [19, 40]] = (100, 128, 0)
    rgba = straight_rgba(rgb, mask, Window(0, 0, (60, 60), (60, 60)))
    assert rgba[30, 19, 3] == 128
    np.testing.assert_allclose(rgba[30, 19, :3].astype(int), (200, 0, 0), atol=3)
    assert not rgba[30, 10].any()


@pytest.fixture(scope="module")
def room():
    """Frames of somebody in one grey who walks before a wall of many colours, their true masks, and bad ones."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(
        rng.uniform(20, 235, (20, 15, 3)).astype(np.float32), (150, 200), interpolation=cv2.INTER_NEAREST
    )
    rgbs, true, bad = [], [], []
    for x in range(20, 100, 8):
        mask = np.zeros((200, 150), np.uint8)
        cv2.ellipse(mask, (x, 100), (18, 80), 0, 0, 360, 1, -1)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)[..., None]
        frame = wall * (1 - soft) + np.array([120.0, 120, 120]) * soft + rng.normal(0, 2, wall.shape)
        rgbs.append(np.clip(frame, 0, 255).astype(np.uint8))
        true.append(mask)
        wrong = mask.copy()
        cv2.circle(wrong, (x + 18, 90), 6, 1, -1)
        cv2.circle(wrong, (x - 18, 120), 6, 0, -1)
        bad.append(wrong.astype(np.float32))
    return wall, rgbs, true, bad


def iou(a, b) -> float:
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())


def test_the_wall_is_found_and_masks_get_better(room):
    wall, rgbs, true, bad = room
    behind = Background.of(rgbs, bad)
    assert behind.known.mean() > 0.9
    assert np.abs(behind.colour - wall)[behind.known].mean() < 3
    before = [iou(a, b) for a, b in zip(bad, true, strict=True)]
    after = [iou(behind.better(r, m), t) for r, m, t in zip(rgbs, bad, true, strict=True)]
    assert np.mean(after) > 0.985 and 1 - np.mean(after) < 0.7 * (1 - np.mean(before))


def test_where_nothing_is_known_a_mask_stays(room):
    _, rgbs, _, bad = room
    unknown = Background(
        np.zeros((200, 150, 3), np.float32), np.ones((200, 150), np.float32), np.zeros((200, 150), bool)
    )
    assert iou(unknown.better(rgbs[0], bad[0]), bad[0]) > 0.97
