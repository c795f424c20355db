"""docs/hub.md, README.md and SECURITY.md state the bounds of the code for what is taken from the hub."""

from __future__ import annotations

import re

from running_server import ROOT

from micromotion.motion.library import MAX_BYTES
from micromotion.weights.bundle_record import MAX_ABOUT_BYTES
from micromotion.weights.hub import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES


def test_the_bounds_are_those_of_the_code() -> None:
    page = (ROOT / "docs/hub.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+) \| (\d+(?: MB)?) \|$", page, re.M))
    assert rows == {
        "files of a model": f"{MAX_FILES}",
        "one of them": f"{MAX_FILE_BYTES >> 20} MB",
        "all of them": f"{MAX_TOTAL_BYTES >> 20} MB",
        "`bundle.json`": f"{MAX_ABOUT_BYTES >> 20} MB",
        "a motion": f"{MAX_BYTES >> 20} MB",
    }
    bounds = f"{MAX_FILES} files, {MAX_FILE_BYTES >> 20} MB each, {MAX_TOTAL_BYTES >> 20} MB in all"
    for name in ("README.md", "SECURITY.md"):
        assert bounds in (ROOT / name).read_text(encoding="utf-8"), name
