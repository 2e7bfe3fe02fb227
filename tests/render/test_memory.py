"""MemoryBudget: who goes when there is not enough, and what a renderer says that it takes."""

import time

import numpy as np
import pytest

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.compiled_sizes import LATER, NOW, CompiledSizes
from dinar_live.runtime.render.memory import REST_SECONDS, MemoryBudget


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def budget(now):
    return MemoryBudget(100, clock=lambda: now[0])


@pytest.fixture
def dropped():
    return []


def test_the_window_used_longest_ago_goes(budget, now, dropped):
    for name in "abc":
        assert budget.take(name, 30, lambda name=name: dropped.append(name))
    now[0] += REST_SECONDS + 1
    budget.touch("a")
    assert budget.room(40) and budget.take("d", 40, list) and dropped == ["b"]
    assert budget.used == 100 and not budget.holds("b") and budget.holds("a")


def test_a_window_in_use_stays(budget, now, dropped):
    assert budget.take("a", 60, lambda: dropped.append("a"))
    assert not budget.room(60) and not budget.take("b", 60, list) and not dropped and budget.used == 60
    now[0] += REST_SECONDS + 1
    assert budget.room(60) and not budget.room(101)


def test_renderers_go_for_renderers_only_and_after_windows(budget, now, dropped):
    budget.charge("default", 20)
    assert budget.take("large", 50, lambda: dropped.append("large"), heavy=True)
    assert budget.take("window", 30, lambda: dropped.append("window"))
    now[0] += REST_SECONDS + 1
    assert not budget.take("another window", 40, list), "it would need the renderer's place"
    assert not budget.take("too large", 81, list, heavy=True), "the default never goes"
    assert not budget.take("second", 60, list, heavy=True, spare=["large"]) and not dropped
    assert budget.take("second", 60, list, heavy=True) and dropped == ["window", "large"]
    budget.give_back("second")
    assert budget.used == 20


def test_windows_go_where_something_is_larger_than_was_thought(budget, dropped):
    assert budget.take("renderer", 50, list, heavy=True)
    for name in "ab":
        budget.take(name, 20, lambda name=name: dropped.append(name))
    budget.charge("renderer", 70)
    assert dropped == ["a"] and budget.used == 90


class Sized:
    """Stands in for a session: a byte a pixel."""

    def __init__(self, key):
        self.memory = key[0] * key[1] * key[2]


def test_sizes_stay_within_the_budget(now):
    budget = MemoryBudget(250, clock=lambda: now[0])
    sizes = CompiledSizes(Sized, budget=budget)
    sizes.require((1, 10, 20))
    budget.charge("renderer", sizes.fixed)
    assert sizes.fixed == 200
    assert sizes.get(1, 5, 8, NOW)[0] == (1, 5, 8)
    assert sizes.get(1, 5, 9, NOW)[0] == (1, 10, 20), "no room, so the larger one serves"
    assert sizes.get(1, 5, 9, LATER)[0] == (1, 10, 20)
    now[0] += REST_SECONDS + 1
    assert sizes.get(1, 5, 9, NOW)[0] == (1, 5, 9) and budget.used == 245
    assert sizes.get(1, 5, 8, LATER)[0] == (1, 5, 9)
    assert len(sizes.close(wait=False)) == 2 and budget.used == 200


def test_a_size_whose_place_was_taken_while_it_was_compiled_is_not_kept(now):
    budget = MemoryBudget(250, clock=lambda: now[0])

    def compile(key):
        if key == (1, 5, 8):
            now[0] += REST_SECONDS + 1
            assert budget.take("other", 50, list)
        return Sized(key)

    sizes = CompiledSizes(compile, budget=budget)
    sizes.require((1, 10, 20))
    budget.charge("renderer", sizes.fixed)
    assert sizes.get(1, 5, 8, NOW)[0] == (1, 10, 20) and budget.used == 250


def test_closing_does_not_wait_for_a_compiler():
    compiling, released = [], []

    def compile(key):
        compiling.append(key)
        while key != (1, 10, 20) and not released:
            time.sleep(0.005)
        return Sized(key)

    sizes = CompiledSizes(compile)
    sizes.require((1, 10, 20))
    sizes.get(1, 5, 5, LATER)
    while len(compiling) < 2:
        time.sleep(0.005)
    assert len(sizes.close(wait=False)) == 1
    released.append(True)
    assert sizes._thread is not None
    sizes._thread.join(10)
    assert not sizes._thread.is_alive() and not sizes._ready


@pytest.mark.parametrize("renderer", ["light", "texture"])
def test_what_a_renderer_takes_grows_with_its_size(renderer):
    avatar, taken = Avatar.demo(), []
    for size in ((128, 128), (256, 256), (512, 512)):
        with Renderer(avatar, size, renderer=renderer, device="cpu") as one:
            one.render(Pose(), Camera.orbit(avatar.rig.joints[0], size))
            taken.append(one.memory)
    steps = np.diff(taken)  # beside what all sizes have: textures
    assert taken[0] > 128 * 128 * 50 and steps[1] == pytest.approx(4 * steps[0], rel=0.25)


def test_a_renderer_with_little_memory_does_with_the_whole_frame():
    avatar, size = Avatar.demo(), (128, 128)
    with Renderer(
        avatar, size, renderer="light", device="cpu", memory=1, background_compile=False
    ) as renderer:
        frame = renderer.render(Pose(), Camera.orbit(avatar.rig.joints[0], size))
        assert frame.window and (frame.window.height, frame.window.width) == size and frame.rgba.any()


@pytest.mark.parametrize("memory", [0, -1, 1.5, "1G", None, np.inf])
def test_impossible_budgets(memory):
    with pytest.raises(InputError, match="memory: got .*, expected a positive number of bytes"):
        Renderer(Avatar.demo(), (64, 64), memory=memory)
