"""What objects look like in a terminal and in a notebook."""

import cv2
import numpy as np
import pytest

from dinar_live import Avatar, Body, Camera, Pose, Renderer, demo_motion
from dinar_live.runtime.core.notebook_png import notebook_png
from dinar_live.runtime.core.short_repr import brief


@pytest.fixture(scope="module")
def avatar():
    return Avatar.demo()


def test_reprs_are_one_short_line_that_says_what_it_is(avatar):
    things = [
        avatar,
        avatar.rig,
        avatar.checks,
        *avatar.renderers.values(),
        Pose(),
        demo_motion(),
        Body.open(),
    ]
    for thing in [*things, Camera.orbit((0, 1, 0), (64, 64))]:
        text = repr(thing)
        assert type(thing).__name__ in text and len(text) < 900 and "\n" not in text, text
    assert repr(Pose()) == "Pose(body=float32[55, 3], transl=[0, 0, 0], expression=float32[0])"
    assert repr(avatar).startswith(
        "Avatar('ada', open body, renderers light, lite, texture, Rig(13886 vertices, "
    )
    assert repr(Camera.orbit((0, 1, 0), (100, 100), fov_y=np.pi / 2)).endswith("50 px, at (0, 1, 4.5) m)")


def test_brief_names_what_it_leaves_out():
    assert brief(("a",)) == "('a',)" and brief([1, 2]) == "[1, 2]"
    assert brief(tuple(range(100))) == "(0, 1, 2, 3, 4, 5, 94 more)"
    assert brief({"model": b"12345"}) == "{'model': bytes[5]}"
    assert len(brief("x" * 1000)) == 60


@pytest.mark.parametrize("straight", [False, True])
def test_a_notebook_shows_a_frame_with_its_true_colours(avatar, straight):
    camera = Camera.orbit(avatar.rig.joints[0], (96, 64))
    with Renderer(avatar, size=(96, 64), renderer="texture", straight=straight) as renderer:
        frame = renderer.render(Pose(), camera)
        assert repr(frame).startswith("Frame(64x96 px, ")
        shown = cv2.cvtColor(
            cv2.imdecode(np.frombuffer(frame._repr_png_(), np.uint8), cv2.IMREAD_UNCHANGED),
            cv2.COLOR_BGRA2RGBA,
        )
        assert frame.copy().straight is straight
    alpha = frame.rgba[..., 3:].astype(float) / 255
    assert ((alpha > 0.1) & (alpha < 0.9)).any()
    np.testing.assert_array_equal(shown[..., 3], frame.rgba[..., 3])
    want = frame.rgba if straight else shown * alpha  # premultiplied again
    np.testing.assert_allclose((shown if straight else want)[..., :3], frame.rgba[..., :3], atol=0.51)


def test_colour_beyond_alpha_is_no_overflow():
    rgba = np.array([[[255, 10, 0, 100], [9, 9, 9, 0]]], np.uint8)
    shown = cv2.imdecode(np.frombuffer(notebook_png(rgba), np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown[0, 0].tolist() == [0, 26, 255, 100] and shown[0, 1, 3] == 0
