"""Formats' limits are checked before rendering; videos too large for phones are scaled down, with a note."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner
from video_formats import everything, moving

from micromotion import Animator
from micromotion.cli.main import app
from micromotion.errors import OutputError, ScaledWarning
from micromotion.video.contact_sheet import contact_sheet, sheet_size
from micromotion.video.encoders import Mp4
from micromotion.video.format_limits import PHONES, playable_size
from micromotion.video.picture import write_picture
from micromotion.video.writer import fit_size, write_frames

TABLE_A1 = {40: (8192, 245_760), 51: (36_864, 983_040), 52: (36_864, 2_073_600)}
"""MaxFS and MaxMBPS of ITU-T H.264's Table A-1, by level_idc; duplicated on purpose."""


def stream_level(path: Path) -> tuple[int, int]:
    """AVCProfileIndication and AVCLevelIndication from the file's avcC box (ISO 14496-15)."""
    data = path.read_bytes()
    at = data.index(b"avcC") + 4
    return data[at + 1], data[at + 3]


def size_of(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as video:
        return video.streams.video[0].width, video.streams.video[0].height


def flat(width: int, height: int, count: int = 1) -> Iterator[np.ndarray]:
    for shade in range(count):
        yield np.full((height, width, 3), 90 + shade, np.uint8)


# --- what phones play ---


@given(st.integers(1, 16_384), st.integers(1, 16_384), st.sampled_from([1, 24, 30, 60, 120, 240]))
def test_a_playable_size_is_the_largest_within_level_5_2(width: int, height: int, fps: int) -> None:
    scaled = playable_size((width, height), Fraction(fps))
    most, rate = TABLE_A1[52]
    across, down = (math.ceil(side / 16) for side in scaled)
    assert across * down <= most
    assert across * down * fps <= rate
    assert max(across, down) <= math.sqrt(8 * most)
    fitting = math.ceil(width / 16) * math.ceil(height / 16)
    longest = math.ceil(max(width, height) / 16)
    if fitting <= most and fitting * fps <= rate and longest <= math.sqrt(8 * most):
        assert scaled == (width, height)
        return
    assert scaled[0] % 2 == scaled[1] % 2 == 0
    assert abs(scaled[0] * height / width - scaled[1]) <= 1 + height / width or min(scaled) == 2
    whole = min(width, height) > 200  # otherwise the macroblocks' size decides
    full = across * down * max(fps, rate / most) / rate
    assert not whole or full > 0.93 or max(across, down) >= 542


@pytest.mark.parametrize(
    ("size", "fps", "scaled"),
    [
        ((1920, 1080), 60, (1920, 1080)),
        ((4096, 2304), 30, (4096, 2304)),  # level 5.2's largest, to the macroblock
        ((4096, 2304), 56.25, (4096, 2304)),
        ((3024, 4032), 30, (2656, 3542)),
        ((16_000, 900), 30, (8688, 488)),
    ],
)
def test_known_sizes(size: tuple[int, int], fps: float, scaled: tuple[int, int]) -> None:
    assert playable_size(size, Fraction(fps)) == scaled


@pytest.mark.slow
def test_a_large_video_is_scaled_and_its_stream_says_level_5_2(tmp_path: Path) -> None:
    told: list[str] = []
    path = write_frames(flat(3024, 4032), tmp_path / "a.mp4", 30, on_scaled=told.append)
    assert size_of(path) == (2656, 3542)
    assert stream_level(path) == (100, 52)
    assert told == [
        "3024×4032 pixels at 30 frames per second are more than phones play (H.264 level 5.2): "
        "the video is scaled to 2656×3542."
    ]


@pytest.mark.slow
def test_the_level_is_the_lowest_possible(tmp_path: Path) -> None:
    assert stream_level(write_frames(flat(1920, 1080, 2), tmp_path / "a.mp4", 30)) == (100, 40)
    assert stream_level(write_frames(flat(4096, 2304, 2), tmp_path / "b.mp4", 24)) == (100, 51)


def test_a_fast_video_is_scaled_by_its_macroblocks_a_second(tmp_path: Path) -> None:
    path = write_frames(flat(2560, 1440), tmp_path / "a.mp4", 240, on_scaled=lambda _: None)
    width, height = size_of(path)
    assert math.ceil(width / 16) * math.ceil(height / 16) * 240 <= TABLE_A1[52][1]
    assert stream_level(path)[1] <= 52


def test_scaled_videos_look_the_same(tmp_path: Path) -> None:
    """With anti-aliasing: fine stripes become an even gray, not a coarse pattern."""
    stripes = np.zeros((64, 16_000, 3), np.uint8)
    stripes[:, ::2] = 255
    path = write_frames([stripes], tmp_path / "a.mp4", 30, on_scaled=lambda _: None)
    with av.open(str(path)) as video:
        shown = next(video.decode(video=0)).to_ndarray(format="gray").astype(float)
    assert np.std(shown[:, 64:-64].mean(axis=0)) < 12


def test_the_full_size_is_written_on_request(tmp_path: Path) -> None:
    path = write_frames(flat(8800, 64), tmp_path / "a.mp4", 30, full_size=True)
    assert size_of(path) == (8800, 64)
    assert stream_level(path)[1] > 52


def test_python_is_warned_without_a_listener(tmp_path: Path) -> None:
    with pytest.warns(ScaledWarning, match=r"scaled to 8688×64\. full_size=True keeps") as caught:
        write_frames(flat(8800, 64), tmp_path / "a.mp4", 30)
    assert [Path(each.filename).name for each in caught] == [Path(__file__).name]


def test_other_formats_are_not_scaled(tmp_path: Path) -> None:
    for name in ("a.webp", "a.gif", "a"):
        assert fit_size(tmp_path / name, (9000, 9000), 60) == (9000, 9000)


def test_x264_has_a_shorter_look_ahead_for_large_videos(tmp_path: Path) -> None:
    """It keeps its look-ahead frames in memory: 40 frames of 12 million pixels are 2.5 GB."""
    for width, ahead in ((2048, None), (4096, 17), (8192, 4)):
        height = 2048 if width == 2048 else 2304 if width == 4096 else 8192
        encoder = Mp4(tmp_path / "a.mp4", width, height, Fraction(30))
        told = encoder.stream.codec_context.options["x264-params"]
        encoder.close()
        assert ("lookahead" in told) is (ahead is not None)
        assert ahead is None or told.endswith(f":rc-lookahead={ahead}")


# --- limits of the formats ---


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("a.mp4", (16_385, 20), "MP4 allows at most 16384 a side"),
        ("a.mp4", (20, 17_000), "MP4 allows at most 16384 a side"),
        ("a.webp", (16_384, 20), "WebP allows at most 16383 a side"),
        ("a.gif", (65_536, 2), "GIF allows at most 65535 a side"),
    ],
)
def test_a_side_that_is_too_long_is_refused_with_the_limit(
    tmp_path: Path, name: str, size: tuple[int, int], words: str
) -> None:
    for full_size in (False, True):
        with pytest.raises(OutputError, match=f"could not be written: .*{size[0]}×{size[1]}.*{words}"):
            write_frames(flat(*size), tmp_path / name, 30, full_size=full_size)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize(("name", "side"), [("a.mp4", 16_384), ("a.webp", 16_383), ("a.gif", 65_535)])
def test_the_longest_side_is_written(tmp_path: Path, name: str, side: int) -> None:
    path = write_frames(flat(side, 2), tmp_path / name, 30, full_size=True)
    if name == "a.mp4":
        assert size_of(path) == (side, 2)
    else:
        with Image.open(path) as picture:
            assert picture.size == (side, 2)


def test_a_picture_that_is_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    wide = Image.new("RGB", (16_384, 2))
    with pytest.raises(OutputError, match=r"WebP allows at most 16383 a side"):
        write_picture(wide, tmp_path / "a.webp")
    assert everything(tmp_path) == {}
    write_picture(wide, tmp_path / "a.png")


@pytest.mark.parametrize("count", [1, 5, 8, 13])
def test_a_sheets_size_is_known_before(count: int) -> None:
    frames = list(moving(count))
    assert sheet_size((64, 48), count) == contact_sheet(frames, labels=["x"] * count).size


# --- before anything renders ---


@pytest.fixture
def panorama(tmp_path: Path, astronaut: Image.Image) -> Path:
    """A face in a picture that is 16,500 pixels wide."""
    page = Image.new("RGB", (16_500, 512), "gray")
    page.paste(astronaut, (8000, 0))
    page.save(tmp_path / "panorama.png")
    return tmp_path / "panorama.png"


@pytest.mark.parametrize("suffix", ["mp4", "webp"])
def test_the_command_refuses_before_the_model_is_loaded(
    panorama: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Animator, "load", lambda *_: pytest.fail("it was loaded"))
    output = tmp_path / f"out.{suffix}"
    given = ["animate", str(panorama), "--size", "full", "--frames", "2", "-o", str(output)]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 1
    assert "16500×512 pixels" in result.stderr
    assert "allows at most 1638" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not output.exists()


@pytest.mark.slow
def test_the_command_scales_and_reports_it_by_default(tmp_path: Path, astronaut: Image.Image) -> None:
    page = Image.new("RGB", (3600, 2800), "gray")
    page.paste(astronaut.resize((1024, 1024)), (1200, 700))
    page.save(tmp_path / "large.png", compress_level=1)
    given = ["animate", str(tmp_path / "large.png"), "--size", "full", "--frames", "2"]
    scaled = CliRunner().invoke(app, [*given, "-o", str(tmp_path / "a.mp4")], catch_exceptions=False)
    assert scaled.exit_code == 0
    width, height = playable_size((3600, 2800), Fraction(30))
    assert scaled.stderr.count(f"the video is scaled to {width}×{height}") == 1
    assert scaled.stderr.count("\n") == 1
    assert "--full-size" in scaled.stderr
    assert size_of(tmp_path / "a.mp4") == (width, height)
    assert stream_level(tmp_path / "a.mp4")[1] <= 52
    full = CliRunner().invoke(
        app, [*given, "--full-size", "-o", str(tmp_path / "b.mp4")], catch_exceptions=False
    )
    assert (full.exit_code, full.stderr) == (0, "")
    assert size_of(tmp_path / "b.mp4") == (3600, 2800)


def test_a_video_is_refused_before_rendering(
    animator: Animator, astronaut: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = animator.animate(astronaut, frames=2)
    monkeypatch.setattr(type(video), "__iter__", lambda _: pytest.fail("it rendered"))
    monkeypatch.setattr(type(video), "size", property(lambda _: (17_000, 1000)))
    for name in ("a.mp4", "a.webp"):
        with pytest.raises(OutputError, match="17000×1000"):
            video.save(tmp_path / name)
    assert everything(tmp_path) == {}


def test_a_sheet_that_is_too_tall_is_refused_before_rendering(
    animator: Animator, astronaut: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = animator.animate(astronaut, frames=600)
    monkeypatch.setattr(type(video), "__iter__", lambda _: pytest.fail("it rendered"))
    with pytest.raises(OutputError, match="WebP allows at most 16383 a side"):
        video.save(tmp_path / "a.gif", sheet=tmp_path / "sheet.webp", count=600)
    assert everything(tmp_path) == {}


def test_the_phone_level_agrees_with_the_table() -> None:
    assert (PHONES.frame, PHONES.rate) == TABLE_A1[52]
