"""What is typed and followed at once by the keyboard's way to the button is in the film: in every field.

A slow browser draws its next frame late, and a slow server still draws an earlier preview: then Gradio would
write the first value of a field that it has just made into it once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from page_browser import RENDER, Served, Visitor, browser, served, visiting
from playwright.sync_api import Browser, Request, Route

pytest.importorskip("gradio", reason="the extra `page` is not installed")

SLOW = """
const draw = window.requestAnimationFrame.bind(window);
const waiting = [];
window.slow = false;
window.requestAnimationFrame = (drawn) => window.slow ? waiting.push(drawn) : draw(drawn);
window.catchUp = () => { window.slow = false; waiting.splice(0).forEach((each) => draw(each)); };
"""
SETTLED = "() => { window.catchUp(); return new Promise((done) => setTimeout(done, 300)); }"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def visitor(chrome: Browser, page: Served) -> Iterator[Visitor]:
    """Somebody with a slow browser, in front of a face."""
    with visiting(chrome, page.address) as arrived:
        arrived.page.add_init_script(SLOW)
        arrived.page.reload()
        arrived.wait_for("#mm-sliders input[type=range]")
        arrived.sit()
        held: list[Route] = []
        arrived.page.route("**/queue/join", lambda route: held.append(route))
        arrived.page.focus("#mm-motion-angry input[type=range]")
        arrived.page.keyboard.press("ArrowRight")
        eventually_held(arrived, held)
        arrived.page.evaluate("window.slow = true")
        arrived.catch_up = lambda: _catch_up(arrived, held)  # type: ignore[attr-defined]
        yield arrived


def eventually_held(visitor: Visitor, held: list[Route]) -> None:
    while not held:
        visitor.page.wait_for_timeout(20)


def _catch_up(visitor: Visitor, held: list[Route]) -> None:
    visitor.page.evaluate(SETTLED)
    visitor.page.unroute("**/queue/join")
    for each in held:
        each.continue_()


def asked(visitor: Visitor) -> list[Any]:
    """The browser catches up, the button is pressed by the keyboard; what the film is then asked for with."""
    visitor.catch_up()  # type: ignore[attr-defined]
    with visitor.page.expect_request(_is_film) as coming:
        visitor.page.focus(RENDER)
        visitor.page.keyboard.press("Enter")
    visitor.page.click("#mm-cancel")
    data: list[Any] = json.loads(coming.value.post_data or "")["data"]
    return data


def _is_film(request: Request) -> bool:
    """The one request whose inputs have the way that a film is played."""
    return "queue/join" in request.url and any(
        word in (request.post_data or "") for word in ('"pingpong"', '"once"', '"hold"')
    )


def write(visitor: Visitor, selector: str, text: str) -> None:
    """Into a field, as soon as it is there, key by key."""
    visitor.wait_for(selector)
    visitor.page.focus(selector)
    visitor.page.keyboard.press("Control+A")
    visitor.page.keyboard.type(text)


@pytest.mark.parametrize(
    ("field", "place", "text", "value"),
    [("mm-strength", 2, "0.5", 0.5), ("mm-frames", 3, "5", 5), ("mm-fps", 4, "12", 12)],
)
def test_a_number_is_taken(visitor: Visitor, field: str, place: int, text: str, value: float) -> None:
    visitor.page.click("#mm-more button")
    write(visitor, f"#{field} input[type=number]", text)
    assert asked(visitor)[place] == value


def test_a_slider_is_taken(visitor: Visitor) -> None:
    visitor.page.click("#mm-more button")
    visitor.wait_for("#mm-frames input[type=range]")
    visitor.page.focus("#mm-frames input[type=range]")
    visitor.page.keyboard.press("Home")
    assert asked(visitor)[3] == 1


def test_the_motions_are_taken(visitor: Visitor) -> None:
    write(visitor, "#mm-motion-smile input[type=number]", "0.25")
    visitor.page.focus("#mm-motion-headsTurn input[type=range]")
    visitor.page.keyboard.press("End")
    assert {0.25, 2} <= set(asked(visitor)[8:])


@pytest.mark.parametrize(
    ("field", "choice", "place"),
    [("mm-easing", "linear", 5), ("mm-loop", "hold", 6), ("mm-view", "photo", 7)],
)
def test_a_choice_is_taken(visitor: Visitor, field: str, choice: str, place: int) -> None:
    visitor.page.click("#mm-more button")
    visitor.wait_for(f"#{field} input[value={choice}]")
    visitor.page.focus(f"#{field} input[value={choice}]")
    visitor.page.keyboard.press("Space")
    assert asked(visitor)[place] == choice


def test_a_timeline_is_taken(visitor: Visitor) -> None:
    visitor.page.check("#mm-mode input[value=Timeline]")
    write(visitor, "#mm-text textarea", "0.2s smile")
    assert asked(visitor)[:2] == ["Timeline", "0.2s smile"]


def test_a_field_keeps_what_was_written_when_it_is_hidden_and_shown_again(visitor: Visitor) -> None:
    visitor.page.check("#mm-mode input[value=Timeline]")
    write(visitor, "#mm-text textarea", "0.2s smile")
    visitor.page.check("#mm-mode input[value=Sliders]")
    write(visitor, "#mm-motion-smile input[type=number]", "0.25")
    visitor.page.check("#mm-mode input[value=Timeline]")
    assert visitor.page.input_value("#mm-text textarea") == "0.2s smile"
    assert asked(visitor)[:2] == ["Timeline", "0.2s smile"]
    visitor.wait_for(RENDER)
    visitor.page.check("#mm-mode input[value=Sliders]")
    assert visitor.page.input_value("#mm-motion-smile input[type=number]") == "0.25"
