"""Driving with a headset's body from the page: with a stand-in for the headset (standin_xr.js), in a real browser."""

import importlib.util
import pathlib

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.live import WebXrSource
from dinar_live.runtime.live.webxr import JOINTS
from dinar_live.runtime.motion import demo_motion

HERE = pathlib.Path(__file__).parent
STAND_IN = (HERE / "standin_xr.js").read_text()
SHOWN = "!document.querySelector('#headset').hidden"


@pytest.fixture(scope="module")
def sender():
    spec = importlib.util.spec_from_file_location(
        "webxr_sender", HERE.parents[1] / "examples" / "webxr_sender.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source():
    return WebXrSource()


@pytest.fixture
def headset(served, source, visit):
    """A page in the stand-in's browser, whose server takes bodies."""
    served.stop()
    served._capabilities["takes"] = ["xr_body"]
    served.start()
    served.gateway.take(source.message_type, source.feed)
    visitor = visit(f"http://127.0.0.1:{served.port}/")
    visitor.page.add_init_script(STAND_IN)
    visitor.page.reload()
    visitor.drawn().until(SHOWN)
    return visitor


def wear(visitor, joints):
    """Lets the stand-in see these joints f32[52,7]; the other 31 of the module are somewhere."""
    seen = {name: row for name, row in zip(JOINTS, joints.tolist(), strict=True)}
    seen |= {f"other-{i}": [0, 1, 0, 0, 0, 0, 1] for i in range(31)}
    visitor.page.evaluate("(joints) => { window.standin.joints = joints; }", seen)


def test_a_body_goes_from_the_frame_to_the_source(headset, source, sender, degrees_between):
    wearer, motion = sender.Wearer(2), demo_motion(30)
    headset.page.click("#drive")
    headset.until("document.querySelector('#driving').textContent.includes('does not see the body')")
    assert headset.page.evaluate("standin.asked") == {
        "mode": "immersive-vr",
        "requiredFeatures": ["local-floor", "body-tracking"],
    }
    wear(headset, wearer.joints(np.zeros((55, 3))))
    headset.eventually(lambda: source.state.calibration == "done")
    assert "T-pose" in headset.page.inner_text("#driving")
    sent = list(JOINTS.values())
    for i in (40, 200, 420):  # what was on its way comes first
        wear(headset, wearer.joints(motion.body[i], motion.pelvis[i]))
        wanted = motion.body[i].copy()
        wanted[0] = rot.quaternion_to_axis_angle(
            rot.multiply(wearer.turn, rot.axis_angle_to_quaternion(wanted[0]))
        )
        headset.eventually(
            lambda wanted=wanted: degrees_between(source.read().body[sent], wanted[sent]).max() < 0.1
        )
    assert source.state.drops == {} and source.state.peer.startswith("page ")
    headset.page.click("#drive")
    headset.until("document.querySelector('#drive').textContent === 'Drive with this headset'")
    headset.page.wait_for_timeout(500)
    frames = source.state.frames
    headset.page.wait_for_timeout(200)
    assert source.state.frames == frames and headset.complaints == []


def test_a_refused_session_is_told(headset):
    headset.page.evaluate("window.standin.refuse = true")
    headset.page.click("#drive")
    headset.until("document.querySelector('#driving').textContent.includes('It cannot drive: not allowed')")
    assert headset.page.inner_text("#drive") == "Drive with this headset"


def test_a_session_that_the_headset_ends(headset):
    headset.page.click("#drive")
    headset.until("window.standin.frames > 2")
    headset.page.evaluate("window.standin.session.end()")
    headset.until("document.querySelector('#drive').textContent === 'Drive with this headset'")


def test_the_button_is_only_there_where_it_works(served, visit):
    """Not without a headset's browser, and not where the server takes no bodies."""
    visitor = visit(f"http://127.0.0.1:{served.port}/")
    assert not visitor.page.evaluate(SHOWN)
    visitor.page.add_init_script(STAND_IN)
    visitor.page.reload()
    visitor.drawn()
    visitor.page.wait_for_timeout(100)
    assert not visitor.page.evaluate(SHOWN)


@pytest.fixture(scope="module")
def degrees_between():
    def between(a, b):
        q = rot.multiply(rot.conjugate(rot.axis_angle_to_quaternion(a)), rot.axis_angle_to_quaternion(b))
        return np.degrees(2 * np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), np.abs(q[..., 0])))

    return between
