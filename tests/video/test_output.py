"""Where a video goes and at what rate: checked before any work."""

import os
from fractions import Fraction
from pathlib import Path

import pytest
from video_formats import everything, moving

from micromotion.errors import OptionError, OutputError
from micromotion.video.writer import check_output, frame_rate, write_frames


def test_check_output_accepts_and_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    before = everything(tmp_path)
    for name in (
        "new.mp4",
        "old.mp4",
        "B.GIF",
        "c.webp",
        "empty",
        "empty/",
        "new",
        "new/",
        "link",
        "video.v2.mp4",
    ):
        assert check_output(f"{tmp_path}/{name}") == tmp_path / name
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.avi", r"\.avi is unknown; use \.mp4, \.gif, \.webp, or no suffix for a folder of PNGs"),
        ("a.mp4.txt", r"\.txt is unknown"),
        ("missing/a.mp4", "missing does not exist; create it first"),
        ("missing/a", "missing does not exist; create it first"),
        ("file/a.mp4", "file is not a folder"),
        ("file/a", "file is not a folder"),
        ("folder.mp4", r"is a folder, but ends in \.mp4"),
        ("new.gif/", r"is a folder, but ends in \.gif"),
        ("file", "is a file; end the name in"),
        ("dangling", "is a file; end the name in"),
        ("full", "is not empty; PNG frames need a new or an empty folder"),
        ("full/", "is not empty"),
        ("pipe.mp4", "is not a regular file"),
        (".mp4", "is not a valid output name"),
        ("a\0b.mp4", "is not a valid output name"),
        ("a" * 300 + ".mp4", "cannot be written: File name too long"),
        ("a" * 300, "cannot be written: File name too long"),
    ],
)
def test_check_output_names_the_problem(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "picture.png").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    before = sorted(tmp_path.rglob("*"))
    for attempt in (
        lambda: check_output(f"{tmp_path}/{name}"),
        lambda: write_frames(moving(2), f"{tmp_path}/{name}", 30),
    ):
        with pytest.raises(OutputError, match=reason) as caught:
            attempt()
        assert str(caught.value).count("\n") == 0
        assert str(caught.value).endswith(".")
    assert sorted(tmp_path.rglob("*")) == before


def test_check_output_refuses_an_empty_name() -> None:
    with pytest.raises(OutputError, match="'' is not a valid output name"):
        check_output("")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_check_output_finds_a_folder_that_even_root_cannot_write_to() -> None:
    for path in ("/proc/a.mp4", "/proc/a"):
        with pytest.raises(OutputError, match="The folder /proc cannot be written to"):
            check_output(path)
    with pytest.raises(OutputError, match="The folder /proc is not empty"):
        check_output("/proc")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_output_finds_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written to: Permission denied"):
        check_output(tmp_path / "a.mp4")


def test_an_empty_folder_that_is_mounted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(OutputError, match="is a mounted volume; name a new folder inside it"):
        check_output(tmp_path)


@pytest.mark.parametrize("fps", [0, -1, 0.01, 241, 1e9, float("nan"), float("inf"), -float("inf")])
def test_a_rate_outside_the_limits_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(OptionError, match=r"fps must be within 0\.1 and 240"):
        write_frames(moving(2), tmp_path / "a.mp4", fps)
    assert everything(tmp_path) == {}


def test_rates_are_exact() -> None:
    for whole, decimal in ((24, 23.976), (24, 23.98), (30, 29.97), (48, 47.952), (60, 59.94), (120, 119.88)):
        assert frame_rate(decimal) == Fraction(whole * 1000, 1001)
    for fps in (0.1, 1, 12.5, 15, 23.9, 24, 25, 29.9, 30, 50, 59.9, 60, 239.5, 240):
        assert frame_rate(fps) == Fraction(str(fps))
    assert frame_rate(100 / 3) == Fraction(100, 3)
    assert frame_rate(Fraction(2997, 100)) == Fraction(2997, 100)
