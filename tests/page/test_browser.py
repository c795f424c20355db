"""The page end to end: the real command, the real model, a real browser."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from page_browser import (
    EXAMPLE,
    NEEDS_GRADIO,
    PATIENCE,
    PREVIEW,
    RENDER,
    ROOT,
    Served,
    Visitor,
    eventually,
    launched,
    visiting,
    visiting_alone,
)
from PIL import Image
from playwright.sync_api import Browser, Route

pytestmark = [pytest.mark.browser, NEEDS_GRADIO]

UPLOAD = "#mm-upload input[type=file]"


@pytest.fixture
def visitor(chrome: Browser, page: Served) -> Iterator[Visitor]:
    """A new visitor; every test also checks that the browser contacts no other machine."""
    with visiting_alone(chrome, page) as arrived:
        yield arrived


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]).astype(int)


def picture(source: str | None) -> np.ndarray:
    """The pixels of a data URL."""
    assert source is not None
    return np.asarray(Image.open(BytesIO(base64.b64decode(source.partition(",")[2])))).astype(int)


def test_two_clicks_lead_to_a_moving_face(visitor: Visitor, tmp_path: Path) -> None:
    visitor.choose_example()
    visitor.render()
    video = frames_of(visitor.download(tmp_path))
    assert len(video) == 119, "60 frames there and back"
    change = np.abs(video - video[0]).mean(axis=3)
    face = change.max(axis=0) > 25  # the rest of the photo only trembles, by the video's compression
    assert 100 < face.sum() < face.size / 4
    moved = change[:, face].mean(axis=1)
    assert moved.argmax() in range(50, 70), "the smile is widest in the middle"
    assert moved[59] > 5 * moved[-1], "and gone at the end"


def test_the_preview_follows_the_sliders(visitor: Visitor) -> None:
    visitor.choose_example()
    smiling = visitor.source()
    visitor.set("mm-motion-smile", "0")
    visitor.wait_for_change(PREVIEW, "src", smiling)
    still = visitor.source()
    slider = visitor.page.locator("#mm-motion-headsTurn input[type=range]")
    slider.press("End")
    assert slider.input_value() == "2"
    visitor.wait_for_change(PREVIEW, "src", still)
    assert np.abs(picture(visitor.source()) - picture(still)).mean() > 1
    before = visitor.source()
    visitor.page.click("#mm-motion-headsTurn button")  # back to 0
    visitor.wait_for_change(PREVIEW, "src", before)
    assert visitor.source() == still, "the same face at the same strengths is the same picture"


def test_one_of_several_faces_is_chosen(visitor: Visitor, page: Served, astronaut_file: Path) -> None:
    visitor.page.set_input_files(UPLOAD, astronaut_file)
    visitor.wait_for(PREVIEW)
    assert visitor.page.locator("#mm-photo .mm-box").count() == 2, (
        "the second one is a false detection, and shown"
    )
    assert page.files() == [], "the photo is not kept in a file"
    first = visitor.source()
    visitor.page.click("#mm-photo [data-face='1']")
    visitor.wait_for_change(PREVIEW, "src", first)
    assert visitor.page.locator("#mm-photo input[value='1']").is_checked()
    second = visitor.source()
    visitor.page.locator("#mm-photo input[value='1']").press("ArrowUp")
    visitor.wait_for_change(PREVIEW, "src", second)
    assert visitor.source() == first


def test_the_whole_photo_moves(visitor: Visitor, astronaut_file: Path, tmp_path: Path) -> None:
    visitor.page.set_input_files(UPLOAD, astronaut_file)
    visitor.wait_for(PREVIEW)
    visitor.short(3)
    assert "The video will show the whole photo" in visitor.wait_for("#mm-whole").inner_text()
    visitor.page.check("#mm-view input[value=face]")
    assert not visitor.page.is_visible("#mm-whole")
    visitor.page.check("#mm-view input[value=photo]")
    visitor.render()
    video = frames_of(visitor.download(tmp_path))
    assert video.shape == (3, 512, 512, 3)


def test_all_faces_of_a_photo_move(visitor: Visitor, tmp_path: Path) -> None:
    visitor.choose_example()
    assert not visitor.page.is_visible("#mm-who"), "there is one face"
    before = visitor.source()
    visitor.page.set_input_files(UPLOAD, ROOT / "docs/faces/groups/oath.jpg")
    visitor.wait_for_change(PREVIEW, "src", before)
    visitor.short(3)
    visitor.page.check("#mm-view input[value=face]")
    assert not visitor.page.is_visible("#mm-who"), "this view shows one face"
    visitor.page.check("#mm-view input[value=photo]")
    visitor.page.check("#mm-who input[value=all]")
    visitor.render()
    video = frames_of(visitor.download(tmp_path))
    assert video.shape == (3, 500, 1000, 3)
    change = np.abs(video[-1] - video[0]).max(axis=-1)
    for left in (862, 318, 583, 79):  # of the four faces
        assert change[80:250, left : left + 100].max() > 40


def test_a_timeline_plays_and_its_errors_have_a_position(visitor: Visitor, tmp_path: Path) -> None:
    visitor.choose_example()
    visitor.page.check("#mm-mode input[value=Timeline]")
    visitor.wait_for("#mm-text textarea")
    before = visitor.source()
    visitor.set("mm-moment", "0")
    visitor.wait_for_change(PREVIEW, "src", before)
    text = visitor.page.locator("#mm-text textarea")
    text.fill("0.1s smile smooth\n0.2s smiel=0.5")
    alert = visitor.wait_for("#mm-motion-message [role=alert]")
    assert "line 2, column 6: There is no micromotion 'smiel' (did you mean 'smile'?)" in alert.inner_text()
    line, caret = alert.query_selector("pre").inner_text().splitlines()
    assert line[caret.index("^") :].startswith("smiel")
    visitor.page.click(RENDER)
    assert "smiel" in visitor.wait_for("#mm-status [role=alert]").inner_text(), "nor can it be rendered"
    visitor.wait_for(RENDER)
    text.fill("0.1s smile smooth\n0.2s smile=0")
    visitor.page.wait_for_selector("#mm-motion-message [role=alert]", state="detached")
    visitor.page.check("#mm-loop input[value=once]")
    visitor.render()
    assert len(frames_of(visitor.download(tmp_path))) == 7
    visitor.page.click("#mm-presets button >> nth=1")
    visitor.page.wait_for_function("document.querySelector('#mm-text textarea').value.includes('eyesClose')")


def test_cancel_stops_the_work(visitor: Visitor, page: Served) -> None:
    visitor.choose_example()
    visitor.short(600)
    visitor.page.click(RENDER)
    visitor.wait_for("#mm-status progress[value]")
    assert not visitor.page.is_visible(RENDER)
    answered = []

    def answer_late(route: Route) -> None:
        answer = route.fetch()
        time.sleep(2)  # meanwhile rendering stops, and reports so
        route.fulfill(response=answer)
        answered.append(answer.json())

    visitor.page.route("**/run/predict", answer_late, times=1)
    visitor.page.click("#mm-cancel")
    stopped = "document.querySelector('#mm-status').innerText.includes('Stopped')"
    visitor.page.wait_for_function(stopped, timeout=1000 * PATIENCE)
    visitor.wait_for(RENDER)
    visitor.page.wait_for_timeout(3000)
    assert "Stopping" in str(answered)
    assert visitor.page.evaluate(stopped), "the render's status stays the last one"
    assert not visitor.page.is_visible("#mm-cancel")
    assert page.files() == []
    visitor.set("mm-frames", "3")
    visitor.render()
    assert len(page.files()) == 1
    visitor.set("mm-frames", "600")
    visitor.page.click(RENDER)
    visitor.page.click("#mm-cancel:has-text('Cancel')")
    visitor.page.wait_for_function(stopped, timeout=1000 * PATIENCE)


def test_a_picture_without_a_face_gives_an_error_message(
    visitor: Visitor, page: Served, tmp_path: Path
) -> None:
    bad = {
        "text.jpg": b"no picture at all",
        "empty.png": b"",
        "cut.jpg": (ROOT / "docs" / "face.jpg").read_bytes()[:2000],
    }
    blank = BytesIO()
    Image.new("RGB", (300, 300), "teal").save(blank, "PNG")
    bad["blank.png"] = blank.getvalue()
    words = {"text.jpg": "cannot be read as a picture", "empty.png": "is empty", "cut.jpg": "damaged",
             "blank.png": "No face was found"}  # fmt: skip
    visitor.choose_example()
    before = visitor.source()
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        visitor.page.set_input_files(UPLOAD, tmp_path / name)
        visitor.page.wait_for_function(
            "words => document.querySelector('#mm-photo-message').innerText.includes(words)", arg=words[name]
        )
        alert = visitor.page.inner_text("#mm-photo-message [role=alert]")
        assert str(page.temporary) not in alert
        assert "Traceback" not in alert
        visitor.page.wait_for_selector(UPLOAD, state="attached")
    assert visitor.source() == before, "the earlier face is still chosen"
    assert page.files() == []
    visitor.choose_example("#mm-examples [data-example='1']")
    assert visitor.page.query_selector("#mm-photo-message [role=alert]") is None


def test_a_huge_file_gives_an_error_message(chrome: Browser, page: Served, tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(65 * 2**20)
    with visiting(chrome, page.address) as visitor:
        visitor.page.set_input_files(UPLOAD, tmp_path / "huge.jpg")
        toast = visitor.wait_for("[data-testid=toast-body]")
        assert "64" in toast.inner_text()
    eventually(lambda: page.files() == [], "no file remains")


def test_without_a_face_there_is_no_video(visitor: Visitor) -> None:
    visitor.page.click(RENDER)
    assert "choose an example or a photo" in visitor.wait_for("#mm-status [role=alert]").inner_text()
    visitor.choose_example()
    visitor.set("mm-motion-smile", "0")
    visitor.wait_for(RENDER)
    visitor.page.click(RENDER)
    visitor.page.wait_for_function(
        "document.querySelector('#mm-status').innerText.includes('Nothing would move')"
    )


def test_visitors_do_not_see_each_others_files(chrome: Browser, visitor: Visitor, page: Served) -> None:
    visitor.choose_example()
    visitor.short()
    visitor.render()
    (video,) = page.files()
    with visiting(chrome, page.address) as other:
        assert other.source() is None
        other.page.click(RENDER)
        other.wait_for("#mm-status [role=alert]")
        other.choose_example("#mm-examples [data-example='1']")
        assert other.source() != visitor.source()
        other.short()
        other.render()
        assert video in page.files()
        assert len(page.files()) == 2
    eventually(lambda: page.files() == [video], "a visitor who leaves leaves no file")


def test_the_page_fits_a_phone(chrome: Browser, page: Served) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with visiting(chrome, page.address, **phone) as visitor:
        visitor.page.tap(EXAMPLE)
        visitor.wait_for(PREVIEW)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
        last = visitor.page.locator("#mm-sliders input[type=range]").last
        last.scroll_into_view_if_needed()
        face, slider = visitor.page.locator(PREVIEW).bounding_box(), last.bounding_box()
        assert face is not None
        assert slider is not None
        assert 0 <= face["y"] < face["y"] + face["height"] <= slider["y"], "the face stays in sight"
        visitor.page.check("#mm-mode input[value=Timeline]")
        visitor.wait_for("#mm-text textarea")
        visitor.page.click("#mm-more button")
        visitor.wait_for("#mm-fps input[type=range]")
        assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
        visitor.page.tap(RENDER)
        visitor.wait_for("#mm-video video")
        assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_keyboard_suffices(visitor: Visitor, tmp_path: Path) -> None:
    def go_to(selector: str) -> None:
        for _ in range(80):
            visitor.page.keyboard.press("Tab")
            if visitor.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"the Tab key does not reach {selector}")

    go_to(EXAMPLE)
    assert visitor.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    visitor.page.keyboard.press("Enter")
    visitor.wait_for(PREVIEW)
    before = visitor.source()
    go_to("#mm-motion-smile input[type=range]")
    for _ in range(4):
        visitor.page.keyboard.press("ArrowRight")
    visitor.wait_for_change(PREVIEW, "src", before)
    go_to("#mm-loop input[value=once]")
    visitor.page.keyboard.press("Space")
    go_to("#mm-more button")
    visitor.page.keyboard.press("Enter")
    visitor.wait_for("#mm-frames input[type=number]")
    go_to("#mm-frames input[type=number]")
    visitor.page.keyboard.press("Control+A")
    visitor.page.keyboard.type("5")
    go_to(RENDER)
    visitor.page.keyboard.press("Enter")
    visitor.wait_for("#mm-video video")
    go_to("#mm-download")
    with visitor.page.expect_download() as coming:
        visitor.page.keyboard.press("Enter")
    coming.value.save_as(tmp_path / "video.mp4")
    assert len(frames_of(tmp_path / "video.mp4")) == 5


def test_a_learned_motion_is_listed_after_a_reload(visitor: Visitor, page: Served) -> None:
    assert visitor.page.query_selector("#mm-motion-grin") is None
    folder = page.data / "motions" / "avatar"
    folder.mkdir(parents=True)
    (folder / "grin.safetensors").write_bytes(
        (ROOT / "anchors" / "avatar" / "smile.safetensors").read_bytes()
    )
    visitor.page.reload()
    assert "grin (learned)" in visitor.wait_for("#mm-motion-grin").inner_text()
    visitor.choose_example()
    before = visitor.source()
    visitor.set("mm-motion-grin", "1")
    visitor.wait_for_change(PREVIEW, "src", before)


def test_the_camera_takes_a_picture(chrome: Browser, page: Served, tmp_path: Path) -> None:
    """Chromium's fake camera plays our video."""
    with av.open(str(tmp_path / "camera.mjpeg"), "w", format="mjpeg") as video:
        stream = video.add_stream("mjpeg", rate=10, options={"qscale": "2"})
        stream.width = stream.height = 512
        stream.pix_fmt = "yuvj420p"
        frame = av.VideoFrame.from_image(Image.open(ROOT / "docs" / "face.jpg"))
        for _ in range(3):
            video.mux(stream.encode(frame.reformat(format="yuvj420p")))
        video.mux(stream.encode())
    camera = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}",
    )
    with (
        launched(chrome.browser_type, *camera) as other,
        visiting(other, page.address, permissions=["camera"]) as visitor,
    ):
        visitor.page.click("#mm-upload [data-testid=source-select] button >> nth=1")
        visitor.page.click("#mm-upload [title='grant webcam access'] >> nth=0")
        visitor.page.click("#mm-upload button[aria-label='capture photo']")
        visitor.wait_for(PREVIEW)
    eventually(lambda: page.files() == [], "no file remains")
