"""The page's choice of a renderer, and what it tells of the server's own."""

import pytest

from dinar_live.runtime.stream import RenderedFrame
from dinar_live.runtime.stream.protocol.messages import Rendered

CHOICE = {"fps": 30.0, "renderer": "light", "scale": 1.0, "holds": 40.0, "why": "light: 12 ms a frame"}
CAPABILITIES = {"name": "Ada", "renderers": ["light", "texture"], "renderer": "light"}


@pytest.fixture
def made():
    """What the server says each frame was made with."""
    return [Rendered("light")]


@pytest.fixture
def choosing(painter, made, served):
    """Ada has two renderers, and the server chooses."""
    loop = served.server._render_loop
    loop._render = lambda request: RenderedFrame(painter(request).rgba, rendered=made[0])
    tell(served)
    return served


def tell(served, **choice):
    served.server.update(
        {"Ada": CAPABILITIES | {"size": [256, 256], "quality": CHOICE | choice}, "Grace": {"name": "Grace"}}
    )


@pytest.fixture
def page(visit, choosing):
    return visit(choosing.gateway.url)


def text(page, selector):
    return page.page.inner_text(selector)


def test_the_server_s_choice_is_shown(page, painter):
    page.eventually(lambda: painter.requests and painter.last.renderer == "")
    assert page.page.evaluate("[...document.querySelector('#renderer').options].map((o) => o.text)") == [
        "auto: light",
        "light",
        "texture",
    ]
    assert text(page, "#choice") == CHOICE["why"] and page.complaints == []


def test_a_person_can_choose(page, painter, made):
    page.page.select_option("#renderer", "texture")
    made[0] = Rendered("texture")
    page.eventually(lambda: painter.last.renderer == "texture")
    page.until("document.querySelector('#view').dataset.renderer === 'texture'")
    assert "chosen here" in text(page, "#choice")
    page.page.select_option("#renderer", "")
    page.eventually(lambda: painter.last.renderer == "")


def test_another_choice_of_the_server_is_shown_and_disturbs_nothing(page, choosing, made):
    page.page.select_option("#source", label="dance")
    tell(choosing, renderer="texture", scale=0.5, why="texture at 0.5 of the size: because")
    made[0] = Rendered("texture", 0.5)
    page.until("document.querySelector('#choice').textContent.endsWith('because')")
    assert page.page.evaluate("document.querySelector('#renderer').selectedOptions[0].text") == (
        "auto: texture 50 %"
    )
    assert page.page.evaluate("document.querySelector('#source').selectedOptions[0].text") == "dance"
    assert page.page.get_attribute("#state", "data-state") == "live" and page.complaints == []


def test_an_avatar_without_a_choice_shows_none(page):
    page.page.select_option("#avatar", "Grace")
    page.until("document.querySelector('#name').textContent === 'Grace'")
    assert not page.page.is_visible("#renderer") and not page.page.is_visible("#choice")


def test_a_choice_that_the_next_avatar_does_not_have_is_given_up(page, painter):
    page.page.select_option("#renderer", "texture")
    page.eventually(lambda: painter.last.renderer == "texture")
    page.page.select_option("#avatar", "Grace")
    page.eventually(lambda: (painter.last.avatar, painter.last.renderer) == ("Grace", ""))
