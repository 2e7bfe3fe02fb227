"""Which frames are taken, and which films are refused, in words for whoever holds the camera."""

import numpy as np
import pytest

from dinar_live.export.filming.choose import choose, still
from dinar_live.runtime.core.errors import InputError


def test_frames_are_sharp_and_spread_over_the_turn(film):
    found = film(sharpness=lambda i: 10.0 if i % 3 == 0 else 6.0)
    choice = choose(found, 50)
    assert len(choice.looks) == 50 and not choice.warnings
    assert np.mean([look.sharpness == 10 for look in choice.looks]) > 0.9
    yaws = np.sort([look.yaw for look in choice.looks])
    assert np.diff(yaws).max() < np.radians(15)
    assert [look.time for look in choice.looks] == sorted(look.time for look in choice.looks)


def test_a_pause_does_not_take_the_frames_of_the_turn(film):
    choice = choose(film(yaw=lambda i: np.radians(min(max(i - 75, 0) * 4.9, 359))), 60)
    turning = sum(look.time > 5 for look in choice.looks)
    assert turning > 40


def test_blurred_and_cut_off_frames_are_left_out(film):
    found = film(
        sharpness=lambda i: 1.5 if 40 <= i < 50 else 10.0, cut=lambda i: ("feet",) if 80 <= i < 90 else ()
    )
    numbers = {look.number // 2 for look in choose(found, 100).looks}
    assert not numbers & set(range(40, 50)) and not numbers & set(range(80, 90))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"degrees": 40}, "turns by only 40 degrees"),
        ({"n": 12}, "in only 12 frames"),
        ({"light": lambda i: 12.0}, "too dark"),
        ({"sharpness": lambda i: 0.5}, "everything is blurred"),
        ({"shift": lambda i: 0.001 * i}, "the camera moves"),
        ({"people": lambda i: 1}, "several people"),
        ({"cut": lambda i: ("feet",) if i > 70 else ()}, "the feet cut off"),
        ({"tall": 120.0}, "only 120 pixels tall"),
        ({"lost": range(100)}, "nobody in the picture"),
    ],
)
def test_refusals_say_what_to_do(film, changes, words):
    with pytest.raises(InputError, match=words) as refused:
        choose(film(**changes), 60)
    assert str(refused.value).startswith("me.mp4: ")


def test_a_side_that_nobody_saw_is_named(film):
    with pytest.raises(InputError, match="nothing shows the person from behind"):
        choose(film(cut=lambda i: ("head",) if 55 <= i < 95 else ()), 60)


def test_smaller_faults_are_warnings(film):
    warnings = choose(
        film(degrees=335, shift=lambda i: 0.01, people=lambda i: int(i in (15, 30))), 60
    ).warnings
    for words in ("335 degrees", "moves a little", "somebody else"):
        assert any(words in w for w in warnings)


def test_a_camera_is_still_where_nothing_can_be_followed(film):
    assert still(film()) and still(film(shift=lambda i: float("nan")))
    assert not still(film(shift=lambda i: 0.01))
