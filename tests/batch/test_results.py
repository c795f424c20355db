"""Results: written whole, in parts, read back as one row for each id."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from batch_workers import row_of

from micromotion.batch import read_results, results
from micromotion.batch.outcome import Outcome
from micromotion.batch.results import ResultWriter, known_of
from micromotion.batch.rows import digest_key
from micromotion.batch.storage import Storage
from micromotion.errors import DownloadError, ImageError


def outcomes() -> list[Outcome]:
    done = Outcome.done(row_of(0), seconds=1.5, face=(1.0, 2.0, 3.0, 4.0), sentence="Scaled.")
    refused = Outcome.of_error(row_of(1), ImageError("It is empty."), 0.1)
    return [done, refused, Outcome.failed(row_of(2), "The worker died.")]


def write(folder: Path, rows: list[Outcome]) -> None:
    writer = ResultWriter(Storage(str(folder)))
    for each in rows:
        writer.add(each)
    writer.flush()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(tmp_path, outcomes())
    assert [each.suffix for each in (tmp_path / "results").iterdir()] == [suffix]
    assert read_results(str(tmp_path)) == outcomes_without_time(read_results(str(tmp_path)))


def outcomes_without_time(found: list[Outcome]) -> list[Outcome]:
    return [replace(each, finished=time.finished) for each, time in zip(outcomes(), found, strict=True)]


def test_nothing_is_written_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert list(tmp_path.iterdir()) == []
    assert read_results(str(tmp_path / "nowhere")) == []


def test_the_best_result_of_an_id_counts(tmp_path: Path) -> None:
    first = Outcome.failed(row_of(0), "The worker died.")
    made = Outcome.done(row_of(0), seconds=2.0)
    found_later = Outcome.done(row_of(0))
    for each in (first, made, found_later, Outcome.of_error(row_of(0), ImageError("No."))):
        write(tmp_path, [each])
    assert read_results(str(tmp_path)) == [made]


def test_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MOST", 4)
    write(tmp_path, [Outcome.done(row_of(number)) for number in range(10)])
    assert len(list((tmp_path / "results").iterdir())) == 3
    assert len(read_results(str(tmp_path))) == 10


def test_what_is_known_are_the_videos_and_the_refused(tmp_path: Path) -> None:
    done, refused, failed = outcomes()
    write(tmp_path, [replace(done, digest="ab" * 32), refused, failed])
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / f"x-{done.id}.mp4").touch()
    (videos / f".x-{failed.id}.mp4.1234").touch()  # of a run that was killed
    (videos / f".x-{failed.id}.mp4").touch()
    (videos / "somebody's.mp4").touch()
    known = known_of(Storage(str(tmp_path)), str(tmp_path))
    assert known.videos == {bytes.fromhex(done.id): True}
    assert known.refused == {bytes.fromhex(refused.id): "It is empty."}
    assert known.digests == {digest_key(done.image, done.version): b"\xab" * 32}


def test_a_destination_may_be_in_a_hidden_folder(tmp_path: Path) -> None:
    dest = tmp_path / ".hidden" / "out"
    done = outcomes()[0]
    write(dest, [done])
    (dest / "videos").mkdir()
    (dest / str(done.video)).touch()
    assert known_of(Storage(str(dest)), str(dest)).videos == {bytes.fromhex(done.id): True}


def test_a_deleted_video_is_missing_again(tmp_path: Path) -> None:
    write(tmp_path, outcomes())
    known = known_of(Storage(str(tmp_path)), str(tmp_path))
    assert known.videos == {}


def test_damaged_results_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.parquet").write_bytes(b"no")
    with pytest.raises(DownloadError, match="cannot be read"):
        read_results(str(tmp_path))


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    write(tmp_path, [replace(outcomes()[0], image="photos/\udcff.jpg")])
    (found,) = read_results(str(tmp_path))
    assert found.image == "photos/\\udcff.jpg"
    assert json.dumps(found.image)
