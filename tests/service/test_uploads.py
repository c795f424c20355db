"""Input files in Cog: its own handling is replaced by ours."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from micromotion.errors import DownloadError
from micromotion.service import uploads

CONTENT = bytes(range(256)) * 1000


def test_cog_uses_our_file_handling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in its worker: validate() turns a string into a path, whose deletion leaves no file."""
    from cog import types

    monkeypatch.setattr(types.Path, "validate", types.Path.validate)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uploads.install()
    sent = types.Path.validate("data:image/png;base64," + base64.b64encode(CONTENT).decode())
    assert isinstance(sent, types.Path)
    assert not isinstance(sent, types.URLPath), "for which Cog would start threads"
    assert (sent.read_bytes(), sent.suffix) == (CONTENT, ".png")
    assert list(tmp_path.iterdir()) == [sent]
    kept = [sent]
    del sent
    uploads.discard(kept[0], "no file of ours", None)
    assert list(tmp_path.iterdir()) == []
    sent = types.Path.validate("data:,x")
    del sent
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DownloadError):
        types.Path.validate("http://127.0.0.1:1/a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["DATA:,x", " data:,x", "\n\tData:;base64,eA"])
def test_urls_that_cog_does_not_recognise_are_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from cog import types

    monkeypatch.setattr(types.Path, "validate", types.Path.validate)
    uploads.install()
    sent = uploads.as_sent(url)
    assert isinstance(sent, types.Path)
    assert sent.read_bytes() == b"x"
    assert uploads.as_sent("data/x.png") == "data/x.png"
    assert uploads.as_sent(None) is None
