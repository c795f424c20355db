"""What was written is decoded again; whatever goes wrong leaves nothing behind."""

import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from micromotion import encoders
from micromotion.errors import OptionError, OutputError
from micromotion.video import check_output, frame_rate, write_frames

FILMS = ["a.mp4", "a.gif", "a.webp"]
ALL = [*FILMS, "a"]
SATURATED = [
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255),
    (255, 255, 255), (0, 0, 0), (128, 128, 128), (255, 128, 0), (0, 96, 255), (224, 172, 140),
]  # fmt: skip


def moving(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Smooth colours and a bright square that wanders."""
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        frame = np.stack([x * 255 // width, y * 255 // height, (x + y + 3 * i) % 256], axis=2).astype(
            np.uint8
        )
        frame[height // 3 : height // 2, (2 * i) % (width // 2) :][:, : width // 5] = (250, 240, 230)
        yield frame


def tiles(size: int = 32) -> np.ndarray:
    """All of SATURATED, in 3 rows of 4."""
    grid = np.array(SATURATED, np.uint8).reshape(3, 4, 3)
    return grid.repeat(size, axis=0).repeat(size, axis=1)


def tile_error(picture: np.ndarray, size: int = 32) -> float:
    """Largest difference from SATURATED, in levels, away from the tiles' edges."""
    inner = slice(size // 4, -size // 4)
    blocks = picture.astype(float).reshape(3, size, 4, size, 3).transpose(0, 2, 1, 3, 4)[:, :, inner, inner]
    return float(np.abs(blocks - np.array(SATURATED, float).reshape(3, 4, 1, 1, 3)).max())


def bt709_to_rgb(planes: np.ndarray) -> np.ndarray:
    """[H · 3/2, W] yuv420p, limited range -> float64 RGB [H, W, 3], by the text of the standard."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, axis=1).repeat(2, axis=2)
    luma = (planes[:height].astype(float) - 16) / 219
    blue, red = (chroma.astype(float) - 128) / 224
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    return np.clip(np.stack([r, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, b], axis=2) * 255, 0, 255)


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [bt709_to_rgb(frame.to_ndarray()) for frame in container.decode(video=0)]


def animation(path: Path) -> tuple[list[np.ndarray], list[int], dict]:
    """Frames, their durations in ms, and what else Pillow knows."""
    frames, durations = [], []
    with Image.open(path) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(int(picture.info["duration"]))
        return frames, durations, dict(picture.info)


def boxes(data: bytes) -> list[str]:
    """The names of an MP4's top-level boxes, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


# MP4


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (30, Fraction(30)),
        (24, Fraction(24)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (12.5, Fraction(25, 2)),
        (7, Fraction(7)),
    ],
)
def test_mp4_has_all_frames_at_the_exact_rate(tmp_path: Path, fps: float, exact: Fraction) -> None:
    with av.open(str(write_frames(moving(31), tmp_path / "a.mp4", fps))) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == exact
        assert stream.duration * stream.time_base == 31 / exact
        times = [frame.pts * frame.time_base for frame in film.decode(stream)]
    assert times == [i / exact for i in range(31)]


def test_mp4_plays_in_browsers(tmp_path: Path) -> None:
    path = write_frames(moving(10), tmp_path / "a.mp4", 30)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.profile == "High"
        assert stream.sample_aspect_ratio == 1
        assert (stream.width, stream.height) == (64, 48)
    names = boxes(path.read_bytes())
    assert names.index("moov") < names.index("mdat")


def test_mp4_is_tagged_bt709_limited_in_the_stream_and_in_the_container(tmp_path: Path) -> None:
    path = write_frames(moving(3), tmp_path / "a.mp4", 30)
    with av.open(str(path)) as film:
        frame = next(film.decode(video=0))
        codec = film.streams.video[0].codec_context
        assert (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range) == (1, 1, 1, 1)
        assert (frame.colorspace, frame.color_range) == (1, 1)
    assert b"colrnclx" + struct.pack(">HHHB", 1, 1, 1, 0) in path.read_bytes()


def test_mp4_colours_are_really_bt709(tmp_path: Path) -> None:
    """By BT.601, or with full range, saturated colours would be off by 20 levels and more."""
    frames = decoded(write_frames([tiles()] * 3, tmp_path / "a.mp4", 30))
    assert max(tile_error(frame) for frame in frames) <= 4


@pytest.mark.parametrize("shape", [(128, 128), (256, 256), (600, 520)])
def test_mp4_keeps_the_picture(tmp_path: Path, shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    source = [
        (127 + 90 * np.sin(np.stack([9 * x + 5 * y + i / 9, 7 * y - i / 7, 8 * x * y], 2))).astype(np.uint8)
        for i in range(12)
    ]
    frames = decoded(write_frames(source, tmp_path / "a.mp4", 30))
    errors = [np.mean((frame - original) ** 2) for frame, original in zip(frames, source, strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 40


@pytest.mark.parametrize(("height", "width"), [(33, 17), (32, 17), (33, 18), (1, 1), (2, 3)])
def test_mp4_of_an_odd_size_repeats_the_last_row_and_column(tmp_path: Path, height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    source = np.stack([40 + 5 * y, 200 - 4 * y, 90 + x], axis=2).astype(np.uint8)
    (frame,) = decoded(write_frames([source], tmp_path / "a.mp4", 30))
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    padded = np.pad(source, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    assert np.abs(frame - padded).max() < 16


# GIF, WebP, PNG


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
@pytest.mark.parametrize(
    ("count", "fps", "total"), [(31, 30, 1033), (7, 24, 292), (50, 29.97, 1668), (3, 0.5, 6000)]
)
def test_rounded_delays_do_not_add_up(tmp_path: Path, name: str, count: int, fps: float, total: int) -> None:
    frames, durations, info = animation(write_frames(moving(count), tmp_path / name, fps))
    unit = 10 if name == "a.gif" else 1
    assert len(frames) == count
    assert frames[0].shape == (48, 64, 3)
    assert info["loop"] == 0  # for ever
    assert abs(sum(durations) - total) <= unit / 2
    assert max(durations) - min(durations) <= unit


@pytest.mark.parametrize(
    ("name", "fps", "shortest"), [("a.gif", 60, 20), ("a.gif", 240, 20), ("a.webp", 120, 11)]
)
def test_no_picture_is_so_short_that_browsers_slow_it_down(
    tmp_path: Path, name: str, fps: int, shortest: int
) -> None:
    frames, durations, _ = animation(write_frames(moving(fps), tmp_path / name, fps))
    assert min(durations) >= shortest
    assert abs(sum(durations) - 1000) <= shortest  # the last one is not shorter either
    assert len(frames) >= 400 // shortest  # no more are left out than must be


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_pictures_that_do_not_move_keep_their_time(tmp_path: Path, name: str) -> None:
    _, durations, _ = animation(write_frames([tiles(8)] * 20, tmp_path / name, 25))
    assert sum(durations) == 800


def test_gif_colours_are_chosen_from_all_frames(tmp_path: Path) -> None:
    """What shows only in the last frame has its colours too; one palette serves all."""
    gray = np.full((96, 128, 3), 128, np.uint8)
    path = write_frames([*[gray] * 9, tiles()], tmp_path / "a.gif", 25)
    frames, _, _ = animation(path)
    assert np.abs(frames[0].astype(int) - 128).max() <= 2
    assert tile_error(frames[-1]) <= 8


def test_gif_does_not_flicker_where_nothing_moves(tmp_path: Path) -> None:
    """A palette per frame, or error diffusion, would change the pixels left of what moves."""
    y, x = np.mgrid[:48, :96]
    still = np.stack([60 + x, 40 + 2 * y, 200 - x], axis=2).astype(np.uint8)
    source = []
    for i in range(12):
        frame = still.copy()
        frame[:, 60:] = np.roll(frame[:, 60:], 3 * i, axis=1) // (1 + i % 3)
        source.append(frame)
    frames, _, _ = animation(write_frames(source, tmp_path / "a.gif", 25))
    assert all((frame[:, :60] == frames[0][:, :60]).all() for frame in frames)
    assert np.abs(frames[0].astype(int) - source[0]).mean() < 6


def test_webp_keeps_the_picture(tmp_path: Path) -> None:
    source = [tiles(), *moving(4, 96, 128)]
    frames, _, _ = animation(write_frames(source, tmp_path / "a.webp", 25))
    assert tile_error(frames[0]) <= 8
    assert max(np.abs(f.astype(int) - s).mean() for f, s in zip(frames, source, strict=True)) < 6


def test_a_folder_of_pngs_holds_the_very_pixels(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "frames.v2/"):
        path = write_frames(moving(12), f"{tmp_path}/{name}", 30)
        names = sorted(p.name for p in path.iterdir())
        assert names == [f"frame_{i:04d}.png" for i in range(12)]
        for file, frame in zip(names, moving(12), strict=True):
            assert (np.asarray(Image.open(path / file)) == frame).all()


# All of them


@pytest.mark.parametrize("name", FILMS)
def test_one_frame_is_a_film(tmp_path: Path, name: str) -> None:
    path = write_frames([tiles()], tmp_path / name, 30)
    if name == "a.mp4":
        (frame,) = decoded(path)
    else:
        frame = np.asarray(Image.open(path).convert("RGB"))
    assert tile_error(frame) <= 8


def test_the_suffix_may_be_in_capitals_and_the_path_a_string(tmp_path: Path) -> None:
    path = write_frames(moving(2), str(tmp_path / "A.MP4"), 30)
    assert path == tmp_path / "A.MP4"
    assert len(decoded(path)) == 2


@pytest.mark.parametrize("name", ALL)
def test_frames_are_taken_one_by_one_and_reported(tmp_path: Path, name: str) -> None:
    taken = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in moving(9):
            taken += 1
            yield frame

    reported: list[tuple[int, int]] = []
    write_frames(
        counted(), tmp_path / name, 30, total=9, on_frame=lambda done: reported.append((done, taken))
    )
    assert reported == [(i, i) for i in range(1, 10)]


WRITE_AGAIN = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.path.insert(0, sys.argv[1])
from test_video import moving
from micromotion.video import write_frames
for name in sys.argv[3:]:
    write_frames(moving(50, 160, 208), sys.argv[2] + name, 30)
"""


def test_the_same_frames_give_the_same_bytes_on_one_core_and_on_many(tmp_path: Path) -> None:
    for name in ALL:
        write_frames((frame[:, ::-1][:, ::-1] for frame in moving(50, 160, 208)), tmp_path / name, 30)
    again = tmp_path / "again"
    again.mkdir()
    run = [sys.executable, "-c", WRITE_AGAIN, str(Path(__file__).parent), f"{again}/", *ALL]
    subprocess.run(run, check=True, cwd=Path(__file__).parents[1], env={**os.environ, "PYTHONPATH": "."})
    for name in FILMS:
        assert (tmp_path / name).read_bytes() == (again / name).read_bytes()
    assert everything(tmp_path / "a") == everything(again / "a")


WRITE_LONG = """
import sys
import numpy as np
from micromotion.video import write_frames
base = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
def peak(count, path):
    write_frames((np.roll(base, 3 * i, axis=1)[:, :128] for i in range(count)), path, 30)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
stem, suffix = sys.argv[1:]
print(peak(120, stem + "_short" + suffix), peak(520, stem + "_long" + suffix))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux's /proc")
@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp", ""])
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path, suffix: str) -> None:
    """400 frames more are 20 MB as they come; the encoders' own buffers are full before."""
    run = [sys.executable, "-c", WRITE_LONG, str(tmp_path / "a"), suffix]
    said = subprocess.run(
        run, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    short, long = map(int, said.stdout.split())
    assert long - short < 8_000  # kB


# Whatever goes wrong, nothing is left behind


class Cancelled(BaseException):
    """As Cog's CancelationException: not an Exception."""


@pytest.mark.parametrize("raised", [RuntimeError, OSError, KeyboardInterrupt, Cancelled, GeneratorExit])
@pytest.mark.parametrize("name", ALL)
def test_an_exception_midway_passes_through_and_leaves_nothing(
    tmp_path: Path, name: str, raised: type[BaseException]
) -> None:
    def breaking() -> Iterator[np.ndarray]:
        yield from moving(5)
        raise raised("midway")

    with pytest.raises(raised, match="midway"):
        write_frames(breaking(), tmp_path / name, 30)
    assert everything(tmp_path) == {}

    def stop(done: int) -> None:
        if done == 3:
            raise raised("midway")

    with pytest.raises(raised, match="midway"):
        write_frames(moving(5), tmp_path / name, 30, on_frame=stop)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", ALL)
def test_control_c_leaves_what_was_there_before(tmp_path: Path, name: str) -> None:
    if name == "a":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"the old film")
    before = everything(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_frames(
            moving(60),
            tmp_path / name,
            30,
            on_frame=lambda done: done == 55 and signal.raise_signal(signal.SIGINT),
        )
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ALL)
def test_an_exception_at_the_very_end_leaves_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"a.mp4": encoders.Mp4, "a.gif": encoders.Gif, "a.webp": encoders.WebP, "a": encoders.Pngs}[name]
    finish = kind.finish

    def interrupted(self: encoders.Encoder) -> None:
        finish(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_frames(moving(5), tmp_path / name, 30)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", FILMS)
def test_an_existing_film_is_whole_until_the_new_one_takes_its_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"the old film")
    seen = set()
    write_frames(moving(60), path, 30, on_frame=lambda _: seen.add(path.read_bytes()))
    assert seen == {b"the old film"}
    assert list(everything(tmp_path)) == [name]
    assert len(path.read_bytes()) > 1000
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("frames", "total", "reason"),
    [
        ([], None, "there are no frames"),
        ([*moving(2), *moving(1, 40, 64)], None, "frame 2 has 64×40 pixels, the first one 64×48"),
        ([frame.astype(np.float32) for frame in moving(1)], None, "frame 0 is float32"),
        ([frame[..., 0] for frame in moving(1)], None, r"\[48, 64\], not uint8 \[H, W, 3\]"),
        ([frame[:0] for frame in moving(1)], None, r"\[0, 64, 3\]"),
        (list(moving(3)), 4, "3 frames came where 4 were expected"),
        (list(moving(3)), 2, "3 frames came where 2 were expected"),
    ],
)
def test_frames_that_make_no_film_are_refused(
    tmp_path: Path, name: str, frames: list[np.ndarray], total: int | None, reason: str
) -> None:
    with pytest.raises(OutputError, match=reason):
        write_frames(frames, tmp_path / name, 30, total=total)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", ["a.mp4", "a.webp"])
def test_what_the_encoder_refuses_is_an_output_error(tmp_path: Path, name: str) -> None:
    """Both formats end at 16384 pixels."""
    with pytest.raises(OutputError, match="could not be written"):
        write_frames([np.zeros((2, 16400, 3), np.uint8)], tmp_path / name, 30)
    assert everything(tmp_path) == {}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing more fails, much as on a full disk (Python ignores the signal that comes with it)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", FILMS)
def test_where_the_disk_ends_the_film_is_whole_or_absent(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = write_frames(moving(6, 8, 8), path, 30).read_bytes()
    path.unlink()
    sentences = []
    for limit in [*range(1, len(whole), len(whole) // 12), len(whole) - 1, len(whole), len(whole) + 1]:
        try:
            with files_of_at_most(limit):
                write_frames(moving(6, 8, 8), path, 30)
            assert path.read_bytes() == whole
            path.unlink()
        except OutputError as error:
            sentences.append(str(error))
        assert everything(tmp_path) == {}
    assert len(sentences) >= 12
    assert set(sentences) == {f"{path} could not be written: File too large."}


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr("micromotion.video.secrets.token_hex", lambda _: "name")
    for suffix in (".mp4", ".webp", ".gif"):
        (tmp_path / f".micromotion-name{suffix}").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="No space left on device"):
            write_frames(moving(3), tmp_path / f"a{suffix}", 30)
        assert everything(tmp_path) == {}
    assert Path("/dev/full").exists()


# The path and the rate, before any work


def test_check_output_says_yes_and_leaves_no_trace(tmp_path: Path) -> None:
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
        "film.v2.mp4",
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
        ("folder.mp4", r"is a folder's name but ends in \.mp4"),
        ("new.gif/", r"is a folder's name but ends in \.gif"),
        ("file", "is a file; end the name in"),
        ("dangling", "is a file; end the name in"),
        ("full", "is not empty; PNG frames need a new or an empty folder"),
        ("full/", "is not empty"),
        ("pipe.mp4", "is not a regular file"),
        (".mp4", "is no name for the output"),
        ("a\0b.mp4", "is no name for the output"),
        ("a" * 300 + ".mp4", "cannot be written: File name too long"),
        ("a" * 300, "cannot be written: File name too long"),
    ],
)
def test_check_output_says_what_is_wrong(tmp_path: Path, name: str, reason: str) -> None:
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


def test_check_output_refuses_no_name_at_all() -> None:
    with pytest.raises(OutputError, match="'' is no name for the output"):
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
