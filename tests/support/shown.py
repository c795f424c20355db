"""What a video or picture shows.

Credentials are signed anew each time, so equal requests give equal frames, not equal bytes.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import av
from PIL import Image


def shown(file: Path | bytes) -> str:
    """A digest of the frames and their times."""
    content = file if isinstance(file, bytes) else file.read_bytes()
    digest = hashlib.sha256()
    if content[4:8] == b"ftyp":
        with av.open(io.BytesIO(content), "r") as video:
            for picture in video.decode(video=0):
                digest.update(repr((picture.time, picture.width, picture.height)).encode())
                digest.update(picture.to_ndarray().tobytes())
        return digest.hexdigest()
    with Image.open(io.BytesIO(content)) as opened:
        for index in range(getattr(opened, "n_frames", 1)):
            opened.seek(index)
            digest.update(repr((opened.info.get("duration"), opened.size, opened.format)).encode())
            digest.update(opened.convert("RGB").tobytes())
    return digest.hexdigest()
