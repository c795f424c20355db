"""Where a file can be fetched from: a plain address, a repository on the Hugging Face hub, or Google Drive.

Only names and addresses; `micromotion.weights.download` makes the requests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

HUB = "https://huggingface.co"
DRIVE = "https://drive.usercontent.google.com"
GOOGLE_HOSTS = frozenset({"drive.usercontent.google.com", "drive.google.com"})
MAX_PAGE_BYTES = 1 << 20  # of Google's warning page before a large file


@dataclass(frozen=True)
class Url:
    """A plain http or https address; unpack="bz2" if the file there is compressed by bzip2."""

    address: str
    unpack: Literal["bz2"] | None = None

    @property
    def label(self) -> str:
        """The name of this source in error messages."""
        return _host(self.address)

    def headers(self) -> dict[str, str]:
        """Request headers: none."""
        return {}


@dataclass(frozen=True)
class Hub:
    """A file in a repository on the Hugging Face hub, or on the mirror that HF_ENDPOINT names.

    base, if given, overrides both, for tests.
    """

    repo: str
    path: str
    revision: str = "main"
    base: str | None = None

    @property
    def address(self) -> str:
        base = (self.base or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        return f"{base}/{quote(self.repo)}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"

    @property
    def label(self) -> str:
        """The name of this source in error messages."""
        return f"{_host(self.address)}/{self.repo}"

    def headers(self) -> dict[str, str]:
        """HF_TOKEN as authorisation, if set; never over plain http, except to this machine."""
        token = os.environ.get("HF_TOKEN", "").strip()
        address = urlsplit(self.address)
        private = address.scheme == "https" or address.hostname in ("127.0.0.1", "::1", "localhost")
        if not (private and token and token.isascii() and token.isprintable()):
            return {}
        return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Drive:
    """A publicly readable file on Google Drive, by its id; base is for tests."""

    id: str
    base: str = DRIVE

    @property
    def address(self) -> str:
        query = urlencode({"id": self.id, "export": "download", "confirm": "t"})
        return f"{self.base.rstrip('/')}/download?{query}"

    @property
    def label(self) -> str:
        """The name of this source in error messages."""
        return "Google Drive"

    def headers(self) -> dict[str, str]:
        """Request headers: none."""
        return {}

    def confirmed(self, page: str) -> str | None:
        """The file's direct address, from Google's page that says the file is too large to scan for viruses.

        The page has one form, `download-form`, whose hidden fields are the address's query. None if there is
        no such form, it is for another file, or it leads anywhere but to Google (or `base`), or from https to
        http.
        """
        form = _DownloadForm()
        form.feed(page[:MAX_PAGE_BYTES])
        try:
            action, base = urlsplit(form.action), urlsplit(self.base)
            known = action.netloc == base.netloc or action.netloc in GOOGLE_HOSTS
        except ValueError:
            return None
        if not known or action.scheme not in {"https", base.scheme}:
            return None
        if form.forms != 1 or form.fields.get("id") != self.id or "confirm" not in form.fields:
            return None
        return action._replace(query=urlencode(form.fields), fragment="").geturl()


Source = Url | Hub | Drive


class _DownloadForm(HTMLParser):
    """Parses the form whose id is `download-form`: its action, and the fields listed in FIELDS."""

    FIELDS = frozenset({"id", "export", "confirm", "uuid", "authuser", "at"})

    def __init__(self) -> None:
        super().__init__()
        self.forms = 0
        self.action = ""
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._inside = values.get("id") == "download-form"
            if self._inside:
                self.forms += 1
                self.action = values.get("action", "")
        elif tag == "input" and self._inside and values.get("name") in self.FIELDS:
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def _host(address: str) -> str:
    """The host and port of an address, without any user name or password in it."""
    try:
        return urlsplit(address).netloc.rpartition("@")[2] or address
    except ValueError:
        return address
