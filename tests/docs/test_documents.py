"""The documents: their commands work, and their links exist.

`make test-docs` runs every block; otherwise only those marked to be run, and the others are checked
statically. See `doc_blocks` for the marks.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import (
    COMMAND,
    ROOT,
    Block,
    Desk,
    blocks,
    check_imports,
    check_usage,
    commands,
    documents,
    headings,
    links,
)
from running_server import start, stop

from tools.pictures.__main__ import PICTURES

pytestmark = pytest.mark.slow

EVERYTHING = os.environ.get("DOCS") == "all"
MARKS = {"run", "server", "replicate", "elsewhere", "setup"}
SHELLS = ("sh", "console")
GENERATED = ("avatar.md", "claims.md", "likeness.md")  # written by programs, with their pictures


def named(value: object) -> str:
    return value.place if isinstance(value, Block) else str(getattr(value, "name", value))


def every(*languages: str) -> list[Block]:
    return [block for file in documents() for block in blocks(file, *languages)]


# --- static checks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_links_and_pictures_exist(file: Path) -> None:
    for _, target in links(file):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, place = target.partition("#")
        found = (file.parent / path).resolve() if path else file
        assert found.exists(), f"{file.name} leads to {target}"
        if place:
            assert place in headings(found), f"{file.name} leads to {target}"


def test_every_block_is_recognised() -> None:
    """An unclosed fence or a misspelt mark would silently skip a block."""
    for file in documents():
        text = file.read_text(encoding="utf-8")
        assert text.count("\n```") % 2 == 0, file
    for block in every("sh", "python", "js", "console"):
        assert block.marks <= MARKS, block.place
    assert not every("bash", "shell", "javascript", "py")


@pytest.mark.parametrize("block", every(*SHELLS), ids=named)
def test_documented_commands_are_valid(block: Block) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for words in commands(block):
        if words[0] in COMMAND and words[1:]:
            check_usage([re.sub(r"\$\{?\w+\}?", "1", word) for word in words[1:]])
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, words
        elif words[:3] == ["python", "-m", "tools.pictures"]:
            assert set(words[3:]) <= {Path(name).stem for name in PICTURES}


def test_a_wrong_command_is_found() -> None:
    """Shows that the test above can fail."""
    for line in (
        "animate photo.jpg --mtion smile",
        "animat photo.jpg",
        "animate p.jpg --loop twice",
        "motions x",
    ):
        with pytest.raises(Exception, match=r".+"):
            check_usage(line.split())


@pytest.mark.parametrize("block", every("python"), ids=named)
def test_documented_imports_exist(block: Block) -> None:
    check_imports(block)


def test_documented_service_inputs_are_valid() -> None:
    """In Python, JavaScript and curl; literal values are checked too."""
    schemas = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]
    known = schemas["Input"]["properties"]
    seen = 0
    for block in every("python", "js", "sh"):
        for name, value in _inputs(block):
            seen += 1
            assert name in known, f"{block.place}: {name}"
            about: dict[str, Any] = known[name]
            if "allOf" in about:
                about = schemas[name]
            assert value is None or value in about.get("enum", [value]), f"{block.place}: {name}={value}"
    assert seen > 20


def _inputs(block: Block) -> Iterator[tuple[str, object]]:
    """The names, and the values if they are strings, of the inputs that a block sends."""
    text = block.text.replace('\\"', '"')
    if block.language == "python" and "input={" in text:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.keyword) and node.arg == "input" and isinstance(node.value, ast.Dict):
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    assert isinstance(key, ast.Constant)
                    yield str(key.value), value.value if isinstance(value, ast.Constant) else None
        return
    for inside in re.findall(r'"?input"?: \{((?:[^{}]|\$\{[^}]*\})*)\}', text):
        for name, value in re.findall(
            r'"?\b(\w+)"?: (?:"(\w*)")?', re.sub(r"[`\"]data:[^`\"]*[`\"]", "x", inside)
        ):
            yield name, value or None


# --- pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [f for f in documents() if f.parent.name == "docs"], ids=named)
def test_every_picture_has_the_command_that_makes_it(file: Path) -> None:
    if file.name in GENERATED:
        pytest.skip("written by its own command")
    text = file.read_text(encoding="utf-8")
    for match in re.finditer(r"^!\[[^\]]+\]\((method/([\w-]+)\.\w+)\)\n\n(.*)$", text, re.M):
        assert match[3] == f"`.venv/bin/python -m tools.pictures {match[2]}`", match[1]
    shown = {Path(target).name for picture, target in links(file) if picture and "method/" in target}
    assert shown <= PICTURES.keys()
    assert len(re.findall(r"tools\.pictures [\w-]+`$", text, re.M)) == len(shown)


def test_no_picture_is_unused() -> None:
    linked = {Path(target).name for file in documents() for picture, target in links(file) if picture}
    there = {path.name for path in (ROOT / "docs/method").iterdir()}
    assert there == PICTURES.keys()
    assert there <= linked


# --- running ------------------------------------------------------------------------------------------------


def chosen(file: Path) -> list[Block]:
    """The blocks of a document to run."""
    found = blocks(file, "sh", "python", "js", "console")
    if EVERYTHING:
        return [block for block in found if not block.marks & {"elsewhere", "replicate"}]
    return [block for block in found if block.marks & {"run", "setup"}]


TRIED = [file for file in documents() if file.parent.name == "docs" and blocks(file) and any(chosen(file))]


@pytest.mark.parametrize("file", TRIED, ids=named)
def test_the_blocks_of_a_document_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    todo = chosen(file)
    if any(block.language == "js" for block in todo) and shutil.which("node") is None:
        todo = [block for block in todo if block.language != "js"]
    url = request.getfixturevalue("url") if any("server" in block.marks for block in todo) else ""
    root = tmp_path / "checkout"
    root.mkdir()
    desk = Desk(root, warm=not EVERYTHING, url=url)
    for block in todo:
        monkeypatch.chdir(desk.folder)
        desk.do(block)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a `micromotion serve` with the embedded model."""
    server = start(tmp_path_factory.mktemp("server"))
    try:
        yield server.url
    finally:
        stop(server, signal.SIGTERM)
