"""Each public name has an example in its docstring, which runs as it stands there."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest
from running_server import ROOT

import micromotion

FINDER = doctest.DocTestFinder(recurse=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", micromotion.__all__)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    public = getattr(micromotion, name)
    names = vars(sys.modules[public.__module__]).copy()
    (example,) = FINDER.find(public, name, globs=names)
    assert example.examples, f"{name} has no example"
    failed, _ = doctest.DocTestRunner().run(example)
    assert failed == 0
