"""The page's sessions: what they hold, within which limits, and what is deleted with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from micromotion.errors import ImageError, OptionError
from micromotion.page import sessions
from micromotion.page.clips import Clip
from micromotion.page.sessions import ChosenFace, Sessions, move_upload, take_upload
from micromotion.video.driving_video import DrivingVideoError


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


def test_a_driving_video_is_kept_until_the_next_one_or_the_end(tmp_path: Path) -> None:
    everyone = Sessions(tmp_path)
    session = everyone["a"]
    with pytest.raises(OptionError, match="no video to follow yet"):
        session.require_clip()
    paths = []
    for _ in range(2):
        path = session.new_clip_path()
        path.write_bytes(b"video")
        session.keep_clip(Clip(path, 3, Image.new("RGB", (9, 9)), sound=False))
        paths.append(path)
    assert [path.exists() for path in paths] == [False, True]
    assert session.require_clip().path == paths[1]
    session.new_video_path("video.mp4").write_bytes(b"video")
    assert paths[1].exists(), "a rendered video does not replace it"
    assert not paths[1].is_relative_to(session.folder), "it is not in the folder that is served"
    everyone.sweep(0)
    assert paths[1].exists()
    everyone.close("a")
    assert session.clip is None
    assert list(tmp_path.iterdir()) == []


def test_an_upload_is_moved_only_from_our_folder(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "ours", tmp_path / "secret.mp4"
    (folder / "upload").mkdir(parents=True)
    elsewhere.write_bytes(b"secret")
    (folder / "upload" / "link.mp4").symlink_to(elsewhere)
    for path in (elsewhere, folder / "upload" / "link.mp4", folder / "upload" / "missing.mp4"):
        with pytest.raises(DrivingVideoError, match="did not arrive"):
            move_upload(path, folder, folder / "clip")
    assert elsewhere.read_bytes() == b"secret"
    (folder / "upload" / "link.mp4").unlink()
    (folder / "upload" / "a.mp4").write_bytes(b"video")
    move_upload(folder / "upload" / "a.mp4", folder, folder / "clip")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("clip", b"video")]


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
