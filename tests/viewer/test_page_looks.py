"""The page with the demo avatar, on a desk and on a phone: what moves, what fits, and the pictures for the
documentation.

DINAR_PICTURES=docs python -m pytest tests/viewer/test_page_looks.py
"""

import os
import pathlib

import cv2
import numpy as np
import pytest

from dinar_live.runtime import Avatar
from dinar_live.runtime.motion import demo_motion, idle_motion
from dinar_live.runtime.service.avatar_service import AvatarService

CONTROLS = "#play, #source, #seek, #speed, #reset, #photo, #full, #help, #toggle"
PICTURES = os.environ.get("DINAR_PICTURES")


@pytest.fixture(scope="module")
def address(start_served):
    """Of the page of the demo avatar."""
    avatar = Avatar.demo()
    motion = demo_motion()
    own = idle_motion().for_avatar(avatar.rig.joints, avatar.rig.expression_names)
    with (
        AvatarService(avatar, source=own, clips=[motion, idle_motion()], size=(384, 384)) as service,
        start_served(service) as served,
    ):
        yield served.gateway.url


def save(visit, name):
    """Keeps what is to be seen for the documentation, if that was asked for."""
    if PICTURES:
        cv2.imwrite(
            str(pathlib.Path(PICTURES) / name), visit.shot()[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 88)
        )


def choose(visit, select, value):
    """As select_option, also where the panel is closed."""
    visit.page.evaluate(
        "([select, value]) => { const s = document.querySelector(select); s.value = value; s.onchange({ target: s }); }",
        [select, value],
    )


def at(visit, seconds, *, hold=True):
    """The demo at a moment, standing still."""
    if hold and visit.page.get_attribute("#play", "aria-label") == "Pause":
        visit.page.click("#play")  # first, or it would run on
    visit.page.evaluate(
        "(s) => { const seek = document.querySelector('#seek'); seek.value = s; seek.dispatchEvent(new Event('input')); }",
        seconds,
    )
    settle(visit)


def settle(visit):
    """Waits for a picture of what was asked for from now on."""
    drawn = "Number(document.querySelector('#view').dataset.drawn)"
    visit.until(f"{drawn} > {visit.page.evaluate(drawn) + 3}")


def person(visit, box):
    """Where in the window's `box` (x0, y0, x1, y1) the picture is not the green background: rows and
    columns."""
    x0, y0, x1, y1 = box
    seen = np.abs(visit.shot()[y0:y1, x0:x1] - np.int16((0, 177, 64))).max(-1) > 60
    return np.flatnonzero(seen.any(1)) + y0, np.flatnonzero(seen.any(0)) + x0


def test_the_avatar_moves_and_stands_free_of_the_bars(visit, address):
    page = visit(f"{address}#source=demo", 1280, 800)
    page.page.check("input[value=green]", force=True)
    shots = [page.shot()[70:720, :940].astype(int)]
    page.eventually(
        lambda: np.mean(np.abs(page.shot()[70:720, :940].astype(int) - shots[0]).max(-1) > 30) > 0.01
    )
    at(page, 0.0)
    rows, columns = person(page, (0, 61, 960, 730))
    assert rows[0] < 90 and 640 < rows[-1] < 725 and abs(columns.mean() - 482) < 60
    assert page.complaints == []
    if PICTURES:
        take_pictures(page)


def take_pictures(page):
    page.page.check("input[value=studio]", force=True)
    choose(page, "#size", "768")
    at(page, 3.8)
    page.page.wait_for_timeout(3000)  # networks for the new size are compiled,
    page.page.click("#stop")
    page.page.click("#stop")  # the figures begin anew,
    page.page.wait_for_timeout(4000)  # and the graph fills
    save(page, "viewer.jpg")
    page.page.check("input[value=checker]", force=True)
    page.page.mouse.move(480, 300)
    page.page.mouse.down()
    page.page.mouse.move(300, 320, steps=3)
    page.page.mouse.up()
    page.page.mouse.move(480, 110)
    for _ in range(5):
        page.page.mouse.wheel(0, -100)
    settle(page)
    save(page, "viewer_checker.jpg")


def test_everything_fits_small_windows(visit, address):
    page = visit(f"{address}#source=demo", 390, 844, has_touch=True, is_mobile=True)
    for width, height in ((320, 568), (768, 1024), (844, 390), (390, 844)):
        page.page.set_viewport_size({"width": width, "height": height})
        boxes = {
            control.get_attribute("id"): control.bounding_box()
            for control in page.page.locator(CONTROLS).all()
        }
        for name, box in boxes.items():
            assert (
                box["x"] >= 0
                and box["y"] >= 0
                and box["x"] + box["width"] <= width
                and box["y"] + box["height"] <= height
            ), name
            assert min(box["width"], box["height"]) >= 34, name  # for a finger
            assert not [other for other in boxes if other != name and overlap(box, boxes[other])], name
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        place = page.page.locator("#view").bounding_box()
        page.page.click("#toggle")
        sheet = page.page.locator("#panel").bounding_box()
        assert sheet["y"] > 80 and sheet["y"] + sheet["height"] <= height + 1 and page.page.is_visible("#fps")
        assert (
            page.page.locator("#view").bounding_box() == place
        )  # the sheet lies over the stage, which stays
        page.page.click("#close")
        assert page.page.is_hidden("#panel")
    assert page.complaints == []


def test_the_person_stands_above_the_sheet_of_a_phone(visit, address):
    page = visit(
        f"{address}#source=demo",
        390,
        844,
        has_touch=True,
        is_mobile=True,
        device_scale_factor=2 if PICTURES else 1,
    )
    if PICTURES:
        choose(page, "#size", "768")
        at(page, 3.8)
        save(page, "viewer_phone.jpg")
    at(page, 0.0)
    page.page.click("#toggle")
    page.page.check("input[value=green]", force=True)
    settle(page)
    scale, sheet = 2 if PICTURES else 1, page.page.locator("#panel").bounding_box()["y"]
    rows, _ = person(page, (0, 60 * scale, 320 * scale, int(sheet - 4) * scale))
    assert rows[-1] < (sheet - 6) * scale and rows[-1] - rows[0] > 120 * scale


def overlap(a, b):
    return (
        min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"]) > 1
        and min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"]) > 1
    )


def test_every_control_has_a_name(visit, address):
    page = visit(address)
    nameless = page.page.evaluate("""() => [...document.querySelectorAll("button, input, select")].filter((e) =>
        !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).map((e) => e.id || e.name)""")
    assert nameless == []
