"""Whoever visits the page: what is kept of them, in which bounds, and what is left of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from micromotion.errors import ImageError, OptionError
from micromotion.page import visits
from micromotion.page.visits import Sitter, Visits, take_upload


def someone(width: int = 100) -> Sitter:
    return Sitter(Image.new("RGB", (width, 100)), [], 0, torch.zeros(1))


def test_every_session_has_a_visit_of_its_own(tmp_path: Path) -> None:
    everyone = Visits(tmp_path)
    assert everyone["a"] is everyone["a"]
    everyone["a"].sitter = someone()
    with pytest.raises(OptionError, match="no face yet"):
        everyone["b"].require_sitter()
    assert everyone["a"].folder != everyone["b"].folder


def test_who_leaves_leaves_nothing(tmp_path: Path) -> None:
    everyone = Visits(tmp_path)
    visit = everyone["a"]
    visit.sitter = someone()
    visit.new_film("film.mp4").write_bytes(b"film")
    other = everyone["b"].new_film("film.mp4")
    other.write_bytes(b"another")
    everyone.close("a")
    everyone.close("never was here")
    assert visit.stop.is_set()
    assert visit.sitter is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    everyone.close_all()
    assert list(tmp_path.iterdir()) == []


def test_a_new_film_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    visit = Visits(tmp_path)["a"]
    old = visit.new_film("film.mp4")
    old.write_bytes(b"film")
    new = visit.new_film("film.mp4")
    assert new != old, "no browser takes the one for the other"
    assert not old.exists()


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MAX_VISITS", 3)
    monkeypatch.setattr(visits, "MAX_PIXELS", 25_000)
    everyone = Visits(tmp_path)
    first = everyone["0"]
    for name in "123":
        everyone[name]
    assert first.stop.is_set(), "who was away longest"
    assert len(everyone) == 3
    big = everyone["4"]
    everyone["3"].sitter = someone(200)
    big.sitter = someone(200)
    everyone["4"]
    assert len(everyone) == 1
    assert everyone["4"] is big, "but never who is here now"


def test_uploads_that_nobody_reads_go_with_time(tmp_path: Path) -> None:
    everyone = Visits(tmp_path)
    film = everyone["a"].new_film("film.mp4")
    film.write_bytes(b"film")
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "photo.jpg").write_bytes(b"photo")
    everyone.sweep()
    assert (tmp_path / "hash").exists()
    everyone.sweep(age=-1)
    assert not (tmp_path / "hash").exists()
    assert film.exists()


def test_an_upload_is_taken_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    (folder / "hash").mkdir(parents=True)
    for name in ("one.jpg", "two.jpg"):
        (folder / "hash" / name).write_bytes(name.encode())
    assert take_upload(folder / "hash" / "one.jpg", folder) == b"one.jpg"
    assert take_upload(folder / "hash" / "two.jpg", folder) == b"two.jpg"
    assert list(folder.iterdir()) == []
    with pytest.raises(ImageError, match="did not arrive"):
        take_upload(folder / "hash" / "two.jpg", folder)


def test_no_other_file_is_taken_or_removed(tmp_path: Path) -> None:
    folder, ours = tmp_path / "uploads", tmp_path / "ours.jpg"
    folder.mkdir()
    ours.write_bytes(b"ours")
    (folder / "link.jpg").symlink_to(ours)
    for path in (ours, folder / ".." / "ours.jpg", folder / "link.jpg"):
        with pytest.raises(ImageError, match="did not arrive"):
            take_upload(path, folder)
    assert ours.read_bytes() == b"ours"
