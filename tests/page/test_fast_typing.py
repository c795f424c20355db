"""A value typed just before the render button is pressed by keyboard reaches the render, in every field.

If the browser draws its next frame late while a slow server still renders an earlier preview, Gradio would
write the initial value of a new field into it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from page_browser import NEEDS_GRADIO, PATIENCE, RENDER, Served, Visitor, visiting
from playwright.sync_api import Browser, Request, Route

pytestmark = [pytest.mark.browser, NEEDS_GRADIO]

SLOW = """
const draw = window.requestAnimationFrame.bind(window);
const waiting = [];
window.slow = false;
window.requestAnimationFrame = (drawn) => window.slow ? waiting.push(drawn) : draw(drawn);
window.catchUp = () => { window.slow = false; waiting.splice(0).forEach((each) => draw(each)); };
"""
CAUGHT_UP = "() => { window.catchUp(); return new Promise((done) => setTimeout(done, 300)); }"


@dataclass
class Slow:
    """A visitor whose browser draws no frame and whose server answers no request until `catch_up`."""

    visitor: Visitor
    held: list[Route] = field(default_factory=list)
    is_slow: bool = True

    def begin(self) -> None:
        """Become slow: the next preview's request is held."""
        self.visitor.page.route("**/queue/join*", self._handle)
        self.visitor.page.focus("#mm-motion-angry input[type=range]")
        self.visitor.page.keyboard.press("ArrowRight")
        while not self.held:
            self.visitor.page.wait_for_timeout(20)
        self.visitor.page.evaluate("window.slow = true")

    def _handle(self, route: Route) -> None:
        if self.is_slow:
            self.held.append(route)
        else:
            route.continue_()

    def catch_up(self) -> None:
        self.visitor.page.evaluate(CAUGHT_UP)
        self.is_slow = False
        for each in self.held:
            each.continue_()

    def asked(self) -> list[Any]:
        """Catch up, press the render button by keyboard, and return the data of the render request."""
        self.catch_up()
        with self.visitor.page.expect_request(_is_render, timeout=1000 * PATIENCE) as coming:
            self.visitor.page.focus(RENDER)
            self.visitor.page.keyboard.press("Enter")
        self.visitor.page.click("#mm-cancel")
        data: list[Any] = json.loads(coming.value.post_data or "")["data"]
        return data


@pytest.fixture
def slow(chrome: Browser, page: Served) -> Iterator[Slow]:
    """A slow visitor who has chosen a face."""
    with visiting(chrome, page.address) as visitor:
        visitor.page.add_init_script(SLOW)
        visitor.page.reload()
        visitor.wait_for("#mm-sliders input[type=range]")
        visitor.choose_example()
        slow = Slow(visitor)
        slow.begin()
        yield slow


def _is_render(request: Request) -> bool:
    """Whether this is the render request: the only one that has the loop among its inputs."""
    return "queue/join" in request.url and any(
        word in (request.post_data or "") for word in ('"pingpong"', '"once"', '"hold"')
    )


def write(slow: Slow, selector: str, text: str) -> None:
    """Type into a field, key by key, as soon as it exists."""
    slow.visitor.wait_for(selector)
    slow.visitor.page.focus(selector)
    slow.visitor.page.keyboard.press("Control+A")
    slow.visitor.page.keyboard.type(text)


@pytest.mark.parametrize(
    ("name", "place", "text", "value"),
    [("mm-strength", 2, "0.5", 0.5), ("mm-frames", 3, "5", 5), ("mm-fps", 4, "12", 12)],
)
def test_a_typed_number_reaches_the_render(
    slow: Slow, name: str, place: int, text: str, value: float
) -> None:
    slow.visitor.page.click("#mm-more button")
    write(slow, f"#{name} input[type=number]", text)
    assert slow.asked()[place] == value


def test_a_typed_slider_value_reaches_the_render(slow: Slow) -> None:
    slow.visitor.page.click("#mm-more button")
    slow.visitor.wait_for("#mm-frames input[type=range]")
    slow.visitor.page.focus("#mm-frames input[type=range]")
    slow.visitor.page.keyboard.press("Home")
    assert slow.asked()[3] == 1


def test_typed_motions_reach_the_render(slow: Slow) -> None:
    write(slow, "#mm-motion-smile input[type=number]", "0.25")
    slow.visitor.page.focus("#mm-motion-headsTurn input[type=range]")
    slow.visitor.page.keyboard.press("End")
    assert {0.25, 2} <= set(slow.asked()[14:])  # behind the faces and the fields of a driving video


@pytest.mark.parametrize(
    ("name", "choice", "place"),
    [("mm-easing", "linear", 5), ("mm-view", "face", 6), ("mm-loop", "hold", 7)],
)
def test_a_typed_choice_reaches_the_render(slow: Slow, name: str, choice: str, place: int) -> None:
    slow.visitor.page.click("#mm-more button")
    slow.visitor.wait_for(f"#{name} input[value={choice}]")
    slow.visitor.page.focus(f"#{name} input[value={choice}]")
    slow.visitor.page.keyboard.press("Space")
    assert slow.asked()[place] == choice


def test_a_typed_timeline_reaches_the_render(slow: Slow) -> None:
    slow.visitor.page.check("#mm-mode input[value=Timeline]")
    write(slow, "#mm-text textarea", "0.2s smile")
    assert slow.asked()[:2] == ["Timeline", "0.2s smile"]


def test_a_field_keeps_what_was_written_when_it_is_hidden_and_shown_again(slow: Slow) -> None:
    slow.visitor.page.check("#mm-mode input[value=Timeline]")
    write(slow, "#mm-text textarea", "0.2s smile")
    slow.visitor.page.check("#mm-mode input[value=Sliders]")
    write(slow, "#mm-motion-smile input[type=number]", "0.25")
    slow.visitor.page.check("#mm-mode input[value=Timeline]")
    assert slow.visitor.page.input_value("#mm-text textarea") == "0.2s smile"
    assert slow.asked()[:2] == ["Timeline", "0.2s smile"]
    slow.visitor.page.check("#mm-mode input[value=Sliders]")
    assert slow.visitor.page.input_value("#mm-motion-smile input[type=number]") == "0.25"
