"""Reads a list of photos: JSONL, CSV or Parquet, from a path or a URL, row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from micromotion.batch.request import check_names
from micromotion.errors import OptionError

MAX_ROWS = 20_000_000
MAX_LINE = 1 << 20
"""Longest line of a list, in bytes."""

COLUMNS = ("image", "name", "etag")
"""The columns of a list besides the options; `etag` saves asking the bucket for each object's."""

ListRow = dict[str, Any]


def read_list(source: str) -> Iterator[ListRow]:
    """The rows of a list, by its suffix. Its columns are COLUMNS and those of `Request.overridden`.

    Raises OptionError, naming the line, for a list that cannot be read, has no column `image`, an unknown
    column, or more than MAX_ROWS rows. OSErrors of the storage are the caller's.
    """
    import fsspec

    read = LISTS[Path(urlsplit(source).path).suffix.lower()]
    with fsspec.open(source, "rb") as file:
        for number, (place, row) in enumerate(read(file)):
            if number >= MAX_ROWS:
                raise OptionError(f"The list has more than {MAX_ROWS} rows: divide it.")
            if number == 0 or read is _jsonl:
                _check_columns(row, place)
            yield row


def _check_columns(row: ListRow, place: str) -> None:
    if "image" not in row:
        raise OptionError(f"The list has no column 'image' ({place}), which says where each photo is.")
    try:
        check_names([name for name in row if name not in COLUMNS])
    except OptionError as error:
        raise OptionError(f"The list is wrong ({place}): {error}") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise OptionError(f"A line of the list is longer than {MAX_LINE} bytes.")
        yield line


def _jsonl(file: BinaryIO) -> Iterator[tuple[str, ListRow]]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"Line {number} of the list is no JSON.") from error
        if not isinstance(row, dict):
            raise OptionError(f"Line {number} of the list is no object with names and values.")
        yield f"line {number}", row


def _csv(file: BinaryIO) -> Iterator[tuple[str, ListRow]]:
    text = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(_lines(file)))
    reader = csv.DictReader(text, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise OptionError(f"Line {reader.line_num} of the list has not as many values as columns.")
            yield f"line {reader.line_num}", dict(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise OptionError(f"Line {reader.line_num + 1} of the list is no CSV in UTF-8.") from error


def _parquet(file: BinaryIO) -> Iterator[tuple[str, ListRow]]:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise OptionError('Lists in Parquet need pyarrow: pip install "micromotion[scale]".') from error
    try:
        for batch in ParquetFile(file).iter_batches(batch_size=4096):
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield "its columns", dict(zip(batch.schema.names, values, strict=True))
    except pa.ArrowInvalid as error:
        raise OptionError("The list is no Parquet, or is damaged.") from error


LISTS: dict[str, Callable[[BinaryIO], Iterator[tuple[str, ListRow]]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""What reads a list, by its suffix."""
