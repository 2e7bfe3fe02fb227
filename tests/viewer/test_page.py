"""The page in headless Chromium: what it shows, what it asks for, and what becomes of it when the server is
gone."""

import json
import threading

import cv2
import numpy as np
import pytest

CENTRE = (
    460,
    330,
)  # of the stage: in a window of 1100x720 the panel takes 316 and the bar at the bottom some


def url(served, fragment=""):
    return served.gateway.url.partition("#")[0] + (f"#{fragment}" if fragment else "")


def eye(request):
    """(position of the camera, its view matrix) of a request."""
    matrix = np.float64(request.cameras[0].world_to_camera)
    return -matrix[:3, :3].T @ matrix[:3, 3], matrix


@pytest.fixture
def page(visit, served):
    return visit(url(served))


# ---- what it shows -----------------------------------------------------------------------------------------


def test_loads_quietly_and_asks_nobody_else(page, served):
    assert page.complaints == []
    assert page.addresses and all(
        a.startswith((f"http://127.0.0.1:{served.port}/", "blob:")) for a in page.addresses
    )
    assert page.page.inner_text("#name") == "Ada" and page.page.title() == "Ada, dinar live"
    page.eventually(lambda: "network" in page.page.inner_text("#stages"))
    assert float(page.page.inner_text("#trip")) > 0 and "renderer test" in page.page.inner_text("#about")


@pytest.mark.parametrize("paint", ["webgl", "2d"])
def test_alpha_lets_the_background_through(visit, served, paint):
    page = visit(url(served, f"paint={paint}"))
    for choice, colour in (("green", (0, 177, 64)), ("black", (0, 0, 0))):
        page.page.check(f"input[value={choice}]", force=True)
        shot = page.shot().astype(int)
        empty, right = shot[150, 200], shot[CENTRE[1], 520]  # nothing there; white at half opacity
        assert np.abs(empty - colour).max() <= 1
        assert np.abs(right - (128 + np.array(colour) * 127 / 255)).max() <= 4
        assert np.abs(shot[CENTRE[1], 320] - (200, 120, 40)).max() <= 6
    page.page.check("input[value=checker]", force=True)
    squares = np.unique(page.shot()[100:170, 100:250].reshape(-1, 3), axis=0)
    assert len(squares) == 2 and np.abs(squares.astype(int)[0] - squares[1]).max() > 30
    assert page.complaints == []


def test_own_colour(page):
    page.page.fill("#own", "#3366cc")
    assert page.page.is_checked("input[value=own]")
    assert np.abs(page.shot()[150, 200].astype(int) - (0x33, 0x66, 0xCC)).max() <= 1
    page.page.keyboard.press("b")  # the next one, which is the first
    assert page.page.is_checked("input[value=studio]")


def test_saved_picture_has_alpha(page):
    with page.page.expect_download() as download:
        page.page.click("#photo")
    path = download.value.path()
    rgba = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]].astype(int)
    height, width = rgba.shape[:2]
    assert download.value.suggested_filename.startswith(
        "Ada-"
    ) and download.value.suggested_filename.endswith(".png")
    assert height == 256 and rgba[2, 2, 3] == 0
    assert np.abs(rgba[height // 2, width * 3 // 8] - (200, 120, 40, 255)).max() <= 6
    assert (
        np.abs(rgba[height // 2, width * 5 // 8] - (255, 255, 255, 128)).max() <= 6
    )  # straight colour, as PNG has it


def test_full_screen(page):
    page.page.click("#full")
    page.until("document.fullscreenElement?.id === 'app'")
    page.page.keyboard.press("f")
    page.until("document.fullscreenElement === null")


def test_reads_the_golden_messages(page, data):
    """The page's decoder against the messages that every client is checked with."""
    values = json.loads((data / "golden_messages" / "values.json").read_text())
    seen = set()
    for name, entry in values.items():
        raw = (data / "golden_messages" / f"{name}.bin").read_bytes()
        found = page.page.evaluate(
            """async (bytes) => {
            const { decode } = await import("/client/dinar.js"), plain = (k, v) => typeof v === "bigint" ? v.toString() : v;
            return JSON.parse(JSON.stringify(decode(new Uint8Array(bytes).buffer), plain)); }""",
            list(raw),
        )
        kind, value = entry["kind"], entry["values"]
        seen.add(kind)
        assert found.get("id", "0") == str(value.get("id", 0))
        if kind == "frame":
            assert (
                found["timings"] == pytest.approx(value["timings"], rel=1e-6)
                and found["straight"] == value["straight"]
            )
            view = value["views"][0]
            assert [found["views"][0]["rect"][k] for k in ("x", "y", "width", "height")] == view["rect"]
            color = found["views"][0]["color"]
            assert color["encoding"] == view["color"]["encoding"]
            assert (
                bytes(color["data"][str(i)] for i in range(len(color["data"]))).hex() == view["color"]["hex"]
            )
        elif kind == "error":
            assert (found["code"], found["text"]) == (value["code"], value["text"])
        elif kind == "caps":
            assert found["info"] == value["info"]
    assert {"frame", "error", "caps", "time", "superseded", "bye"} <= seen
    for broken in (b"", b"DNRL", bytes(64), (data / "golden_messages" / "frame_jpeg.bin").read_bytes()[:-8]):
        assert page.page.evaluate(
            """async (bytes) => {
            const { decode } = await import("/client/dinar.js");
            try { decode(new Uint8Array(bytes).buffer); } catch (e) { return e instanceof Error; } return false; }""",
            list(broken),
        )


# ---- the view ----------------------------------------------------------------------------------------------


def drag(page, dx, dy, button="left"):
    page.mouse.move(*CENTRE)
    page.mouse.down(button=button)
    page.mouse.move(CENTRE[0] + dx, CENTRE[1] + dy, steps=4)
    page.mouse.up(button=button)


def seen_at(page, painter, height):
    """Where in the window the point at this height above the origin is seen, pixels; the picture's shape is
    that of the stage or wider."""
    camera, stage = painter.last.cameras[0], page.page.locator("#stage").bounding_box()
    x, y, z = np.float64(camera.K) @ (np.float64(camera.world_to_camera) @ (0, height, 0, 1))[:3]
    scale = stage["height"] / camera.height
    return np.array([(x / z - camera.width / 2) * scale + stage["width"] / 2, y / z * scale])


def test_mouse_turns_moves_and_zooms(page, painter):
    start, home = eye(painter.last)
    assert start[2] > 3 and abs(start[0]) < 1e-6

    drag(page.page, 200, 0)
    turned = page.eventually(lambda: (e := eye(painter.last))[0][0] < -1 and e)[
        0
    ]  # dragged to the right: seen more from its right
    assert np.hypot(*turned[[0, 2]]) == pytest.approx(start[2], rel=1e-3) and turned[1] == pytest.approx(
        start[1], abs=1e-3
    )
    drag(page.page, 0, 100)
    page.eventually(lambda: eye(painter.last)[0][1] > start[1] + 0.5)

    page.page.keyboard.press("r")
    page.eventually(lambda: np.allclose(eye(painter.last)[1], home, atol=1e-5))
    spot = seen_at(page, painter, 1.5)
    page.page.mouse.move(*spot)
    page.page.mouse.wheel(0, -300)
    page.eventually(lambda: 0.5 < eye(painter.last)[0][2] / start[2] < 0.8)
    assert np.abs(seen_at(page, painter, 1.5) - spot).max() < 1  # what is under the pointer stays there
    page.page.dblclick("#stage", position={"x": CENTRE[0], "y": CENTRE[1]})
    page.eventually(lambda: np.allclose(eye(painter.last)[1], home, atol=1e-5))

    drag(page.page, 100, 50, button="right")
    moved = page.eventually(lambda: (e := eye(painter.last))[0][0] < -0.1 and e)
    assert moved[0][1] > start[1] and np.allclose(moved[1][:3, :3], home[:3, :3], atol=1e-6)
    page.page.click("#reset")
    page.eventually(lambda: np.allclose(eye(painter.last)[1], home, atol=1e-5))
    assert page.page.is_disabled("#reset")


def test_what_is_dragged_stays_under_the_pointer(page, painter):
    """At the distance of the person, a point moves by as many pixels of the page as the pointer does."""
    before = seen_at(page, painter, 1.5)
    drag(page.page, 120, -40, button="right")
    page.eventually(lambda: np.abs(seen_at(page, painter, 1.5) - before - (120, -40)).max() < 1)


def test_keyboard_turns_moves_and_zooms(page, painter):
    start, home = eye(painter.last)
    page.page.focus("#stage")
    for key, holds in (
        ("ArrowRight", lambda e: e[0] < -0.2),
        ("ArrowDown", lambda e: e[1] > start[1] + 0.2),
        ("+", lambda e: np.hypot(e[0], e[2]) < 0.95 * start[2]),
    ):
        page.page.keyboard.press(key)
        page.eventually(lambda holds=holds: holds(eye(painter.last)[0]))
    page.page.keyboard.press("r")
    page.eventually(lambda: np.allclose(eye(painter.last)[1], home, atol=1e-5))
    page.page.keyboard.press("Shift+ArrowLeft")
    page.eventually(
        lambda: (e := eye(painter.last))[0][0] > 0.02 and np.allclose(e[1][:3, :3], home[:3, :3], atol=1e-6)
    )
    page.page.keyboard.press("?")
    assert page.page.is_visible("#keys")
    page.page.keyboard.press("Escape")
    assert page.page.is_hidden("#keys")


def test_touch_turns_pinches_and_resets(visit, served, painter):
    phone = visit(url(served), 390, 844, has_touch=True, is_mobile=True)
    session = phone.page.context.new_cdp_session(phone.page)

    def touch(kind, *points):
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    start, home = eye(painter.last)
    touch("touchStart", (150, 300))
    touch("touchMove", (250, 300))
    touch("touchEnd")
    phone.eventually(lambda: eye(painter.last)[0][0] < -0.5)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    touch("touchStart", (150, 400), (250, 400))
    touch("touchMove", (100, 400), (300, 400))
    touch("touchEnd")
    phone.eventually(lambda: np.linalg.norm(eye(painter.last)[0] - (0, start[1], 0)) < 0.6 * start[2])
    for _ in range(2):
        phone.page.touchscreen.tap(200, 500)
    phone.eventually(lambda: np.allclose(eye(painter.last)[1], home, atol=1e-5))


# ---- the motion --------------------------------------------------------------------------------------------


def test_live_source_comes_first_and_clips_play(page, painter):
    assert painter.last.source.index == 0 and painter.last.source.follow and painter.last.pose is None
    assert page.page.is_visible("#follows") and page.page.is_hidden("#seek")
    page.page.select_option("#source", label="walk")
    first = page.eventually(lambda: painter.last.source.index == 1 and painter.last.source)
    page.eventually(lambda: painter.last.source.time > first.time + 0.2)
    assert page.page.is_visible("#seek") and page.page.inner_text("#clock").endswith("/ 0:08")
    shots = [page.shot()[CENTRE[1], 320].astype(int)]
    page.eventually(
        lambda: abs(page.shot()[CENTRE[1], 320].astype(int) - shots[0])[0] > 8
    )  # the picture on the canvas moves along


def test_pausing_seeking_and_speed(page, painter):
    page.page.select_option("#source", label="walk")
    page.eventually(lambda: painter.last.source.index == 1)
    page.page.click("#play")
    page.eventually(lambda: len({r.source.time for r in painter.requests[-4:]}) == 1)
    still = painter.last.source.time
    assert page.page.get_attribute("#play", "aria-label") == "Play"
    page.page.keyboard.press(".")
    page.eventually(lambda: 0.02 < painter.last.source.time - still < 0.05)
    page.page.focus("#seek")
    page.page.evaluate(
        "s => { s = document.querySelector(s); s.value = 6; s.dispatchEvent(new Event('input')); }", "#seek"
    )
    page.eventually(lambda: painter.last.source.time == pytest.approx(6, abs=0.01))
    assert "6.0 of 8.0" in page.page.get_attribute("#seek", "aria-valuetext") and page.page.inner_text(
        "#clock"
    ).startswith("0:06")
    box = page.page.locator("#seek").bounding_box()
    page.page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    page.eventually(lambda: painter.last.source.time == pytest.approx(2, abs=0.15))

    page.page.select_option("#speed", "2")
    page.page.click("#play")

    def speed():
        began = painter.last
        page.page.wait_for_timeout(300)
        ended = painter.last
        return (ended.source.time - began.source.time) / max(
            (ended.pose_time_ns - began.pose_time_ns) / 1e9, 1e-3
        )

    page.eventually(lambda: 1.8 < speed() < 2.2)


def test_a_source_in_the_address_is_chosen(visit, served, painter):
    page = visit(url(served, "source=dance"))
    assert painter.last.source.index == 2 and page.page.input_value("#source") == "2"


def test_avatars_are_switched_and_remembered_over_a_restart(page, served, painter):
    assert painter.last.avatar == "" and page.page.is_visible("#avatar")
    page.page.select_option("#avatar", "Grace")
    page.eventually(lambda: painter.last.avatar == "Grace")
    page.until("document.querySelector('#name').textContent === 'Grace'")
    assert painter.last.cameras[0].size == (256, painter.last.cameras[0].width)
    served.stop()
    painter.requests.clear()
    served.start()
    page.eventually(lambda: painter.requests and painter.last.avatar == "Grace")


def test_an_avatar_that_is_not_there_gives_way_to_the_first(visit, served, painter):
    visit(url(served, "avatar=Nobody"))
    assert painter.last.avatar == ""


# ---- the picture -------------------------------------------------------------------------------------------


def test_resolution_shape_quality_and_rate(page, painter):
    height, width = painter.last.cameras[0].size
    assert height == 256 and width % 64 == 0 and width > height  # the stage is wider than high
    page.page.select_option("#size", "384")
    page.eventually(lambda: painter.last.cameras[0].size[0] == 384)
    page.page.select_option("#shape", "server")
    page.eventually(lambda: painter.last.cameras[0].size == (384, 384))
    assert (
        painter.last.format.color == 1
        and painter.last.format.quality == 85
        and painter.last.format.alpha == 2
    )
    page.page.select_option("#quality", "60")
    page.eventually(lambda: painter.last.format.quality == 60)
    page.page.select_option("#quality", "raw")
    page.eventually(lambda: painter.last.format.color == 2 and painter.last.format.alpha == 0)
    page.drawn()
    assert np.array_equal(page.shot()[CENTRE[1], 320], (200, 120, 40))  # lossless indeed

    def rate():
        count = len(painter.requests)
        page.page.wait_for_timeout(1000)
        return len(painter.requests) - count

    page.page.select_option("#rate", "15")
    assert 1 <= rate() <= 17
    page.page.reload()
    page.drawn()
    assert (
        page.page.input_value("#rate") == "15"
        and page.page.input_value("#quality") == "raw"
        and painter.last.format.color == 2
    )


def test_pausing_the_stream_asks_for_nothing(page, painter):
    def still():
        count = len(painter.requests)
        page.page.wait_for_timeout(300)
        return len(painter.requests) == count

    page.page.click("#stop")
    page.eventually(still)
    assert page.page.inner_text("#state") == "paused"
    count = len(painter.requests)
    page.page.click("#stop")
    page.eventually(lambda: len(painter.requests) > count)
    page.until("document.querySelector('#state').textContent === 'live'")


def test_never_more_than_three_pictures_are_on_their_way(page, painter, served):
    """A slow server is asked for the newest at every tick, which replaces what waits there: nothing queues
    up."""
    painter.seconds = 0.12
    before = served.server.stats()
    page.page.wait_for_timeout(1500)
    after = served.server.stats()
    asked, answered, replaced = (after[k] - before[k] for k in ("requests", "frames", "superseded"))
    assert 1 <= answered <= 13 and asked <= answered + replaced + 3
    assert 0 < replaced and asked <= 60, "30 times a second"
    page.until("Number(document.querySelector('#stale').textContent) >= 5")


def test_what_is_rendered_when_the_renderer_is_free_is_the_newest(page, painter, served):
    """A page goes on asking while the renderer is busy, each request in the place of the one that waits."""
    gate = painter.gate = threading.Event()
    try:
        page.eventually(lambda: len(served.server._mailbox._slots) == 1)
        before, rendered = served.server.stats(), len(painter.requests)
        # One of them may have been asked for before `before` was taken.
        page.eventually(lambda: served.server.stats()["superseded"] - before["superseded"] >= 6)
    finally:
        newest = served.server.stats()["requests"]
        painter.gate = None
        gate.set()
    page.eventually(lambda: len(painter.requests) > rendered)
    assert newest - before["requests"] >= 5
    assert painter.requests[rendered].id >= painter.requests[rendered - 1].id + 5


def test_figures_can_be_copied(visit, served):
    page = visit(url(served), permissions=["clipboard-read", "clipboard-write"])
    page.eventually(lambda: "network" in page.page.inner_text("#stages"))
    page.page.click("#copy")
    page.until("document.querySelector('#copy').textContent === 'Copied'")
    text = page.page.evaluate("navigator.clipboard.readText()")
    assert "fps" in text and "skinning" in text and "Ada" in text


# ---- when things go wrong ----------------------------------------------------------------------------------


def test_a_dropped_server_is_shown_and_found_again(page, served, painter):
    served.stop()
    page.until("document.querySelector('#state').dataset.state === 'connecting'")
    page.until("!document.querySelector('#notice').hidden")
    assert "goes on by itself" in page.page.inner_text("#notice")
    painter.requests.clear()
    served.start()
    page.eventually(lambda: len(painter.requests) > 3)
    page.drawn()
    assert page.page.is_hidden("#notice") and painter.requests[0].id <= 2


def test_a_refusal_is_shown_and_goes_away(page, painter):
    painter.refuse = "the light is out"
    page.until("document.querySelector('#notice').textContent.includes('the light is out')")
    painter.refuse = ""
    page.until("document.querySelector('#notice').hidden")


def test_a_page_without_its_key_says_so(visit, served, painter):
    served.stop()
    painter.requests.clear()
    served.start(key=True)
    stranger = visit(url(served), wait=False)
    stranger.until("document.querySelector('#notice').textContent.includes('key')")
    stranger.page.wait_for_timeout(500)
    assert not painter.requests
    visit(served.gateway.url)
    assert painter.requests


def test_other_sites_get_nothing(visit, served, painter):
    """Cross-site WebSocket hijacking from a page of another origin, in a real browser."""
    count = len(painter.requests)
    page = visit("about:blank", wait=False).page
    closed = page.evaluate(
        """(address) => new Promise((done) => {
        const socket = new WebSocket(address, ["dinar-live"]);
        socket.onopen = () => done("open");
        socket.onerror = socket.onclose = () => done("closed"); })""",
        f"ws://127.0.0.1:{served.port}/ws",
    )
    assert closed == "closed" and len(painter.requests) == count
