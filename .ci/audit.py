"""Audit requirements.lock by what pip reports of the package index; write docs/licences.md.

sed 's/ --hash.*//' requirements.lock > PINS
pip install --dry-run --ignore-installed --no-deps --quiet --report - -r PINS | python .ci/audit.py

Ends with 1 if a package was yanked, has another hash than the lock, is needed by nothing, or states no
licence. Known vulnerabilities are pip-audit's part. Licences are read here, as pip-licenses knows those of
installed packages alone, and not everything in the lock is installed on the machine that audits.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

OLDEST_PIP = Version("25.1")  # older ones report no yanked files, or no licence expressions
SAID_ELSEWHERE = {
    "clip-anytorch": "MIT",  # in the file LICENSE of its source
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # names other packages, has no files
    "nvidia-nvtx": "Apache-2.0",
}
"""Of packages whose description says nothing, or two things."""

HEAD = """\
# Licences of what the container installs

Each package of `requirements.lock` with the licence that it states; `make audit` writes this page. Wheels
carry libraries of others too: `av` has FFmpeg with x264 and x265, which are under the GPL.

| package | version | licence |
|---|---|---|
"""


def licence(about: dict[str, Any]) -> str:
    """What a package states, in one line; "" if nothing."""
    name = canonicalize_name(about["name"])
    if name in SAID_ELSEWHERE:
        return SAID_ELSEWHERE[name]
    classified = [each.rpartition(" :: ")[2] for each in about.get("classifier", []) if "License ::" in each]
    first_line = (about.get("license") or "").strip().partition("\n")[0]
    told = [about.get("license_expression") or "", *classified, "" if first_line == "UNKNOWN" else first_line]
    return next(filter(None, told), "")


def needed(packages: dict[str, dict[str, Any]]) -> set[str]:
    """What requirements.txt leads to, on x86-64 Linux with Python 3.11."""
    machine = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    python = {"python_version": "3.11", "python_full_version": "3.11.0"}
    lines = Path("requirements.txt").read_text().splitlines()
    todo = [(Requirement(line), "") for line in lines if line and not line.startswith("#")]
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker and not wanted.marker.evaluate({**machine, **python, "extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        found.add(name)
        for each in ("", *wanted.extras):
            if (name, each) not in seen and name in packages:
                seen.add((name, each))
                todo += [(Requirement(line), each) for line in packages[name].get("requires_dist", [])]
    return found


def main() -> int:
    lock = Path("requirements.lock").read_text()
    hashes = dict(re.findall(r"^(\S+)==\S+ --hash=sha256:(\w{64})$", lock, re.MULTILINE))
    answer = json.load(sys.stdin)
    if Version(answer["pip_version"]) < OLDEST_PIP:
        print(f"pip {answer['pip_version']} reports too little: .venv/bin/pip install --upgrade pip")
        return 1
    report = answer["install"]
    packages = {canonicalize_name(each["metadata"]["name"]): each["metadata"] for each in report}
    wanted = needed(packages)
    problems = [f"{name} is locked and not on the index" for name in hashes.keys() - packages.keys()]
    problems += [f"{name} is needed and not locked" for name in wanted - hashes.keys()]
    for each in report:
        name = canonicalize_name(each["metadata"]["name"])
        if each["is_yanked"]:
            problems.append(f"{name} was yanked")
        if each["download_info"]["archive_info"]["hashes"]["sha256"] != hashes[name]:
            problems.append(f"{name} has another hash than the lock")
        if name not in wanted:
            problems.append(f"{name} is needed by nothing")
        if not licence(each["metadata"]):
            problems.append(f"{name} states no licence")
    rows = [
        f"| {name} | {packages[name]['version']} | {licence(packages[name])} |" for name in sorted(packages)
    ]
    Path("docs/licences.md").write_text(HEAD + "\n".join(rows) + "\n")
    print(*problems, f"{len(packages)} packages, {len(problems)} problems", sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
