#!/usr/bin/env bash
# A Chromium for the tests of the page, where there is none and one can be had; without one they are skipped.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
from_debian() {
    [ "$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release && command -v apt-get || return 1
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium
}
from_playwright() {
    deps=()
    [ "$(id -u)" = 0 ] && deps=(--with-deps)
    timeout 600 .venv/bin/playwright install "${deps[@]}" chromium-headless-shell
}
if ! { from_debian || from_playwright; } >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "There is no Chromium, and none could be installed: the page's tests in a browser will be skipped." >&2
fi
