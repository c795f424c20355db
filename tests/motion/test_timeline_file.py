"""Timeline files from any editor and any shell."""

import codecs
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from micromotion.errors import OptionError
from micromotion.motion.timeline_file import read_timeline_file
from micromotion.motion.timeline_text import MAX_TEXT, TimelineError, parse_timeline

TEXT = "1s smile=0.5  # größer – bis 2\n2s hold"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (b"", "cp1252"),
    ],
)
def test_the_text_is_the_same_in_all_encodings(
    tmp_path: Path, mark: bytes, encoding: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = mark + TEXT.replace("\n", end).encode(encoding)
    path = tmp_path / "plan.txt"
    path.write_bytes(content)
    assert read_timeline_file(str(path)) == TEXT
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert read_timeline_file("-") == TEXT


def test_latin_1_text_ending_in_a_utf_8_lead_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.txt"
    path.write_bytes("1s smile # café".encode("latin-1"))
    assert read_timeline_file(str(path)).endswith("café")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"1s smile\0", TEXT.encode("utf-16-le"), b"\xff\xfe\x00\xd8", b"\x81"],
    ids=["JPEG", "NUL", "UTF-16 without its mark", "half a pair", "no letter"],
)
def test_files_that_are_not_text_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.txt"
    path.write_bytes(content)
    with pytest.raises(OptionError, match="it is not text"):
        read_timeline_file(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_a_long_file_is_truncated_at_a_whole_character(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "plan.txt"
    path.write_bytes(("1s smile " + "ä😀" * 9000).encode(encoding))
    text = read_timeline_file(str(path))
    assert len(text) == MAX_TEXT + 1
    with pytest.raises(TimelineError, match=f"at most {MAX_TEXT}"):
        parse_timeline(text)
