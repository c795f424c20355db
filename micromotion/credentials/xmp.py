"""A claim as XMP, for programs that know no C2PA: the packet, and where each format keeps it.

Properties: `DigitalSourceType`, `AISystemUsed` and `AISystemVersionUsed` of IPTC's photo metadata 2025.1, and
a description. Formats: XMP specification part 3. The packet is put in before the file is signed, so that the
signature covers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from micromotion.credentials.claim import PROGRAM, VERSION, Claim

_KEYWORD = "XML:com.adobe.xmp"  # of PNG's iTXt chunk
_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # of MP4's box
_GIF_BLOCK = b"\x21\xff\x0bXMP DataXMP"  # an application extension, whose data is not in sub-blocks
_GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])  # leads decoders that expect sub-blocks to the end
_WEBP_XMP = 0x04  # flag in VP8X


def packet(claim: Claim) -> bytes:
    """The XMP packet, UTF-8."""
    properties = {
        "Iptc4xmpExt:DigitalSourceType": claim.source_type,
        "Iptc4xmpExt:AISystemUsed": f"{PROGRAM}, model {claim.model}",
        "Iptc4xmpExt:AISystemVersionUsed": VERSION,
        "xmp:CreatorTool": f"{PROGRAM} {VERSION}",
    }
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in properties.items())
    text = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"{attributes}>'
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(claim.sentence)}</rdf:li></rdf:Alt>'
        '</dc:description></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
    return text.encode()


def pillow_options(suffix: str, content: bytes) -> dict[str, Any]:
    """The keywords with which Pillow saves a PNG, JPEG or still WebP with this packet."""
    if suffix != ".png":
        return {"xmp": content}
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(_KEYWORD, content.decode())
    return {"pnginfo": info}


def embed(path: Path, content: bytes) -> None:
    """Put a packet into a finished MP4, GIF or animated WebP without one, in place. Raises OSError."""
    {".mp4": _into_mp4, ".gif": _into_gif, ".webp": _into_webp}[path.suffix.lower()](path, content)


def _into_mp4(path: Path, content: bytes) -> None:
    """A box at the end, where it moves no other."""
    with path.open("ab") as file:
        file.write((8 + len(_UUID) + len(content)).to_bytes(4, "big") + b"uuid" + _UUID + content)


def _into_gif(path: Path, content: bytes) -> None:
    """A block after the last picture."""
    with path.open("r+b") as file:
        file.seek(-1, 2)
        end = file.read(1)
        file.seek(-1, 2)
        file.write(_GIF_BLOCK + content + _GIF_TRAILER + end)


def _into_webp(path: Path, content: bytes) -> None:
    """A chunk at the end, as the specification orders, and its flag in the header (RFC 9649)."""
    with path.open("r+b") as file:
        file.seek(0, 2)
        padding = b"\0" * (len(content) % 2)
        file.write(b"XMP " + len(content).to_bytes(4, "little") + content + padding)
        size = file.tell() - 8
        file.seek(4)
        file.write(size.to_bytes(4, "little"))
        file.seek(20)
        flags = file.read(1)[0]
        file.seek(20)
        file.write(bytes([flags | _WEBP_XMP]))
