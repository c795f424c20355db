"""Parse and run the fenced blocks of the documents.

The word after a block's language says where it is run. ```sh alone, or ```python: by `make test-docs`;
```sh run: by every test run too; ```sh server: where `micromotion serve` runs; ```js replicate: in front of a
server with Replicate's routes (see tests/docs/test_clients.py); ```sh elsewhere: never here, since it needs a
network, a GPU or an account; ```sh setup: first, and the other blocks run in the folder where it ends.
```console run holds commands after a $, each followed by its output.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from micromotion.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
OURS = ("micromotion", "stylegan2", "encoder4editing", "avatar", "benchmarks", "docs")
COMMAND = ("micromotion", ".venv/bin/micromotion")
WAIT = 900  # seconds for one block

_FENCE = re.compile(r"^```(\w+)[ ]*([^\n]*)\n(.*?)^```$", re.M | re.S)
_HEREDOC = re.compile(r"(<<\s*'?(\w+)'?[^\n]*\n).*?^\2$", re.M | re.S)
_LINK = re.compile(r"(!?)\[[^\]]*\]\(([^()\s]+)\)")
_NOT_SIMPLE = re.compile(r"[|;&<>$`*(){}]")


@dataclass(frozen=True)
class Block:
    """A fenced block: its file and first line, its language, the words after that, and its text."""

    file: Path
    line: int
    language: str
    marks: frozenset[str]
    text: str

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(file: Path, *languages: str) -> list[Block]:
    """The blocks of a document in these languages; in all languages if none is given."""
    text = file.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, marks, inside = match.groups()
        if not languages or language in languages:
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(file, line, language, frozenset(marks.split()), inside))
    return found


def links(file: Path) -> list[tuple[bool, str]]:
    """Each link outside of fenced blocks: whether it is a picture, and its target."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8"))
    return [(bool(mark), target) for mark, target in _LINK.findall(text)]


def headings(file: Path) -> set[str]:
    """The anchors that GitHub generates from a document's headings."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# --- checking a block ---------------------------------------------------------------------------------------


def commands(block: Block) -> list[list[str]]:
    """The words of each command in a shell block, or after a $ in a console block."""
    lines = _HEREDOC.sub(r"\1", block.text).replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found: list[list[str]] = []
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        found.append([])
        for word in lexer:
            if set(word) <= set("();<>|&"):
                found.append([])
            elif found[-1] or not re.fullmatch(r"do|then|until|if|[A-Z_]+=.*", word):
                found[-1].append(word)
    return [words for words in found if words]


def check_usage(words: list[str]) -> None:
    """Raise a click error unless these are valid arguments of `micromotion`; runs nothing."""
    rest = [word for word in words if word not in ("--help", "--version")]
    if not rest:
        return
    context = get_command(app).make_context("micromotion", rest)
    while hasattr(context.command, "resolve_command"):
        left = [*context._protected_args, *context.args]
        name, command, left = context.command.resolve_command(context, left)
        assert command is not None
        helped = len(rest) < len(words)
        context = command.make_context(name, left, parent=context, resilient_parsing=helped)


def check_imports(block: Block) -> None:
    """Raise unless everything that a Python block imports from our packages exists."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] in OURS:
                    importlib.import_module(name.name)


# --- running a block ----------------------------------------------------------------------------------------


class Desk:
    """A copy of the checkout made of symlinks, in which the blocks of one document run in order."""

    def __init__(self, folder: Path, *, warm: bool, url: str = "") -> None:
        """warm: run simple `micromotion` commands in this process, where torch is already loaded.

        url: the server to use instead of localhost:5000.
        """
        self.folder, self.warm, self.url = folder, warm, url
        self._names: dict[str, Any] = {"__name__": "__docs__"}
        for path in ROOT.iterdir():
            if path.name not in (".venv", ".git"):
                (folder / path.name).symlink_to(path)
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')

    def do(self, block: Block) -> None:
        """Run a block. Raises AssertionError, with its file and line, if it fails."""
        text = block.text.replace("localhost:5000", self.url.removeprefix("http://") or "localhost:5000")
        if block.language == "python":
            exec(compile(text, block.place, "exec"), self._names)
        elif block.language == "js":
            script = self.folder / "block.mjs"
            script.write_text(text)
            self._in_shell(f"node {script}", block)
        elif block.language == "console":
            self._converse(block)
        elif self.warm and not _NOT_SIMPLE.search(text):
            for words in commands(block):
                self._answer(words, block)
        else:
            shown = self._in_shell(f"{text}\npwd", block)
            if "setup" in block.marks:
                self.folder = Path(shown.splitlines()[-1])

    def _answer(self, words: list[str], block: Block) -> None:
        if words[0] not in COMMAND:
            self._in_shell(shlex.join(words), block)
            return
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{block.place}: {shlex.join(words)}\n{result.output}"

    def _converse(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            line, _, wanted = part.partition("\n")
            words = shlex.split(line)
            if self.warm and words[0] in COMMAND and not _NOT_SIMPLE.search(line):
                shown = CliRunner().invoke(app, words[1:]).output
            else:
                shown = self._in_shell(line, block, fails="micromotion:" in wanted)
            assert shown.rstrip() == wanted.rstrip(), f"{block.place}: {line}\n{shown}"

    def _in_shell(self, text: str, block: Block, *, fails: bool = False) -> str:
        path = f"{Path(sys.executable).parent}:{self.folder}"
        script = f'export PATH="{path}:$PATH" PYTHONPATH="{ROOT}"\n{text}'
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT,
        )
        assert (done.returncode != 0) == fails, f"{block.place}:\n{text}\n{done.stdout}"
        return done.stdout
