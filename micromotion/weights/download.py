"""Downloads one file from the first of its sources that has it: lock, check, stream, verify, rename.

The bytes are streamed into a hidden part file beside the target and hashed on the way. The part is renamed
atomically, once its size and SHA-256 are verified: a kill at any moment leaves a part, which the next call
resumes, and never a bad file under the target's name.

Written on httpx: no library of ours locks, resumes across sources and verifies before it renames.
"""

from __future__ import annotations

import bz2
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from micromotion.errors import DownloadError
from micromotion.weights import web
from micromotion.weights.partfile import Part, disk_errors, hidden, is_right, locked
from micromotion.weights.sources import Drive, Hub, Source, Url
from micromotion.weights.web import Failed, Temporary, Wrong

__all__ = ["Drive", "Hub", "Source", "Url", "download"]

OnBytes = Callable[[int, int | None], None]

RETRIES = 2  # in a row without a new megabyte
MAX_UNKNOWN = 8 << 30  # bytes of a file of unknown length
MAX_WAIT = 60.0  # seconds that a server may ask us to wait
_MEGABYTE = 1 << 20


def download(
    sources: Sequence[Source],
    target: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    on_progress: OnBytes | None = None,
    timeout: float = 30.0,
    patience: float = 60.0,
    backoff: float = 1.0,
) -> None:
    """Download `target` from the first source that has it; return at once if it already exists.

    size (bytes) and sha256 (hex) are those of the finished file, unpacked where the source is packed. A wrong
    file at the target is deleted. Without sha256 we check only what the server announces: that the file has
    the announced length, is not empty and not a web page; a part is then resumed only if the server confirms
    that its version is unchanged.

    on_progress(bytes so far, bytes in all or None) is called for every chunk, and while waiting for another
    process or thread that downloads the same target; an exception in it stops the download. A source is
    retried after backoff·(1, 2) seconds, or given up, when no byte comes for `timeout` seconds, and given up
    when less than MIN_RATE bytes a second come over `patience` seconds. Proxies are those of the environment.

    Raises DownloadError, one sentence: no source has the right file, or the disk is full or not writable.
    """
    target = Path(target)
    sha256 = sha256.lower() if sha256 else None
    if is_right(target, size, sha256):
        return
    report = on_progress or (lambda done, total: None)
    with locked(target, lambda: report(_length(hidden(target, "part")), size)):
        if is_right(target, size, sha256):
            return
        with disk_errors(target):
            target.unlink(missing_ok=True)
        with Part(target) as part, web.open_client(timeout) as client:
            _check_space(part, size)
            _Transfer(client, part, size, sha256, report, timeout, patience, backoff).run(sources)
            part.publish()


@dataclass
class _Transfer:
    """Fills one part from sources: run → fetch one source, with retries → stream one response → verify."""

    client: httpx.Client
    part: Part
    size: int | None
    sha256: str | None
    report: OnBytes
    timeout: float
    patience: float
    backoff: float
    resumed: bool = field(default=False, init=False)  # does the part hold bytes of an earlier request?

    def run(self, sources: Sequence[Source]) -> None:
        """Try the sources in order until the part is complete and verified."""
        troubles: list[str] = []
        for source in sources:
            try:
                return self._fetch(source)
            except Failed as trouble:
                troubles.append(f"{source.label} {trouble}")
        resumes = self.part.length > 0 and any(self._may_resume(source) for source in sources)
        raise DownloadError(_sentence(self.part.target, troubles, resumes))

    def _fetch(self, source: Source) -> None:
        """Try one source, with retries, and once from scratch if a resumed part was wrong."""
        restarted, tries, mark = False, 0, self.part.length
        while True:
            try:
                self._stream(source)
                return self._verify()
            except Wrong:
                self.part.restart()
                if restarted or not self.resumed:
                    raise
                restarted, tries, mark = True, 0, 0
            except Temporary as trouble:
                if self.part.length >= mark + _MEGABYTE:
                    tries, mark = 0, self.part.length
                tries += 1
                wait = self.backoff * 2 ** (tries - 1) if trouble.wait is None else trouble.wait
                if tries > RETRIES or wait > MAX_WAIT:
                    raise
                time.sleep(wait)

    def _verify(self) -> None:
        if self.size is not None and self.part.length != self.size:
            raise Wrong(f"sends {self.part.length} bytes instead of {self.size}")
        if self.sha256 is not None and self.part.sha256 != self.sha256:
            raise Wrong("sends another file, its SHA-256 is not the right one")
        if not self.part.length:
            raise Wrong("sends an empty file")

    def _stream(self, source: Source) -> None:
        """Append one request's body to the part, which is then complete, though unverified."""
        packed = _is_packed(source)
        if not self._may_resume(source):
            self.part.restart()
        self.resumed = self.part.length > 0
        if self.resumed and (self.part.length == self.size or self.part.sha256 == self.sha256):
            return
        with (
            web.Watch(self.patience) as watch,
            web.in_words(watch, self.timeout),
            closing(self._open(source, watch)) as response,
        ):
            web.check_answer(response, self.part.length)
            total = self.size if packed else self._begin(response, source)
            self.report(self.part.length, total)
            chunks = watch.counted(response.iter_raw())
            for piece in _bunzip(chunks) if packed else chunks:
                if self.part.length + len(piece) > (MAX_UNKNOWN if total is None else total):
                    raise Wrong(f"sends more than the {total or MAX_UNKNOWN} bytes of the file")
                self.part.append(piece)
                self.report(self.part.length, total)
        if not packed and total is not None and self.part.length < total:
            raise Temporary(f"breaks off after {self.part.length} of {total} bytes")

    def _may_resume(self, source: Source) -> bool:
        """With a hash any part may be resumed; without one, only if its version is known."""
        if _is_packed(source) or (self.size is not None and self.part.length > self.size):
            return False
        return self.sha256 is not None or self.part.version(source.address) is not None

    def _open(self, source: Source, watch: web.Watch) -> httpx.Response:
        """The response to a request for the file, or for its missing range."""
        headers = {}
        if self.part.length:
            headers["Range"] = f"bytes={self.part.length}-"
            if self.sha256 is None and (version := self.part.version(source.address)):
                headers["If-Range"] = version  # a hash decides better: If-Range could discard a good part
        response = web.get(self.client, source.address, {**headers, **source.headers()}, watch)
        if isinstance(source, Drive) and response.is_success and web.is_page(response):
            page = web.read_page(response)
            if (address := source.confirmed(page)) is None:
                over = re.search(r"quota\s+exceeded", page, re.IGNORECASE)
                raise Failed("has had its quota of downloads for now" if over else "sends a web page")
            response = web.get(self.client, address, headers, watch)
        return response

    def _begin(self, response: httpx.Response, source: Source) -> int | None:
        """Make the part end where the response begins; returns the file's length, or None."""
        if response.status_code == 206:
            total = self._check_range(response, source)
        else:
            total = web.announced(response)
            if None not in (self.size, total) and total != self.size:
                raise Failed(f"has {total} bytes instead of {self.size}")
            self.part.restart()
            self.resumed = False
            if self.sha256 is None:
                self.part.note(source.address, web.version(response))
        if self.size is None:
            _check_space(self.part, total)
        return self.size if total is None else total

    def _check_range(self, response: httpx.Response, source: Source) -> int | None:
        """The file's length by Content-Range; Wrong if the range does not start where the part ends."""
        text = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text.strip())
        if match is None or int(match[1]) != self.part.length:
            raise Wrong("sends another range than the one asked for")
        total = None if match[3] == "*" else int(match[3])
        if total is not None and (int(match[2]) >= total or self.size not in (None, total)):
            raise Wrong(f"sends a range of another file, of {total} bytes")
        if self.sha256 is not None:
            self.part.forget()
        elif web.version(response) not in (None, self.part.version(source.address)):
            raise Wrong("sends a range of another version of the file")
        return total


def _is_packed(source: Source) -> bool:
    return isinstance(source, Url) and source.unpack == "bz2"


def _bunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress bzip2 in chunks of at most a megabyte; concatenated streams are one file."""
    unpacker = bz2.BZ2Decompressor()
    for chunk in chunks:
        while chunk or not unpacker.needs_input:
            if unpacker.eof:
                if not (chunk := unpacker.unused_data + chunk):
                    break
                unpacker = bz2.BZ2Decompressor()
            try:
                piece = unpacker.decompress(chunk, _MEGABYTE)
            except (OSError, ValueError) as error:
                raise Wrong("sends what is not a bzip2 file") from error
            chunk = b""
            if piece:
                yield piece
    if not unpacker.eof:
        raise Temporary("breaks off within the packed file")


def _check_space(part: Part, size: int | None) -> None:
    """Raise DownloadError if the file's missing bytes do not fit on the disk."""
    folder = part.target.parent
    lacking = (size or 0) - part.length
    with disk_errors(part.target):
        free = shutil.disk_usage(folder).free
    if lacking > free:
        raise DownloadError(
            f"{part.target.name} needs {lacking / 1e6:,.1f} MB more on the disk of {folder}, which has "
            f"{free / 1e6:,.1f} MB free: make room and try again."
        )


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sentence(target: Path, troubles: Sequence[str], resumes: bool) -> str:
    """What went wrong with each source, and what to do."""
    by_hand = f"download it by hand to {target} and start again"
    if not troubles:
        return f"{target.name} has no known source: {by_hand}."
    tried = "its only source" if len(troubles) == 1 else f"any of its {len(troubles)} sources"
    again = "try again, it resumes where it stopped" if resumes else "try again later"
    return (
        f"{target.name} could not be downloaded from {tried} ({'; '.join(troubles)}): {again}, or {by_hand}."
    )
