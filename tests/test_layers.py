"""Imports go one way: each package imports only those below it, without cycles."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = {"errors", "options", "option_checks", "face_selection", "types", "__version__"}
LOWER = {"runtime", *SHARED}
STEPS = {"credentials", "face", "inversion", "motion", "photo", "video", "learn", "drive", "weights"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "option_checks": {"errors"},
    "face_selection": {"errors", "option_checks"},
    "options": {"errors", "face_selection", "option_checks"},
    "runtime": SHARED,
    **dict.fromkeys(STEPS, LOWER | STEPS),
    "animation": LOWER | STEPS,
    "encoding": LOWER | STEPS | {"animation"},
    "driving": LOWER | STEPS | {"animation", "encoding"},
    "animator": LOWER | STEPS | {"animation", "encoding", "driving"},
    "batch": LOWER | STEPS | {"animation", "animator", "encoding"},
    "inspection": LOWER | STEPS,
    "service": LOWER | STEPS | {"animation", "animator"},
    "page": LOWER | STEPS | {"animation", "animator"},
    "cli": LOWER | STEPS | {"animation", "animator", "inspection", "batch", "service", "page"},
    "__init__": LOWER | STEPS | {"animation", "animator"},
    "__main__": {"cli"},
}
"""Each package or top-level module of `micromotion`, and which of the others it may import."""
PACKAGES = {
    "stylegan2": {"stylegan2"},
    "encoder4editing": {"encoder4editing", "stylegan2"},
    "micromotion": {"micromotion", "encoder4editing", "stylegan2"},
}
OURS = {*PACKAGES, "avatar", "benchmarks", "tools", "predict"}


@cache
def imported(path: Path) -> set[str]:
    """The full names of everything that a module imports, also within functions and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms() -> dict[str, set[str]]:
    """Each package -> the other packages that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "micromotion").rglob("*.py"):
        room = path.relative_to(ROOT / "micromotion").with_suffix("").parts[0]
        for name in imported(path):
            package, _, rest = name.partition(".")
            if package == "micromotion" and (other := rest.partition(".")[0]) != room:
                found[room].add(other)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_below(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        known = {name.partition(".")[0] for name in imported(path)} & OURS
        assert known <= PACKAGES[package], path


def test_every_part_is_listed_and_imports_only_those_below() -> None:
    for room, known in rooms().items():
        assert room in ALLOWED, f"add {room} to ALLOWED"
        assert known <= ALLOWED[room], f"{room} must not import {known - ALLOWED[room]}"


def test_there_are_no_cyclic_imports() -> None:
    graph = {room: known for room, known in rooms().items() if room != "__init__"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"cyclic imports: {' → '.join(error.args[1])}")


def test_there_are_few_top_level_modules() -> None:
    modules = [path.name for path in (ROOT / "micromotion").glob("*.py")]
    assert len(modules) <= 12, sorted(modules)
