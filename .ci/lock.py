"""Write requirements.lock from pip's report on standard input: every package with the hash of its file.

pip install --dry-run --ignore-installed --quiet --report - -r requirements.txt | python .ci/lock.py
"""

import json
import sys
from pathlib import Path

HEAD = """\
# All that requirements.txt leads to on x86-64 Linux with Python 3.11, each with its SHA-256 (`make lock`).
# pip install --require-hashes --no-deps -r requirements.lock
"""

lines = []
for package in json.load(sys.stdin)["install"]:
    name, version = package["metadata"]["name"].lower().replace("_", "-"), package["metadata"]["version"]
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
Path("requirements.lock").write_text(HEAD + "".join(sorted(lines)))
