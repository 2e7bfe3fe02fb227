"""A browser, and servers for its page."""

import contextlib
import os
import shutil
import time

import cv2
import numpy as np
import pytest

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.stream import RenderedFrame, Server
from dinar_live.runtime.viewer import Gateway

CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
SIZE = (256, 256)
SOURCES = [
    {"name": "live", "kind": "live"},
    {"name": "walk", "kind": "clip", "duration": 8.0},
    {"name": "dance", "kind": "clip", "duration": 90.5},
]


class Painter:
    """A renderer whose pictures are known: a block in the middle, its left half opaque, its right half white
    at half opacity. The opaque half's red says which source and when: 20 times the seconds into a clip, 200
    for the live one. Requests are kept. `gate`, when given, holds every render until it is set."""

    def __init__(self):
        self.requests, self.refuse, self.seconds, self.gate = [], "", 0.0, None

    def __call__(self, request):
        if self.refuse:
            raise DinarError(self.refuse)
        self.requests.append(request)
        if self.gate is not None:
            assert self.gate.wait(30)
        time.sleep(self.seconds)
        height, width = request.cameras[0].size
        rgba = np.zeros((height, width, 4), np.uint8)
        source = request.source
        red = 200 if source is None or source.index == 0 else min(int(source.time * 20), 255)
        block = rgba[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
        block[:, : block.shape[1] // 2] = red, 120, 40, 255
        block[:, block.shape[1] // 2 :] = 128
        return RenderedFrame(rgba, None, {"lbs": 0.2, "rasterize": 1.0, "network": 3.0})

    @property
    def last(self):
        return self.requests[-1]


class Served:
    """A gateway and a server behind it, which can be taken down and brought up again on the same port."""

    def __init__(self, render, capabilities, **options):
        self._render, self._capabilities, self._options = render, capabilities, options
        self.port = 0
        self._open = contextlib.ExitStack()

    def start(self, **page):
        self.gateway = self._open.enter_context(Gateway(port=self.port, **page))
        self.port = self.gateway.port
        self.server = self._open.enter_context(Server(self._render, self._capabilities, **self._options))
        self.gateway.attach(self.server.connect_here)
        self._open.callback(self.gateway.close)
        return self

    def stop(self):
        self._open.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


@pytest.fixture
def painter():
    return Painter()


@pytest.fixture
def served(painter):
    capabilities = {
        "size": list(SIZE),
        "sources": SOURCES,
        "body_extent": [-0.95, 0.8],
        "description": "renderer test",
    }
    with Served(
        painter,
        capabilities,
        avatars={"Ada": {"name": "Ada"}, "Grace": {"name": "Grace", "body_extent": [-0.9, 0.7]}},
    ) as served:
        yield served.start()


@pytest.fixture(scope="module")
def start_served():
    """start_served(service) -> Served: an AvatarService behind a page."""
    return lambda service: Served(service.render, service.capabilities()).start()


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, one for all; $DINAR_CHROMIUM names another one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("DINAR_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no chromium here (apt-get install chromium, or set DINAR_CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """An open page: Playwright's, what it complained about, and its picture."""

    def __init__(self, page):
        self.page, self.complaints, self.addresses = page, [], []
        page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("request", lambda r: self.addresses.append(r.url))

    def until(self, script, seconds=20.0):
        """Waits until `script` is true in the page. (The policy of the page forbids what wait_for_function
        does.)"""
        return self.eventually(lambda: self.page.evaluate(script), seconds)

    def shot(self):
        """What is to be seen, u8[H,W,3] RGB."""
        return cv2.imdecode(np.frombuffer(self.page.screenshot(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def eventually(self, condition, seconds=20.0):
        """The first true value of `condition()`, while the page goes on."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "waited too long"
            self.page.wait_for_timeout(20)
        return value

    def drawn(self):
        self.until(
            "document.querySelector('#state').dataset.state === 'live' && Number(document.querySelector('#fps').textContent) > 0"
        )
        return self


@pytest.fixture
def visit(browser):
    """visit(address, width, height, **options of the context) -> Visit, once it shows pictures; closed at the
    end."""
    contexts = []

    def open_page(address, width=1100, height=720, *, wait=True, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            accept_downloads=True,
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        visit = Visit(context.new_page())
        visit.page.goto(address)
        return visit.drawn() if wait else visit

    yield open_page
    for context in contexts:
        context.close()
