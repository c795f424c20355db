"""`make test-quick` leaves out marked tests: browser tests are marked, and every folder has quick tests."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
LEFT_OUT = ("slow", "browser", "gpu")
MODULES = sorted(TESTS.rglob("test_*.py"))


def marks_of_all(module: Path) -> set[str]:
    """The markers of all tests of a module."""
    found = re.search(r"^pytestmark = (\[.*?\]|.*?)$", module.read_text(encoding="utf-8"), re.S | re.M)
    return set(re.findall(r"pytest\.mark\.(\w+)", found[1])) if found else set()


@pytest.mark.parametrize("room", sorted({module.parent for module in MODULES}), ids=lambda room: room.name)
def test_every_folder_has_quick_tests(room: Path) -> None:
    modules = [module for module in MODULES if module.parent == room]
    assert any(marks_of_all(module).isdisjoint(LEFT_OUT) for module in modules)


def test_browser_tests_are_marked() -> None:
    driving = re.compile(r"\b(chrome|visiting|sync_playwright)\b")
    for module in MODULES:
        if driving.search(module.read_text(encoding="utf-8")) and module != Path(__file__):
            assert "browser" in marks_of_all(module), module


def test_the_quick_tests_are_those_without_a_mark() -> None:
    rule = (TESTS.parent / "Makefile").read_text(encoding="utf-8").split("\ntest-quick:")[1].split("\n\n")[0]
    assert '-m "' + " and ".join(f"not {mark}" for mark in LEFT_OUT) + '"' in rule
