"""The containers' dependencies: every version is pinned, and the lock files contain all with hashes."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from running_server import ROOT

LINE = re.compile(r"([a-z0-9.-]+)==([^ ]+) --hash=sha256:([0-9a-f]{64})")


def pins(file: str = "requirements.txt") -> dict[str, str]:
    """The pins of a file."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and line[0] != "#"]
    found = [(Requirement(line).name, line.partition("==")[2]) for line in lines]
    return {canonicalize_name(name): version for name, version in found}


def locked(file: str = "requirements.lock") -> dict[str, str]:
    """The pins of a lock."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line[0] != "#"]
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), "every line is one version of one package with one hash"
    return {canonicalize_name(found[1]): found[2] for found in matches if found}


def test_the_locks_contain_the_pins() -> None:
    assert pins().items() <= locked().items()
    assert pins("deploy/requirements.txt").items() <= locked("deploy/requirements.lock").items()


def test_a_package_is_in_one_lock() -> None:
    assert not locked().keys() & locked("deploy/requirements.lock").keys()


def test_the_extra_allows_what_is_deployed() -> None:
    extras = [each for each in metadata.requires("micromotion") or [] if "scale" in each.partition(";")[2]]
    wanted = [Requirement(each) for each in extras]
    assert len(wanted) == 3
    for each in wanted:
        assert each.specifier.contains(pins("deploy/requirements.txt")[canonicalize_name(each.name)])


def test_every_dependency_of_ours_is_pinned() -> None:
    declared = {canonicalize_name(Requirement(each).name) for each in metadata.requires("micromotion") or []
                if "extra" not in each}  # fmt: skip
    assert declared <= pins().keys()


def test_the_locks_are_closed() -> None:
    """The dependencies of locked packages on Linux are locked too; checked for installed ones."""
    environment: dict[str, Any] = {
        **default_environment(),
        "extra": "",
        "sys_platform": "linux",
        "platform_system": "Linux",
    }
    environment |= {"platform_machine": "x86_64", "python_version": "3.11", "python_full_version": "3.11.0"}
    names = locked() | locked("deploy/requirements.lock")
    checked = 0
    for name, version in names.items():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.version != version:
            continue
        checked += 1
        for each in map(Requirement, found.requires or []):
            if each.marker is None or each.marker.evaluate(environment):
                assert canonicalize_name(each.name) in names, f"{name} needs {each}"
                assert each.specifier.contains(names[canonicalize_name(each.name)], prereleases=True)
    if checked < len(names) / 2:
        pytest.skip("other versions are installed here")


def test_the_licences_of_all_that_is_locked_are_listed() -> None:
    """`make audit` writes the list."""
    rows = re.findall(
        r"^\| (\S+) \| (\S+) \| (.+) \|$", (ROOT / "docs/licences.md").read_text(), re.MULTILINE
    )
    assert {name: version for name, version, _ in rows if name != "package"} == locked()
