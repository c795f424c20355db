#!/usr/bin/env bash
# Replicate's JavaScript client for the test of its example, in .venv/node; without npm that test is skipped.
set -euo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
mkdir -p .venv/node
cp .ci/node/package.json .ci/node/package-lock.json .venv/node/
cd .venv/node
if ! npm ci --ignore-scripts --omit=optional --no-audit --no-fund >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "Replicate's JavaScript client could not be installed: the test of its example will be skipped." >&2
fi
