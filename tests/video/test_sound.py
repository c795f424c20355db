"""A driving video's sound beside new pictures: copied or encoded, in sync, bounded."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from sounds import click_times, packet_hashes, write_clicks
from videos import write_video

from micromotion.video import sound as sound_module
from micromotion.video.driving_video import DrivingVideoError
from micromotion.video.sound import find_sound
from micromotion.video.writer import write_frames

KINDS = [
    ("aac.mp4", "aac", "libx264"),
    ("mp3.mp4", "libmp3lame", "libx264"),
    ("ac3.mov", "ac3", "libx264"),
    ("opus.webm", "libopus", "libvpx"),
    ("flac.mkv", "flac", "libx264"),
]


def pictures(seconds: float, fps: int = 25) -> Iterator[np.ndarray]:
    return (np.full((32, 32, 3), number % 250, np.uint8) for number in range(round(seconds * fps)))


def carried(clip: Path, target: Path, seconds: float = 3, fps: int = 25) -> str:
    """Write pictures with the clip's sound, and return what is told."""
    sound, told = find_sound(clip, Fraction(round(seconds * fps), fps))
    write_frames(pictures(seconds, fps), target, fps, sound=sound)
    return told


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec", "video"), KINDS)
def test_sound_that_mp4_holds_is_copied_byte_for_byte(
    tmp_path: Path, name: str, codec: str, video: str
) -> None:
    clip, target = write_clicks(tmp_path / name, codec, pictures=video), tmp_path / "out.mp4"
    assert carried(clip, target) == ""
    assert packet_hashes(target) == packet_hashes(clip)
    assert click_times(target) == pytest.approx([0, 1, 2], abs=0.002)
    first = target.read_bytes()
    carried(clip, target)
    assert target.read_bytes() == first


def test_other_sound_is_encoded_as_aac_and_told(tmp_path: Path) -> None:
    clip, target = write_clicks(tmp_path / "pcm.mov", "pcm_s16le"), tmp_path / "out.mp4"
    assert carried(clip, target) == (
        "The clip's sound is pcm_s16le, which MP4 does not hold: it is encoded as AAC."
    )
    with av.open(str(target)) as made:
        assert made.streams.audio[0].codec_context.name == "aac"
        assert made.duration == pytest.approx(3_000_000, abs=30_000)
    assert click_times(target) == pytest.approx([0, 1, 2], abs=0.003)


@pytest.mark.parametrize(("name", "codec"), [("late.mp4", "aac"), ("late.mov", "pcm_s16le")])
def test_sound_before_the_first_picture_is_not_heard(tmp_path: Path, name: str, codec: str) -> None:
    clip = write_clicks(tmp_path / name, codec, first=0.4)
    carried(clip, tmp_path / "out.mp4")
    assert click_times(tmp_path / "out.mp4") == pytest.approx([0.6, 1.6, 2.6], abs=0.003)


def test_sound_ends_with_the_pictures(tmp_path: Path) -> None:
    for name, codec in (("long.mp4", "aac"), ("long.mov", "pcm_s16le")):
        clip = write_clicks(tmp_path / name, codec, seconds=4)
        carried(clip, tmp_path / "out.mp4", seconds=1.48)
        assert click_times(tmp_path / "out.mp4") == pytest.approx([0, 1], abs=0.003)
        with av.open(str(tmp_path / "out.mp4")) as made:
            assert made.duration == pytest.approx(1_480_000, abs=25_000)


def test_an_edit_lists_cut_is_cut_in_the_sound_too(tmp_path: Path) -> None:
    whole, cut = write_clicks(tmp_path / "whole.mp4", fps=25), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as container:  # shifted: an edit list results
        streams = {s.index: container.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.pts is not None and packet.dts is not None:
                by = round(Fraction(1, 2) / packet.time_base)
                packet.pts, packet.dts = packet.pts - by, packet.dts - by
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    assert b"elst" in cut.read_bytes()
    carried(cut, tmp_path / "out.mp4", seconds=2)
    assert click_times(tmp_path / "out.mp4") == pytest.approx([0.5, 1.5], abs=0.003)


def test_a_silent_clip_has_no_sound_and_nothing_is_told(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "silent.mp4", pictures(0.4))
    assert find_sound(clip, Fraction(1)) == (None, "")


def test_sound_of_an_unknown_kind_is_left_out_and_told(tmp_path: Path) -> None:
    clip = write_clicks(tmp_path / "odd.mkv", "tta")
    assert find_sound(clip, Fraction(3)) == (
        None,
        "The clip's sound is of a kind that cannot be read: it is left out.",
    )


def test_sound_of_implausible_size_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clicks(tmp_path / "aac.mp4")
    monkeypatch.setattr(sound_module, "MAX_PACKETS", 10)
    assert find_sound(clip, Fraction(3)) == (None, "The clip's sound is damaged: it is left out.")


def test_only_mp4_has_sound(tmp_path: Path) -> None:
    clip = write_clicks(tmp_path / "aac.mp4")
    sound, _ = find_sound(clip, Fraction(1))
    for name in ("out.gif", "out.webp"):
        write_frames(pictures(0.2), tmp_path / name, 25, sound=sound)
        with av.open(str(tmp_path / name)) as made:
            assert not made.streams.audio


def test_a_missing_clip_is_told(tmp_path: Path) -> None:
    with pytest.raises(DrivingVideoError, match="cannot be read"):
        find_sound(tmp_path / "missing.mp4", Fraction(1))
