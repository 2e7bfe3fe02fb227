"""clients/javascript in a browser: the avatar in somebody else's page."""

import contextlib
import functools
import http.server
import pathlib
import threading
import time

import cv2
import numpy as np
import pytest

from dinar_live.runtime.stream import RenderedFrame, Server
from dinar_live.runtime.viewer import Gateway

EXAMPLE = pathlib.Path(__file__).parents[2] / "clients" / "javascript"
RED, BACKGROUND = (200, 30, 40), (10, 90, 160)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """The address of the example's files, as any web server has them."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=EXAMPLE)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def render(request):
    """The upper half opaque red, the lower half white at half opacity, nothing to the left."""
    height, width = request.cameras[0].size
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[: height // 2, width // 2 :] = (*RED, 255)
    rgba[height // 2 :, width // 2 :] = 128
    return RenderedFrame(rgba)


@contextlib.contextmanager
def served(origins):
    with (
        Gateway(port=0, origins=origins) as gateway,
        Server(render, {"name": "stub", "body_extent": [-1.0, 0.75]}) as server,
    ):
        gateway.attach(server.connect_here)
        yield gateway.url.replace("http", "ws", 1) + "ws"
        gateway.close()


def wait(page, script: str, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < end, f"not in time: {script}"
        page.wait_for_timeout(50)


def test_avatar_stands_on_the_page_with_its_background_behind(browser, site):
    with served([site]) as socket:
        page = browser.new_page(viewport={"width": 600, "height": 500})
        try:
            errors = []
            page.on("pageerror", lambda e: errors.append(str(e)))
            page.goto(f"{site}/index.html?server={socket}")
            page.evaluate(f"document.body.style.background = 'rgb{BACKGROUND}'")
            wait(page, "Number(document.documentElement.dataset.frames) >= 3")
            assert page.evaluate("document.getElementById('state').textContent") == "" and not errors
            box = page.locator("canvas").bounding_box()
            seen = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)[
                ..., ::-1
            ].astype(int)
        finally:
            page.close()

    def at(x: float, y: float):
        return seen[int(box["y"] + y * box["height"]), int(box["x"] + x * box["width"])]

    assert np.abs(at(0.25, 0.6) - BACKGROUND).max() <= 2, "nothing there: the page"
    assert np.abs(at(0.75, 0.3) - RED).max() <= 6, "opaque"
    assert np.abs(at(0.75, 0.7) - (128 + np.array(BACKGROUND) * 127 / 255)).max() <= 6, (
        "half opaque white over the page"
    )


def test_a_page_that_the_server_does_not_know_gets_nothing(browser, site):
    with served([]) as socket:
        page = browser.new_page()
        try:
            page.goto(f"{site}/index.html?server={socket}")
            page.wait_for_timeout(700)
            assert page.evaluate("document.documentElement.dataset.frames") is None
            assert "connecting" in page.evaluate("document.getElementById('state').textContent")
        finally:
            page.close()
