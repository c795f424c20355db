"""Turns the errors of `huggingface_hub` into sentences.

The library's own messages are left out: they span lines and quote addresses, which may be signed. Importing
this module does not import the library.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from micromotion.errors import DownloadError, MicromotionError

HUB = "the Hugging Face hub"
LOGS = ("huggingface_hub.file_download", "huggingface_hub.utils._http", "httpx2")
"""The loggers that write addresses: the library's, and that of its HTTP client."""
_LOG_IN = "log in, with `hf auth login` or HF_TOKEN"


@contextmanager
def hub_errors(task: str, failure: type[MicromotionError] = DownloadError) -> Iterator[None]:
    """Turn any error of the library into `failure`, one sentence: the task, "the Hugging Face hub", why.

    Within the block the library's warnings show no queries of addresses: with a signed one anybody could
    fetch a private file.

    Every Exception: the library and what it builds on have no common base, and an unexpected answer of a
    server shows as a KeyError or a TypeError.
    """
    redact = _WithoutQueries()
    logs = [logging.getLogger(name) for name in LOGS]
    for log in logs:
        log.addFilter(redact)
    try:
        yield
    except MicromotionError:
        raise
    except Exception as error:
        raise failure(f"{task} {HUB}: {_reason(error)}.") from error
    finally:
        for log in logs:
            log.removeFilter(redact)


class _WithoutQueries(logging.Filter):
    """Replaces the query of each address in a log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"\?[^\s'\"]+", "?…", record.getMessage()), ()
        return True


def _reason(error: BaseException) -> str:
    """Why, and what to do, without a full stop."""
    import httpx2
    from huggingface_hub import errors as hub

    for each in _causes(error):
        if isinstance(each, hub.OfflineModeIsEnabled):
            return (
                "it is not in the library's cache, and HF_HUB_OFFLINE is set; unset that, or fetch it before"
            )
        if isinstance(each, hub.GatedRepoError):
            return f"its terms must be accepted on its page first; then {_LOG_IN}"
        if isinstance(each, hub.RevisionNotFoundError):
            return "there is no such revision; give a branch, a tag or a commit of that repository"
        if isinstance(each, hub.RemoteEntryNotFoundError):
            return "the repository has no such file; correct the address"
        if isinstance(each, hub.RepositoryNotFoundError):
            return f"there is no such repository, or it is private; correct the address, or {_LOG_IN}"
        if isinstance(each, hub.HfHubHTTPError):
            return _status(each.response.status_code)
        if isinstance(each, hub.HFValidationError):
            return "that is no name of a repository; correct the address"
        if isinstance(each, httpx2.TimeoutException):
            return "it does not answer in time; try again later"
        if isinstance(each, httpx2.HTTPError):
            return "it cannot be reached, or breaks the connection; try again later"
        if isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full; make room in the library's cache, which HF_HOME places"
        if isinstance(each, OSError) and each.strerror:
            return f"{each.strerror.lower()}; correct the library's cache, which HF_HOME places"
    return f"the transfer failed ({type(error).__name__}); try again later"


def _status(code: int) -> str:
    """The reason for an answer of the hub that is an error."""
    if code in (401, 403):
        return f"it answers {code}, this is not allowed; {_LOG_IN}, as somebody who may"
    if code == 429:
        return "it answers 429, too many requests; try again in a few minutes, or log in"
    advice = "try again later" if code >= 500 else "its own words are shown with --debug"
    return f"it answers {code}; {advice}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what caused it; the library wraps some errors in others."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
