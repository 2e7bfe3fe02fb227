"""The sender of examples/, and a clock that tests turn."""

import importlib.util
import pathlib

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot

SENDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "vmc_sender.py"


@pytest.fixture(scope="session")
def sender():
    """examples/vmc_sender.py, which was written from the specification and shares no code with the
    receiver."""
    spec = importlib.util.spec_from_file_location("vmc_sender", SENDER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def degrees():
    """Angles between rotations given as axis-angle [...,3]."""

    def between(a, b):
        q = rot.multiply(rot.conjugate(rot.axis_angle_to_quaternion(a)), rot.axis_angle_to_quaternion(b))
        return np.degrees(2 * np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), np.abs(q[..., 0])))

    return between
