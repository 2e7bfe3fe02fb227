"""A film that was looked at, without a film: a person who turns round, as `survey` would say it."""

import numpy as np
import pytest

from dinar_live.export.filming.survey import Look, Survey
from dinar_live.runtime.vision.body_network import BodySeen
from dinar_live.runtime.vision.landmarks import Crop


def a_person(tall: float = 500.0, yaw: float = 0.0) -> BodySeen:
    """Points of a person `tall` pixels high in a picture of 640 x 360, turned by yaw."""
    points = np.zeros((39, 2))
    points[:, 0] = 180
    points[:33, 1] = 70 + np.linspace(0, tall, 33)
    world = np.zeros((33, 3))
    left = np.array([np.cos(yaw), 0, np.sin(yaw)])  # the camera's axes: z away from it
    for joint, side in ((11, 1), (12, -1), (23, 1), (24, -1)):
        world[joint] = 0.15 * side * left - [0, 0.5 if joint < 20 else 0, 0]
    nothing = np.zeros((4, 4), np.float32)
    return BodySeen((640, 360), Crop(180, 320, 600), points, np.ones(33, np.float32), world, 0.9, nothing)


@pytest.fixture
def seen():
    """seen(tall, yaw): a BodySeen."""
    return a_person


@pytest.fixture
def film():
    """film(n, degrees, **changes): a Survey of n looks in 10 s that turn by so many degrees; changes: functions of the
    look's number, by field of Look."""

    def make(n=150, degrees=360.0, name="me.mp4", lost=(), tall=500.0, **changes):
        looks = []
        for i in range(n):
            yaw = np.radians(degrees * i / (n - 1))
            given = {
                "number": 2 * i, "time": 10 * i / n, "seen": a_person(tall), "yaw": float((yaw + np.pi) % (2 * np.pi) - np.pi),
                "sharpness": 10.0 + np.sin(i), "light": 110.0, "shift": 0.0, "people": 0, "counted": i % 15 == 0, "cut": (),
            }  # fmt: skip
            looks.append(Look(**(given | {k: f(i) for k, f in changes.items()})))
        return Survey(name, looks, list(lost), (640, 360), n + len(lost))

    return make


@pytest.fixture(scope="session")
def landmarker(vision_models):
    from dinar_live.runtime.vision.landmarker import Landmarker

    return Landmarker(vision_models)
