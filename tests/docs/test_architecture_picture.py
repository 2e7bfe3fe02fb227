"""docs/architecture.svg shows the table of doors as it is."""

import importlib.util
import pathlib
import sys
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def architecture():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["architecture"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["architecture"]


def test_the_picture_is_up_to_date(architecture):
    drawn = architecture.draw(architecture.read_doors())
    assert architecture.PICTURE.read_text(encoding="utf-8") == drawn, "run: python docs/architecture.py"


def test_the_picture_is_svg_with_every_room(architecture):
    tree = xml.etree.ElementTree.fromstring(architecture.draw(architecture.read_doors()))
    words = {element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert set(architecture.read_doors()) <= words
    assert {step for step, _, _ in architecture.PATH} <= words


def test_every_room_stands_above_those_that_it_imports(architecture):
    doors = architecture.read_doors()
    floor_of = architecture.floors(doors)
    for room, names in doors.items():
        for name in names:
            assert all(floor_of[other] < floor_of[room] for other in architecture.behind(name, doors))


def test_no_two_rooms_overlap(architecture):
    placed = list(architecture.boxes(architecture.floors(architecture.read_doors())).values())
    for i, a in enumerate(placed):
        for b in placed[:i]:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x
            apart = apart or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert apart


def test_a_room_without_a_place_is_named(architecture):
    with pytest.raises(ValueError, match=r"runtime\.attic"):
        architecture.draw({**architecture.read_doors(), "runtime.attic": ("runtime.core",)})
