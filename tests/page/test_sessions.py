"""The page's sessions: what they hold, within which limits, and what is deleted with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from micromotion.errors import ImageError, OptionError
from micromotion.page import sessions
from micromotion.page.sessions import ChosenFace, Sessions, take_upload


def someone(width: int = 100) -> ChosenFace:
    return ChosenFace(Image.new("RGB", (width, 100)), [], 0, torch.zeros(1))


def test_sessions_share_no_state(tmp_path: Path) -> None:
    everyone = Sessions(tmp_path)
    assert everyone["a"] is everyone["a"]
    everyone["a"].chosen_face = someone()
    with pytest.raises(OptionError, match="no face yet"):
        everyone["b"].require_face()
    assert everyone["a"].folder != everyone["b"].folder


def test_closing_a_session_deletes_its_files(tmp_path: Path) -> None:
    everyone = Sessions(tmp_path)
    session = everyone["a"]
    session.chosen_face = someone()
    session.new_video_path("video.mp4").write_bytes(b"video")
    other = everyone["b"].new_video_path("video.mp4")
    other.write_bytes(b"another")
    everyone.close("a")
    everyone.close("never was here")
    assert session.stop.is_set()
    assert session.chosen_face is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    everyone.close_all()
    assert list(tmp_path.iterdir()) == []


def test_a_new_video_replaces_the_old_one(tmp_path: Path) -> None:
    session = Sessions(tmp_path)["a"]
    old = session.new_video_path("video.mp4")
    old.write_bytes(b"video")
    new = session.new_video_path("video.mp4")
    assert new != old, "else a browser would show the old one from its cache"
    assert not old.exists()


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    monkeypatch.setattr(sessions, "MAX_PIXELS", 25_000)
    everyone = Sessions(tmp_path)
    first = everyone["0"]
    for name in "123":
        everyone[name]
    assert first.stop.is_set(), "the least recently used"
    assert len(everyone) == 3
    big = everyone["4"]
    everyone["3"].chosen_face = someone(200)
    big.chosen_face = someone(200)
    everyone["4"]
    assert len(everyone) == 1
    assert everyone["4"] is big, "but never the current session"


def test_stale_uploads_are_deleted(tmp_path: Path) -> None:
    everyone = Sessions(tmp_path)
    video = everyone["a"].new_video_path("video.mp4")
    video.write_bytes(b"video")
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "photo.jpg").write_bytes(b"photo")
    everyone.sweep()
    assert (tmp_path / "hash").exists()
    everyone.sweep(age=-1)
    assert not (tmp_path / "hash").exists()
    assert video.exists()


def test_an_upload_is_deleted_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    (folder / "hash").mkdir(parents=True)
    for name in ("one.jpg", "two.jpg"):
        (folder / "hash" / name).write_bytes(name.encode())
    assert take_upload(folder / "hash" / "one.jpg", folder) == b"one.jpg"
    assert take_upload(folder / "hash" / "two.jpg", folder) == b"two.jpg"
    assert list(folder.iterdir()) == []
    with pytest.raises(ImageError, match="did not arrive"):
        take_upload(folder / "hash" / "two.jpg", folder)


def test_no_other_file_is_read_or_deleted(tmp_path: Path) -> None:
    folder, ours = tmp_path / "uploads", tmp_path / "ours.jpg"
    folder.mkdir()
    ours.write_bytes(b"ours")
    (folder / "link.jpg").symlink_to(ours)
    for path in (ours, folder / ".." / "ours.jpg", folder / "link.jpg"):
        with pytest.raises(ImageError, match="did not arrive"):
            take_upload(path, folder)
    assert ours.read_bytes() == b"ours"
