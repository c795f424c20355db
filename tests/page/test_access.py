"""Direct HTTP requests to the served page, without a browser: no foreign file or route is reachable."""

from __future__ import annotations

import httpx
import pytest
from page_browser import NEEDS_GRADIO, ROOT, Served

pytestmark = [pytest.mark.slow, NEEDS_GRADIO]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=" + str(ROOT / "README.md"),
        "/gradio_api/file=http://127.0.0.1:1/",
        "/file=/etc/passwd",
        "/gradio_api/info",
        "/gradio_api/startup-events",
        "/monitoring",
        "/docs",
        "/openapi.json",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_other_file_is_served(page: Served, path: str) -> None:
    answer = httpx.get(page.address + path)
    assert answer.status_code in (403, 404)
    assert b"root:" not in answer.content


def test_the_folder_of_videos_cannot_be_escaped(page: Served) -> None:
    (folder,) = page.temporary.glob("micromotion-page-*")
    (page.temporary / "secret.txt").write_text("secret")
    try:
        for path in (
            f"{folder}/../secret.txt",
            f"{folder}/%2e%2e/secret.txt",
            f"{folder}/x/..%2f../secret.txt",
        ):
            answer = httpx.get(f"{page.address}/gradio_api/file={path}")
            assert answer.status_code in (403, 404)
            assert b"secret" not in answer.content
    finally:
        (page.temporary / "secret.txt").unlink()


@pytest.mark.parametrize(
    ("meta", "refusal"),
    [({"meta": {"_type": "gradio.FileData"}}, '"success":false'), ({}, "The picture did not arrive")],
    ids=["Gradio refuses", "we do"],
)
def test_a_visitor_cannot_have_another_file_read(page: Served, meta: dict[str, object], refusal: str) -> None:
    """Only an uploaded file is read as a photo, also in a handmade request."""
    config = httpx.get(f"{page.address}/config").json()
    (upload,) = (each["id"] for each in config["components"] if each["props"].get("elem_id") == "mm-upload")
    event = next(each["id"] for each in config["dependencies"] if [upload, "input"] in each["targets"])
    ours = ROOT / "docs" / "face.jpg"
    before = ours.read_bytes()
    asked = {"data": [{"path": str(ours), **meta}], "fn_index": event, "session_hash": f"mine{len(meta)}"}
    httpx.post(f"{page.address}/gradio_api/queue/join", json=asked).raise_for_status()
    told = f"{page.address}/gradio_api/queue/data?session_hash={asked['session_hash']}"
    with httpx.stream("GET", told, timeout=60) as answer:
        end = next(line for line in answer.iter_lines() if "process_completed" in line)
    assert refusal in end
    assert "data:image" not in end
    assert ours.read_bytes() == before
    assert not any(path.name == "face.jpg" for path in page.files())


def test_other_sites_cannot_call(page: Served) -> None:
    asked = page.address + "/gradio_api/queue/join"
    assert httpx.post(asked, headers={"Origin": "http://elsewhere.example"}).status_code == 403
    assert httpx.get(page.address, headers={"Host": "elsewhere.example"}).status_code == 403
    assert "default-src 'self'" in httpx.get(page.address).headers["content-security-policy"]
