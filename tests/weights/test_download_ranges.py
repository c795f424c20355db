"""A download resumes exactly where its part ends, or restarts."""

from pathlib import Path

import pytest
from downloads import CONTENT, fetch, leave_part
from misbehaving_server import File, InTurn, MisbehavingServer, Status

from micromotion.weights.download import Url


@pytest.mark.parametrize("off", [-500, 500])
def test_a_range_with_another_start_is_not_appended(
    server: MisbehavingServer, target: Path, off: int
) -> None:
    """Its length would fit, and without a hash the error would go unnoticed."""
    have, size = 100_000, len(CONTENT)
    first = have + off
    body = CONTENT[first : first + size - have].ljust(size - have, b"?")
    headers = {"Content-Range": f"bytes {first}-{size - 1}/{size}", "ETag": '"one"'}
    address = server.add("/a", InTurn(Status(206, headers, body), File(CONTENT, version='"one"')))
    leave_part(target, CONTENT[:have], address, '"one"')
    fetch([Url(address)], target)
    assert len(server.requests) == 2
