"""A video is a sequence of frames: its length, slices, array, description, and a notebook's player."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from micromotion import Animator, Video
from micromotion.drive.driven_photo import places
from micromotion.errors import OptionError
from micromotion.motion.playable import Motion
from micromotion.types import Frame, Pose, Strengths
from micromotion.video import frame_sequence, notebook


@pytest.fixture(scope="module")
def video(animator: Animator) -> Video:
    latent = torch.zeros(1, *animator.bundle.latent_shape)
    return animator.animate(latent, {"smile": 1.0, "headsTurn": 0.5}, frames=6, fps=12)


class Shares:
    """A `Finish` whose frames depend on all that it looked at."""

    size = (4, 2)
    needs_frames = False

    def needs_model(self, strengths: Strengths) -> bool:
        return True

    def looks_at(self, strengths: Strengths) -> Strengths:
        self.seen = len(strengths)
        return strengths[:0]

    def begin(self, seen: list[Pose]) -> Shares:
        return self

    def __call__(self, strengths: Strengths, frame: Frame | None) -> Frame:
        return np.full((2, 4, 3), 10 * self.seen + round(strengths[0] * (self.seen - 1)), np.uint8)


def of_shares(animator: Animator) -> Video:
    """A video of six frames, which are filled with 60 to 65."""
    still = Motion("still", torch.zeros(animator.bundle.latent_shape))
    latent = torch.zeros(1, *animator.bundle.latent_shape)
    return Video(animator.bundle.generator, latent, [still], places(6), fps=3, finish=Shares())  # type: ignore[arg-type]


def test_it_describes_itself_without_rendering(video: Video) -> None:
    assert repr(video) == "<Video: smile, headsTurn, 6 frames, 0.5 s at 12 fps, 32×32 pixels>"
    assert repr(video[1:2]) == "<Video: smile, headsTurn, 1 frame, 0.08333 s at 12 fps, 32×32 pixels>"
    assert (len(video), video.duration, video.size) == (6, 0.5, (32, 32))


def test_an_index_gives_that_frame(video: Video) -> None:
    frames = list(video)
    for index in (0, 3, -1, -6, np.int64(2)):
        assert np.array_equal(video[index], frames[int(index)])
    for index in (6, -7):
        with pytest.raises(IndexError):
            video[index]


def test_a_slice_is_a_video_of_these_frames(video: Video, tmp_path: Path) -> None:
    frames = video.numpy()
    for part in (slice(2, 5), slice(None), slice(None, None, -1), slice(1, None, 2), slice(-2, None)):
        taken = video[part]
        assert isinstance(taken, Video)
        assert (len(taken), taken.fps) == (len(frames[part]), video.fps)
        assert np.array_equal(taken.numpy(), frames[part])
    assert np.array_equal(video[1:][1:][0], frames[2])
    video[:2].save(tmp_path / "frames")
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2
    with pytest.raises(OptionError, match="none of the video's 6 frames"):
        video[3:3]


def test_a_part_is_drawn_as_in_the_whole_video(animator: Animator) -> None:
    """A view adapts to all frames of a video; to them all, also where a part is shown."""
    whole = of_shares(animator)
    assert whole.numpy()[:, 0, 0, 0].tolist() == [60, 61, 62, 63, 64, 65]
    assert whole[2:4].numpy()[:, 0, 0, 0].tolist() == [62, 63]
    assert whole[-1].tolist() == whole.numpy()[-1].tolist()


def test_only_the_whole_has_sound(animator: Animator) -> None:
    whole = of_shares(animator)
    whole.sound = object()  # type: ignore[assignment]
    assert whole[:].sound is whole.sound
    assert whole[::-1].sound is None
    assert whole[1:].sound is None
    assert whole.sound is not None


def test_a_part_has_timings_of_its_own(video: Video) -> None:
    list(video)
    before = dict(video.timings)
    list(video[:1])
    assert video.timings == before


def test_its_array_has_all_frames(video: Video) -> None:
    frames = np.stack(list(video))
    assert frames.shape == (6, 32, 32, 3)
    for array in (video.numpy(), np.asarray(video)):
        assert array.dtype == np.uint8
        assert np.array_equal(array, frames)
    assert np.asarray(video, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(video, copy=False)


def test_an_array_that_is_too_large_is_refused_before_rendering(
    animator: Animator, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = of_shares(animator)
    monkeypatch.setattr(frame_sequence, "MAX_ARRAY_BYTES", 4 * 2 * 3 * 6)
    assert len(whole.numpy()) == 6
    monkeypatch.setattr(frame_sequence, "MAX_ARRAY_BYTES", 4 * 2 * 3 * 6 - 1)
    monkeypatch.setattr(Shares, "begin", None)
    with pytest.raises(OptionError, match=r"6 frames of 4×2 .*video\[:5\]\.numpy\(\)"):
        whole.numpy()


# --- notebooks ---


def inline_mp4(html: str) -> bytes:
    found = re.fullmatch(r'<video controls .*src="data:video/mp4;base64,([\w+/=]+)"></video>', html)
    assert found
    return base64.b64decode(found[1])


def test_a_notebook_plays_it(video: Video, tmp_path: Path) -> None:
    from micromotion.credentials.verify import verify

    bundle = video._repr_mimebundle_()
    assert bundle["text/plain"] == repr(video)
    path = tmp_path / "inline.mp4"
    path.write_bytes(inline_mp4(bundle["text/html"]))
    with av.open(str(path), "r") as played:
        assert len(list(played.decode(video=0))) == 6
    assert verify(path)


def test_it_is_shown_small_enough_for_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook._inline_size((1920, 1280)) == (720, 480)
    assert notebook._inline_size((480, 1440)) == (240, 720)
    assert notebook._inline_size((300, 200)) == (300, 200)
    assert notebook._inline_size((16384, 1)) == (720, 1)


def test_of_a_video_too_large_for_a_page_the_last_frame_is_shown(
    video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "INLINE_BYTES", 10)
    html = video._repr_mimebundle_()["text/html"]
    found = re.match(r'<img width="32" src="data:image/png;base64,([\w+/=]+)"><p>The last of 6 frames', html)
    assert found
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), video[-1])


@pytest.mark.parametrize("wish", [{"include": ["text/plain"]}, {"exclude": ["text/html"]}])
def test_nothing_is_rendered_where_no_html_is_wanted(
    video: Video, wish: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Video, "__iter__", None)
    assert video._repr_mimebundle_(**wish) == {"text/plain": repr(video)}


def test_a_terminal_gets_the_description_alone(video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    formatter = SimpleNamespace(active_types=["text/plain"])
    shell = SimpleNamespace(display_formatter=formatter)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert video._repr_mimebundle_() == {"text/plain": repr(video)}
    with pytest.raises(OptionError, match=r"save\(\) it"):
        video.show()


def test_show_needs_a_notebook(video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with pytest.raises(OptionError, match="notebook"):
        video.show()
    assert "IPython" not in sys.modules
