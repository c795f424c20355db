"""XMP in written files says the same, read without our code, and the signature covers it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import c2pa_reader
import numpy as np
import pytest
from PIL import Image
from video_formats import boxes, moving

from micromotion.credentials.claim import EDITED, VERSION, Claim
from micromotion.credentials.xmp import packet
from micromotion.video.picture import write_picture
from micromotion.video.writer import write_frames

CLAIM = Claim.of('my <model> & "co"', ["smile"], np.array([[0], [1]]), shows_photo=True)
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def parsed(content: bytes) -> ElementTree.Element:
    (description,) = ElementTree.fromstring(content.decode().removeprefix("\ufeff")).iter(
        "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
    )
    return description


def in_file(content: bytes) -> bytes:
    """The packet in a file, found as a scanner that knows no format finds it."""
    start, end = content.index(b"<?xpacket begin="), content.index(b'<?xpacket end="r"?>')
    assert content.count(b"<?xpacket begin=") == 1
    return content[start : end + 19]


def test_the_packet_says_the_same() -> None:
    description = parsed(packet(CLAIM))
    assert description.get(f"{IPTC}DigitalSourceType") == EDITED
    assert description.get(f"{IPTC}AISystemUsed") == 'micromotion, model my <model> & "co"'
    assert description.get(f"{IPTC}AISystemVersionUsed") == VERSION
    assert CLAIM.sentence in "".join(description.itertext())


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "still.webp", "a.png", "a.jpg"])
def test_it_is_in_each_file_and_signed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in ("a.mp4", "a.gif", "a.webp"):
        write_frames(moving(3), path, 30, claim=CLAIM)
    else:
        write_picture(Image.fromarray(next(moving(1))), path, CLAIM)
    content = path.read_bytes()
    assert in_file(content) == packet(CLAIM)
    at = content.index(b"AISystemVersionUsed=") + 21
    changed = content[:at] + b"9" + content[at + 1 :]
    assert c2pa_reader.state(changed) == "Invalid" or name == "a.png"  # PNG's own checksum fails first


@pytest.mark.parametrize("name", ["a.webp", "still.webp", "a.png", "a.jpg"])
def test_pillow_finds_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.webp":
        write_frames(moving(3), path, 30, claim=CLAIM)
    else:
        write_picture(Image.fromarray(next(moving(1))), path, CLAIM)
    with Image.open(path) as opened:
        opened.load()
        found = opened.info.get("xmp") or opened.info["XML:com.adobe.xmp"].encode()
    assert parsed(found).get(f"{IPTC}DigitalSourceType") == EDITED


def test_an_mp4_keeps_its_index_first(tmp_path: Path) -> None:
    plain = boxes(write_frames(moving(3), tmp_path / "plain.mp4", 30).read_bytes())
    signed = boxes(write_frames(moving(3), tmp_path / "a.mp4", 30, claim=CLAIM).read_bytes())
    assert signed == ["ftyp", "uuid", *plain[1:], "uuid"]


def test_a_gif_ends_with_its_trailer_and_the_block_is_well_formed(tmp_path: Path) -> None:
    content = write_frames(moving(2), tmp_path / "a.gif", 30, claim=CLAIM).read_bytes()
    assert content.endswith(b"\0;")
    at = content.index(b"XMP DataXMP") + 11
    while size := content[at]:  # as a decoder skips sub-blocks that it does not know
        at += size + 1
    assert content[at + 1 :] == b";"
