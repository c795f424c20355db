"""Videos to learn from and to drive a photo: cut, damaged, trimmed, turned, empty, endless, huge, or none."""

from __future__ import annotations

import io
import struct
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from trajectories import still
from videos import oriented, trimmed, write_sound, write_video

from abuse.items import EITHER, FAILED, REFUSED, Command, Item, Request, data_url, expected
from micromotion.drive.trajectory import save_trajectory

Maker = Callable[[Path], object]

_EDITS: dict[str, Sequence[tuple[float, float]]] = {
    "to the middle": [(0.4, 0.2)],
    "to nothing": [(0.0, 0.2)],
    "beyond the end": [(1.0, 1000.0)],
    "of nothing": [(1.0, -1)],
    "after a day of nothing": [(86_400.0, -1), (0.4, 0.2)],
    "backwards": [(0.1, 0.8), (0.1, 0.4), (0.1, 0.0)],
    "a hundred times": [(0.04, 0.9)] * 100,
    "100,000 times": [(0.04, 0.9)] * 100_000,
}
_ONE, _MOST, _LEAST = 1 << 16, 2**31 - 1, -(2**31)
_MATRICES: dict[str, Sequence[int]] = {
    "mirrored": (-_ONE, 0, 0, 0, _ONE, 0, 0, 0, 1 << 30),
    "mirrored and turned": (0, _ONE, 0, _ONE, 0, 0, 0, 0, 1 << 30),
    "of zeros": (0,) * 9,
    "of the largest numbers": (_MOST,) * 9,
    "of the least numbers": (_LEAST,) * 9,
    "askew": (46_341, 46_341, 0, -46_341, 46_341, 0, 0, 0, 1 << 30),
    "of one line": (_ONE, _ONE, 0, _ONE, _ONE, 0, 0, 0, 1 << 30),
}


def videos(model: Path, photo: Image.Image) -> Iterator[Item]:
    """One call of `micromotion learn video` for each video; photo is the face in the decodable ones."""
    for name, (file, make) in _clips(photo).items():
        arguments = partial(_learn, model, file, make)
        yield Command("videos", f"video: {name}", arguments, expected(FAILED, REFUSED))


def driving(photo_url: str, photo: Image.Image) -> Iterator[Item]:
    """One request to the service for each video, and for each trajectory; photo_url is what they drive."""
    for name, (file, make) in {**_clips(photo), **_trajectories()}.items():
        body = partial(_drive, photo_url, file, make)
        yield Request("driving videos", f"driving video: {name}", body, EITHER)


def _drive(photo_url: str, file: str, make: Maker) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file.lstrip("-")
        make(path)
        sent = data_url(path.read_bytes(), "video/mp4")
    return {"input": {"image": photo_url, "driving_video": sent, "view": "face", "size": 64}}


def _trajectories() -> dict[str, tuple[str, Maker]]:
    """Trajectories that are whole, cut, flipped, endless, or of absurd numbers."""

    def saved(path: Path) -> None:
        save_trajectory(path, still(3, pose=[0, 8, 0]), {"source": "a test"})

    def cut(path: Path) -> None:
        saved(path)
        path.write_bytes(path.read_bytes()[:-10])

    def long_header(path: Path) -> None:
        saved(path)
        path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])

    def absurd(path: Path) -> None:
        saved(path)
        data = path.read_bytes()
        path.write_bytes(data[:-4000] + struct.pack("<f", float("nan")) * 1000)

    def much(path: Path) -> None:
        saved(path)
        path.write_bytes(path.read_bytes() + bytes(3 << 20))

    made: dict[str, Maker] = {
        "a trajectory": saved,
        "a trajectory that is cut": cut,
        "a trajectory with a header of 2⁶² bytes": long_header,
        "a trajectory of no numbers": absurd,
        "a trajectory of 3 MB": much,
    }
    return {name: ("track.safetensors", make) for name, make in made.items()}


def _learn(model: Path, file: str, make: Maker, folder: Path) -> Sequence[str]:
    path = folder / file
    make(path)
    return ["learn", "video", str(path), "--name", "taken", "--model", str(model)]


def _video(photo: Image.Image, path: Path, count: int = 12) -> bytes:
    """A short video of one still face, from which no motion can be learned."""
    pixels = np.asarray(photo.resize((160, 160)))
    options: dict[str, Any] = {"codec": "mpeg4"} if path.suffix == ".avi" else {}
    write_video(path, [pixels] * count, **options)
    return path.read_bytes()


def _cut(photo: Image.Image, share: float, path: Path) -> None:
    data = _video(photo, path)
    path.write_bytes(data[: max(1, round(share * len(data)))])


def _flipped(photo: Image.Image, seed: int, path: Path) -> None:
    rng = np.random.default_rng(seed)
    bits = np.frombuffer(_video(photo, path), np.uint8).copy()
    places = rng.integers(0, len(bits), 40)
    bits[places] ^= np.uint8(1) << rng.integers(0, 8, 40).astype(np.uint8)
    path.write_bytes(bits.tobytes())


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _blank(width: int, height: int, path: Path) -> None:
    write_video(path, [np.zeros((height, width, 3), np.uint8)] * 3)


def _tone(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))


def _picture(kind: str, path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, kind)
    path.write_bytes(file.getvalue())


def _times(photo: Image.Image, path: Path) -> None:
    pixels = np.asarray(photo.resize((64, 64)))
    write_video(path, [pixels] * 4, times=[0, 1, 2, 100_000])


def _edited(photo: Image.Image, edits: Sequence[tuple[float, float]], path: Path) -> None:
    pixels = np.asarray(photo.resize((160, 160)))
    trimmed(write_video(path, [pixels] * 24, g="24"), *edits)


def _matrix(photo: Image.Image, numbers: Sequence[int], path: Path) -> None:
    """A display matrix of any numbers, [a b u; c d v; x y w]."""
    _video(photo, path)
    data = bytearray(oriented(path, -1, 0, 0, 1).read_bytes())
    struct.pack_into(">9i", data, data.index(struct.pack(">i", -1 << 16), data.index(b"tkhd")), *numbers)
    path.write_bytes(data)


def _edit_count(photo: Image.Image, count: int, path: Path) -> None:
    """An edit list that claims this many entries, but has one."""
    data = bytearray(_video(photo, path))
    struct.pack_into(">I", data, data.index(b"elst") + 8, count)
    path.write_bytes(data)


def _crowd(photo: Image.Image, path: Path) -> None:
    """The same face nine times, never moving."""
    face = photo.resize((120, 120))
    page = Image.new("RGB", (400, 400), "gray")
    for place in range(9):
        page.paste(face, (place % 3 * 130, place // 3 * 130))
    write_video(path, [np.asarray(page)] * 6)


def _leaving(photo: Image.Image, path: Path) -> None:
    frames = []
    for step in range(16):
        page = Image.new("RGB", (240, 200), "gray")
        page.paste(photo.resize((160, 160)), (40 + 12 * step, 20))
        frames.append(np.asarray(page))
    write_video(path, frames)


def _many(path: Path) -> None:
    """30,000 frames of GIF, in a few hundred kB."""
    head = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + bytes(6)
    path.write_bytes(
        head + (b"," + struct.pack("<HHHHB", 0, 0, 64, 64, 0) + b"\x02\x02\x4c\x01\0") * 30_000 + b";"
    )


def _box(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def _clips(photo: Image.Image) -> dict[str, tuple[str, Maker]]:
    head = _box(b"ftyp", b"isom\0\0\2\0isomavc1")
    videos: dict[str, tuple[str, Maker]] = {
        "nothing": ("video.mp4", partial(_write, b"")),
        "zeros": ("video.mp4", partial(_write, bytes(5000))),
        "noise": ("video.mp4", partial(_write, np.random.default_rng(1).bytes(50_000))),
        "text": ("video.mp4", partial(_write, b"This is no video.\n" * 50)),
        "HTML": ("video.mp4", partial(_write, b"<!doctype html><video src=x>")),
        "a shell script": ("video.mp4", partial(_write, b"#!/bin/sh\ntouch sprung\n")),
        "a playlist of files": ("video.m3u8", partial(_write, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")),
        "a playlist under a video's name": (
            "video.mp4",
            partial(_write, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"),
        ),
        "a list for concat": ("video.mp4", partial(_write, b"ffconcat version 1.0\nfile /etc/passwd\n")),
        "a DASH manifest": (
            "video.mpd",
            partial(_write, b'<?xml version="1.0"?><MPD><BaseURL>/etc/</BaseURL></MPD>'),
        ),
        "an SDP": ("video.sdp", partial(_write, b"v=0\nc=IN IP4 127.0.0.1\nm=video 1 RTP/AVP 96\n")),
        "only sound": ("video.mp4", write_sound),
        "a WAV": ("video.wav", _tone),
        "a still PNG": ("video.png", partial(_picture, "PNG")),
        "a still JPEG under a video's name": ("video.mp4", partial(_picture, "JPEG")),
        "an MP4's head alone": ("video.mp4", partial(_write, head)),
        "an MP4 without tracks": (
            "video.mp4",
            partial(_write, head + _box(b"moov", _box(b"mvhd", bytes(100)))),
        ),
        "boxes in boxes": ("video.mp4", partial(_write, head + _nested(2000))),
        "a box of 2⁶³": ("video.mp4", partial(_write, head + struct.pack(">I4sQ", 1, b"moov", 2**63))),
        "frames of 6,000 × 4,000": ("video.mp4", partial(_blank, 6000, 4000)),
        "frames of 16 × 16": ("video.mp4", partial(_blank, 16, 16)),
        "a day between two frames": ("video.mkv", partial(_times, photo)),
        "30,000 frames of GIF": ("video.gif", _many),
        "no face": ("video.mp4", partial(_blank, 200, 200)),
        "a face that does not move": ("video.mp4", partial(_video, photo)),
        "one frame": ("video.mp4", partial(_video, photo, count=1)),
        "a name that begins with a dash": ("-video.mp4", partial(_write, b"x")),
    }
    for name, edits in _EDITS.items():
        videos[f"an edit list, {name}"] = ("video.mp4", partial(_edited, photo, edits))
    for name, numbers in _MATRICES.items():
        videos[f"a display matrix, {name}"] = ("video.mp4", partial(_matrix, photo, numbers))
    for count in (0, 2, 10**6, 2**32 - 1):
        videos[f"an edit list that says {count}"] = ("video.mp4", partial(_edit_count, photo, count))
    videos["a crowd"] = ("video.mp4", partial(_crowd, photo))
    videos["a face that leaves"] = ("video.mp4", partial(_leaving, photo))
    for suffix in ("mp4", "mkv", "avi"):
        for share in (0.02, 0.3, 0.9):
            videos[f"{suffix} cut at {100 * share:.0f}%"] = (f"video.{suffix}", partial(_cut, photo, share))
        for seed in range(2):
            videos[f"{suffix} with 40 bits flipped, {seed}"] = (
                f"video.{suffix}",
                partial(_flipped, photo, seed),
            )
    return videos


def _nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = _box(b"moov", data)
    return data
