"""Credentials in written files: another reader calls them valid, and invalid once a byte has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import c2pa_reader
import numpy as np
import pytest
from full_disk import files_of_at_most
from PIL import Image
from shown import shown
from video_formats import ALL, VIDEO_NAMES, everything, moving

from micromotion.credentials.certificates import root_file
from micromotion.credentials.claim import CREATED, EDITED, Claim
from micromotion.credentials.signing import check_credentials
from micromotion.errors import CredentialsError, OutputError
from micromotion.video.picture import write_picture
from micromotion.video.writer import write_frames

PICTURES = ["a.png", "a.jpg", "a.webp"]
CLAIM = Claim.of("avatar", ["smile", "headsTurn"], np.array([[0, 0], [1.5, -0.25]]), shows_photo=True)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def write(path: Path) -> None:
    """A picture if its stem is "still", else a video."""
    if path.stem == "still":
        write_picture(picture(), path, CLAIM)
    else:
        write_frames(moving(5, 192, 256), path, 30, claim=CLAIM)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shows_photo", [True, False])
def test_another_reader_calls_a_video_valid(tmp_path: Path, name: str, shows_photo: bool) -> None:
    claim = Claim(CLAIM.model, CLAIM.motions, shows_photo)
    write_frames(moving(5), tmp_path / name, 30, claim=claim)
    files = files_of(tmp_path)
    assert len(files) == (5 if name == "a" else 1)
    for path in files:
        content = path.read_bytes()
        assert c2pa_reader.state(content) == "Valid"
        assert c2pa_reader.failures(content) == []
        assert c2pa_reader.actions(content)[-1]["digitalSourceType"] == (EDITED if shows_photo else CREATED)


@pytest.mark.parametrize("name", PICTURES)
def test_another_reader_calls_a_picture_valid(tmp_path: Path, name: str) -> None:
    write_picture(picture(), tmp_path / name, CLAIM)
    content = (tmp_path / name).read_bytes()
    assert (c2pa_reader.state(content), c2pa_reader.failures(content)) == ("Valid", [])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALL, "still.png", "still.jpg", "still.webp"])
def test_another_reader_notices_one_changed_byte_of_media(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    content = files_of(tmp_path)[0].read_bytes()
    start, end = media(content)
    for at in np.linspace(start, end - 1, 9).astype(int):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        assert c2pa_reader.state(changed) == "Invalid", at


def media(content: bytes) -> tuple[int, int]:
    """A range of bytes within the compressed pixels: after the marker before them."""
    markers = {"ftyp": b"mdat", "GIF8": b"\x21\xf9", "RIFF": b"VP8 ", "PNG": b"IDAT", "JFIF": b"\xff\xda"}
    (mark,) = [mark for head, mark in markers.items() if head.encode() in content[:16]]
    start = content.index(mark) + len(mark) + 16
    return start, start + 200


@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_credentials_do_not_change_what_is_shown(tmp_path: Path, name: str) -> None:
    plain = write_frames(moving(7), tmp_path / f"plain-{name}", 30)
    signed = write_frames(moving(7), tmp_path / name, 30, claim=CLAIM)
    assert shown(plain) == shown(signed)
    assert 0 < signed.stat().st_size - plain.stat().st_size <= 10_000


@pytest.mark.parametrize("name", ALL)
def test_the_switch_leaves_them_out_and_gives_equal_bytes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", " OFF ")
    (tmp_path / "plain").mkdir()
    (tmp_path / "off").mkdir()
    write_frames(moving(3), tmp_path / "plain" / name, 30)
    write_frames(moving(3), tmp_path / "off" / name, 30, claim=CLAIM)
    assert everything(tmp_path / "plain") == everything(tmp_path / "off")
    assert not root_file().exists()


def test_a_large_video_is_small_in_credentials(tmp_path: Path) -> None:
    """16 motions with the longest names."""
    names = [f"{index:02}" + "ü" * 200 for index in range(16)]
    claim = Claim.of("m" * 300, names, np.linspace(-5, 5, 32).reshape(2, 16), shows_photo=True)
    plain = write_frames(moving(1, 1024, 1024), tmp_path / "plain.mp4", 30)
    signed = write_frames(moving(1, 1024, 1024), tmp_path / "signed.mp4", 30, claim=claim)
    assert signed.stat().st_size - plain.stat().st_size <= 10_000
    ordinary = write_frames(moving(1, 1024, 1024), tmp_path / "ordinary.mp4", 30, claim=CLAIM)
    assert ordinary.stat().st_size - plain.stat().st_size <= 5_000


# --- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_a_disk_that_is_full_while_it_is_signed_leaves_nothing(tmp_path: Path, name: str) -> None:
    check_credentials()  # which makes the root
    plain = write_frames(moving(6), tmp_path / name, 30).stat().st_size
    (tmp_path / name).unlink()
    for more in (10, 800, 2000, 3500):  # within the packet, and within the manifest
        with (
            pytest.raises(OutputError, match=f"{name} could not be written: File too large"),
            files_of_at_most(plain + more),
        ):
            write_frames(moving(6), tmp_path / name, 30, claim=CLAIM)
        assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", [*ALL, "still.png"])
def test_a_failing_signature_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, name: str, given: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate for a TLS server, which C2PA does not accept, says so only when it signs."""
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", ",".join(map(str, given)))
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(
        CredentialsError, match=r"could not be signed \(.*\): give another .*off\.$"
    ) as caught:
        write(folder / name)
    assert "\n" not in str(caught.value)
    assert everything(folder) == {}


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    from certificate_files import write_certificate

    return write_certificate(tmp_path, purpose="server")


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
import c2pa, numpy as np
from video_formats import moving
from micromotion.credentials.claim import Claim
from micromotion.video.writer import write_frames

signal.signal(signal.SIGINT, signal.default_int_handler)
sign = c2pa.Builder.sign
def interrupted(*given):
    os.kill(os.getpid(), signal.SIGINT)
    return sign(*given)
c2pa.Builder.sign = interrupted
try:
    write_frames(moving(3), sys.argv[1], 30, claim=Claim("avatar", (), shows_photo=True))
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.slow
def test_control_c_while_it_is_signed_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "a.mp4")],
        env=None,
        cwd=Path(__file__).parents[1] / "support",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert everything(tmp_path) == {}


@pytest.mark.slow
def test_nothing_is_imported_before_something_is_signed() -> None:
    code = (
        "import sys, micromotion.video.writer, micromotion.video.picture, micromotion.animator, "
        "micromotion.cli.main; print(sorted({'c2pa', 'cryptography'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
