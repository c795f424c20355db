"""The page end to end: a video that the photo follows, and a motion for each face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from bad_clips import make
from page_browser import (
    EXAMPLE,
    PATIENCE,
    PREVIEW,
    RENDER,
    ROOT,
    Served,
    Visitor,
    eventually,
    visiting,
    visiting_alone,
)
from playwright.sync_api import Browser
from sounds import click_times, with_sound
from trajectories import still

from micromotion import Animator

pytest.importorskip("gradio", reason="the extra `page` is not installed")

pytestmark = pytest.mark.browser

FACES = ROOT / "docs" / "faces"
GROUP = FACES / "groups" / "oath.jpg"
LEFTS = (862, 318, 583, 79)  # of the four faces in it
PHOTO = "#mm-upload input[type=file]"
CLIP = "#mm-clip-upload input[type=file]"
STOPPED = "document.querySelector('#mm-status').innerText.includes('Stopped')"


@pytest.fixture
def visitor(chrome: Browser, page: Served) -> Iterator[Visitor]:
    with visiting_alone(chrome, page) as arrived:
        yield arrived


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second in which Mona Lisa closes her eyes for a while and nods, with a click in the sound."""
    folder = tmp_path_factory.mktemp("clip")
    lids, nod = np.zeros((25, 2)), np.zeros((25, 3))
    lids[8:18] = 1
    nod[:, 1] = 8 * np.sin(np.linspace(0, np.pi, 25))
    animator = Animator.load("avatar", "cpu")
    animator.drive(FACES / "mona-lisa.jpg", still(25, lids=lids, pose=nod)).save(folder / "silent.mp4")
    return with_sound(folder / "silent.mp4", folder / "clip.mp4")


@pytest.fixture(scope="module")
def long_clip(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a minute."""
    from videos import write_video

    with av.open(str(clip)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_video(path, frames * 55, preset="ultrafast")


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]).astype(int)


def follow(visitor: Visitor, clip: Path) -> None:
    """Choose the mode, and upload a clip."""
    visitor.page.check("#mm-mode input[value='A video']")
    visitor.page.set_input_files(CLIP, clip)
    visitor.wait_for("#mm-clip img")


def show_group(visitor: Visitor) -> None:
    before = visitor.source()
    visitor.page.set_input_files(PHOTO, GROUP)
    visitor.wait_for_change(PREVIEW, "src", before)


def test_a_photo_follows_a_video(visitor: Visitor, page: Served, clip: Path, tmp_path: Path) -> None:
    visitor.choose_example("#mm-examples [title='Eileen Collins']")
    follow(visitor, clip)
    assert "25 frames, with sound" in visitor.page.inner_text("#mm-clip")
    assert visitor.page.query_selector("[data-testid=toast-body]") is None, "Gradio does not complain"
    for hidden in ("#mm-preview", "#mm-sliders", "#mm-loop", "#mm-more", "#mm-timeline", "#mm-who"):
        assert not visitor.page.is_visible(hidden), hidden
    visitor.page.check("#mm-view input[value=face]")
    visitor.render()
    status = visitor.page.inner_text("#mm-status")
    assert "Done: 25 frames" in status
    assert "Rest pose" in status
    video = visitor.download(tmp_path)
    assert click_times(video) != []
    frames = frames_of(video)
    assert len(frames) == 25
    change = np.abs(frames - frames[0]).mean(axis=(1, 2, 3))
    assert change[9:17].mean() > 3 * change[[1, 23, 24]].mean()
    kept = [path for path in page.files() if path.parent.name.startswith("clips-")]
    assert len(kept) == 1
    url = f"{page.address}/gradio_api/file={kept[0]}"
    assert visitor.page.request.get(url).status == 404, "the clip is not served"


def test_parts_strength_and_sound_are_chosen(visitor: Visitor, clip: Path, tmp_path: Path) -> None:
    visitor.choose_example("#mm-examples [title='Eileen Collins']")
    follow(visitor, clip)
    visitor.page.check("#mm-view input[value=face]")
    for part in ("mouth", "brows", "pose"):
        visitor.page.uncheck(f"#mm-parts input[name={part}]")
    visitor.page.uncheck("#mm-audio input")
    visitor.render()
    video = visitor.download(tmp_path)
    with av.open(str(video)) as made:
        assert not made.streams.audio
    frames = frames_of(video)
    change = np.abs(frames[13] - frames[0]).mean(axis=-1)
    height = len(change)
    assert change[height // 3 : height // 2].max() > 25, "the eyes"
    assert change[2 * height // 3 :].max() < 25, "not the mouth"
    visitor.page.uncheck("#mm-parts input[name=eyes]")
    visitor.page.click(RENDER)
    assert "Nothing would move" in visitor.wait_for("#mm-status [role=alert]").inner_text()


def test_all_faces_follow_a_video(visitor: Visitor, clip: Path, tmp_path: Path) -> None:
    show_group(visitor)
    follow(visitor, clip)
    visitor.page.check("#mm-view input[value=photo]")
    visitor.page.check("#mm-who input[value=all]")
    visitor.render()
    frames = frames_of(visitor.download(tmp_path))
    change = np.abs(frames[13] - frames[0]).max(axis=-1)
    for left in LEFTS:
        assert change[80:250, left : left + 100].max() > 40


def test_a_clip_is_cancelled_while_it_is_read(visitor: Visitor, page: Served, long_clip: Path) -> None:
    visitor.choose_example()
    follow(visitor, long_clip)
    visitor.page.click(RENDER)
    reading = "document.querySelector('#mm-status').innerText.includes('Reading frame')"
    visitor.page.wait_for_function(reading, timeout=1000 * PATIENCE)
    visitor.page.click("#mm-cancel")
    visitor.page.wait_for_function(STOPPED, timeout=1000 * PATIENCE)
    visitor.wait_for(RENDER)
    assert [path.parent.name[:6] for path in page.files()] == ["clips-"], "no video was left"


def test_a_bad_clip_gives_a_sentence_and_the_earlier_one_stays(
    visitor: Visitor, page: Served, clip: Path, tmp_path: Path
) -> None:
    visitor.choose_example()
    visitor.page.check("#mm-mode input[value='A video']")
    visitor.page.click(RENDER)
    assert "no video to follow yet" in visitor.wait_for("#mm-status [role=alert]").inner_text()
    visitor.wait_for(RENDER)
    follow(visitor, clip)
    for name, words in {
        "indexed.mp4": "The video is damaged or cut short",
        "sound.mp4": "The video has only sound",
        "long.mkv": "The video is longer than 60 s",
    }.items():
        visitor.page.set_input_files(CLIP, make(name, tmp_path)[0])
        visitor.page.wait_for_function(
            "words => document.querySelector('#mm-clip-message').innerText.includes(words)", arg=words
        )
        assert str(page.temporary) not in visitor.page.inner_text("#mm-clip-message")
        visitor.page.wait_for_selector(CLIP, state="attached")
    assert "25 frames" in visitor.page.inner_text("#mm-clip")
    assert len(page.files()) == 1


def test_a_leaving_visitor_leaves_no_clip(chrome: Browser, page: Served, clip: Path) -> None:
    with visiting(chrome, page.address) as other:
        follow(other, clip)
        assert len(page.files()) == 1
    eventually(lambda: page.files() == [], "the clip is deleted")


def test_each_face_has_a_motion_of_its_own(visitor: Visitor, tmp_path: Path) -> None:
    visitor.choose_example()
    each = "#mm-mode input[value='Each face']"
    assert not visitor.page.is_visible(each), "there is one face"
    show_group(visitor)
    visitor.short(3)
    visitor.page.check(each)
    assert [visitor.page.is_visible(f"#mm-own-{number}") for number in range(5)] == [True] * 4 + [False]
    assert not visitor.page.is_visible("#mm-view")
    for number, motion in enumerate(("smile", "stays still", "angry", "stays still")):
        choose(visitor, number, motion)
    visitor.render()
    frames = frames_of(visitor.download(tmp_path))
    change = np.abs(frames[-1] - frames[0]).max(axis=-1)
    moved = [change[80:250, left : left + 100].max() > 40 for left in LEFTS]
    assert moved == [True, False, True, False]
    before = visitor.source()
    choose(visitor, 0, "stays still")
    visitor.wait_for_change(PREVIEW, "src", before)
    choose(visitor, 2, "stays still")
    visitor.page.click(RENDER)
    visitor.page.wait_for_function(
        "document.querySelector('#mm-status').innerText.includes('choose a motion')"
    )


def choose(visitor: Visitor, number: int, motion: str) -> None:
    """Choose a face's own motion."""
    visitor.page.click(f"#mm-own-{number} input")
    visitor.page.click(f"#mm-own-{number} [role=option]:has-text('{motion}')")


def test_the_fields_fit_a_phone(chrome: Browser, page: Served, clip: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with visiting(chrome, page.address, **phone) as visitor:
        visitor.page.tap(EXAMPLE)
        visitor.wait_for(PREVIEW)
        follow(visitor, clip)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
        show = visitor.page.locator("#mm-follows input[type=range]")
        show.scroll_into_view_if_needed()
        assert show.is_visible()
        visitor.page.check("#mm-mode input[value=Sliders]")
        visitor.page.set_input_files(PHOTO, GROUP)
        visitor.wait_for("#mm-photo [data-face='3']")
        visitor.page.check("#mm-mode input[value='Each face']")
        visitor.wait_for("#mm-own-3")
        assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390
