"""Sources: folders, globs, URLs and lists give the same photos, in order, with what rows set."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from micromotion.batch import lists
from micromotion.batch.sources import Entry, list_entries
from micromotion.errors import MicromotionError, OptionError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with five pictures, at two levels, among other files."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name in ("a.jpg", "c.JPEG", "b/1.png", "b/2.tiff", "ü ö.webp"):
        (folder / name).write_bytes(name.encode())
    for name in ("notes.txt", ".hidden.jpg", "video.mp4"):
        (folder / name).write_bytes(b"x")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return folder


@pytest.fixture
def bucket() -> Iterator[str]:
    """An object store in memory."""
    store = fsspec.filesystem("memory")
    store.pipe({"/shop/photos/a.jpg": b"1", "/shop/photos/b/c.png": b"2", "/shop/photos/notes.txt": b"3"})
    yield "memory://shop/photos"
    store.rm("/shop", recursive=True)


def images(source: object) -> list[str]:
    return [each.image for each in list_entries(str(source))]


def write_list(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A list of these rows in the format of its suffix."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        import csv

        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        pyarrow = pytest.importorskip("pyarrow")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_a_folder_gives_its_pictures_in_order(photos: Path) -> None:
    found = [str(Path(each).relative_to(photos)) for each in images(photos)]
    assert found == ["a.jpg", "c.JPEG", "ü ö.webp", "b/1.png", "b/2.tiff"]


def test_a_glob_gives_what_it_matches(photos: Path) -> None:
    assert images(photos / "*.[jJ]*") == [str(photos / "a.jpg"), str(photos / "c.JPEG")]
    assert images(photos / "b" / "1.png") == [str(photos / "b/1.png")]
    with pytest.raises(OptionError, match="There is no folder, picture or list"):
        images(photos / "missing")


def test_a_bucket_gives_its_pictures_with_their_versions(bucket: str) -> None:
    entries = list(list_entries(bucket))
    assert [each.image for each in entries] == [
        "memory:///shop/photos/a.jpg",
        "memory:///shop/photos/b/c.png",
    ]
    assert all(each.version for each in entries)
    assert images(f"{bucket}/*.jpg") == ["memory:///shop/photos/a.jpg"]
    with pytest.raises(OptionError, match="There is nothing at"):
        images("memory://shop/nothing")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_list_gives_its_rows(photos: Path, suffix: str) -> None:
    rows = [
        {"image": "a.jpg", "name": "Anna", "motion": "smile", "strength": 0.5},
        {"image": str(photos / "b/1.png"), "name": "", "motion": "angry", "strength": 1.0},
    ]
    path = write_list(photos / f"list{suffix}", rows)
    first, second = list_entries(str(path))
    assert (first.image, first.name) == (str(photos / "a.jpg"), "Anna")
    assert (second.image, second.name) == (str(photos / "b/1.png"), "")
    assert float(first.overrides["strength"]) == 0.5
    assert first.overrides["motion"] == "smile"
    assert first.version
    assert first.version != second.version


def test_a_list_in_a_bucket_names_objects_beside_it(bucket: str) -> None:
    text = '{"image": "a.jpg"}\n{"image": "b/c.png", "etag": "\\"7\\""}\n'
    fsspec.filesystem("memory").pipe("/shop/photos/list.jsonl", text.encode())
    first, second = list_entries(f"{bucket}/list.jsonl")
    assert (first.image, second.image) == (f"{bucket}/a.jpg", f"{bucket}/b/c.png")
    assert first.version
    assert second == Entry(f"{bucket}/b/c.png", '"7"')


def test_a_missing_photo_of_a_list_is_an_entry(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", [{"image": "gone.jpg"}])
    assert list(list_entries(str(path))) == [Entry(str(tmp_path / "gone.jpg"))]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"image": "a.jpg", "strenght": 1}', "line 1.*did you mean 'strength'"),
        ('{"image": "a.jpg"}\n{"photo": "a.jpg"}', "no column 'image' .line 2"),
        ('{"image": "a.jpg"}\n{', "Line 2 of the list is no JSON"),
        ("[1]", "Line 1 of the list is no object"),
        ("[" * 100_000, "Line 1 of the list is no JSON"),
        ('{"image": ""}', "needs an image in each row"),
        ('{"image": "%s"}' % ("x" * 3000), "at most 2000 characters"),
        ('{"image": "ssh://host/a.jpg"}', "may not name 'ssh://host/a.jpg'"),
        ('{"image": "zip://a.jpg::https://host/a.zip"}', "may not name"),
        ('{"image": "simplecache::s3://b/a.jpg"}', "may not name"),
        ('{"image": "%s"}' % ("x" * lists.MAX_LINE), "longer than"),
    ],
)
def test_a_wrong_list_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=sentence):
        list(list_entries(str(path)))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("list.csv", b"photo\na.jpg\n", "no column 'image'"),
        ("list.csv", b"image,face\na.jpg\n", "Line 2 of the list has not as many values"),
        ("list.csv", b"image\na.jpg,1\n", "Line 2 of the list has not as many values"),
        ("list.csv", b"image\n\xff\xfe\n", "no CSV in UTF-8"),
        ("list.parquet", b"PAR1 or not", "no Parquet"),
        ("gone.csv", None, "there is no such file"),
    ],
)
def test_a_wrong_table_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MicromotionError, match=sentence):
        list(list_entries(str(path)))


def test_a_list_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_ROWS", 2)
    path = write_list(tmp_path / "list.jsonl", [{"image": "a.jpg"}] * 3)
    with pytest.raises(OptionError, match="more than 2 rows"):
        list(list_entries(str(path)))


@pytest.mark.slow
def test_a_long_list_is_read_row_by_row(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", [{"image": f"{number}.jpg"} for number in range(20_000)])
    tracemalloc.start()
    try:
        assert sum(1 for _ in lists.read_list(str(path))) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_name_that_is_no_text_is_an_entry(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"1")
    assert images(tmp_path) == [str(tmp_path / os.fsdecode(b"\xff.jpg"))]
