"""Write a lock from pip's report on standard input: every package with the hash of its file.

pip install --dry-run --ignore-installed --quiet --report - -r X.txt | python .ci/lock.py X.lock

A second file names packages that are left out, as they are locked there.
"""

import json
import sys
from pathlib import Path

HEAD = """\
# All that {of} leads to on x86-64 Linux with Python 3.11{but}, each with its SHA-256 (`make lock`).
# pip install --require-hashes --no-deps -r {lock}
"""

lock = Path(sys.argv[1])
others = set(Path(sys.argv[2]).read_text().splitlines()) if len(sys.argv) > 2 else set()
lines = set()
for package in json.load(sys.stdin)["install"]:
    name, version = package["metadata"]["name"].lower().replace("_", "-"), package["metadata"]["version"]
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    lines.add(f"{name}=={version} --hash=sha256:{digest}")
but = f" beside {sys.argv[2]}" if others else ""
head = HEAD.format(of=lock.with_suffix(".txt"), lock=lock, but=but)
lock.write_text(head + "".join(f"{line}\n" for line in sorted(lines - others)))
