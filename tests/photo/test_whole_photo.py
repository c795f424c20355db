"""The whole photo through `animate(view="photo")` and --view, and what is refused."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from random_networks import zero_code
from typer.testing import CliRunner

from micromotion import Animator, align
from micromotion.cli.main import app
from micromotion.errors import OptionError
from micromotion.face.alignment import as_aligned
from micromotion.motion.library import load_fitting
from micromotion.options import MAX_VIDEO_PIXELS, check_total_pixels
from micromotion.photo.effects import Reading, poses
from micromotion.photo.paste import Paste
from micromotion.photo.registration import LARGER
from micromotion.photo.views import PhotoView, whole_photo
from micromotion.types import Frame

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def avatar() -> Animator:
    return Animator.load("avatar", "cpu")


def test_the_video_is_the_photo_with_a_moving_face(avatar: Animator, astronaut: Image.Image) -> None:
    video = avatar.animate(astronaut, "smile", strength=0.5, frames=2, view="photo")
    first, last = video
    photo = np.asarray(astronaut)
    assert video.size == astronaut.size
    assert first.shape == last.shape == photo.shape
    crop = align(astronaut)
    middle = crop.quad.mean(axis=0)
    square = middle + LARGER * (crop.quad - middle)
    left, top = np.floor(square.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(square.max(axis=0)).astype(int) + 1
    outside = np.ones(photo.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert outside.sum() > photo.shape[0] * photo.shape[1] / 3
    for frame in (first, last):
        assert np.array_equal(frame[outside], photo[outside])
    assert np.abs(last.astype(int) - first)[~outside].max() > 20, "nothing moves"


def test_a_twins_frames_are_pasted(avatar: Animator, astronaut: Image.Image) -> None:
    """The photo is the model's own still frame, so that the inversion's pixels are the photo's."""
    latent = avatar.encode(astronaut)
    motion = load_fitting(avatar.bundle.motions["smile"], avatar.bundle)
    wanted = poses(np.array([[0.5]]))
    still, full, *steps = (avatar.still(latent, [motion], [float(s)]) for s in (0, 0.5, *wanted[:, 0]))
    photo = Image.fromarray(still)
    scene = whole_photo(photo, as_aligned(photo))

    def nothing_to_read(still: Frame, frames: object) -> Reading:
        raise AssertionError("a twin's frames are pasted, not read")

    view = PhotoView(scene, [{}], nothing_to_read, may_be_twin=True)
    asked = view.looks_at(np.array([[0.5]]))
    assert asked.tolist() == [[0.0], *wanted.tolist()]
    drawing = view.begin(list(zip(asked, [still, *steps], strict=True)))
    assert drawing.needs_frames
    paste = Paste(photo, as_aligned(photo), still)
    paste.learn(list(zip(wanted, steps, strict=True)))
    assert np.array_equal(drawing(np.array([0.5]), full), paste(full, np.array([0.5])))


def test_the_command_writes_the_whole_photo(astronaut_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    options = ["--view", "photo", "--frames", "2", "--strength", "0.3", "-o", str(output)]
    result = CliRunner().invoke(app, ["animate", str(astronaut_file), *options], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    with av.open(str(output)) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (512, 512)


def test_inputs_without_a_whole_photo_are_refused(avatar: Animator) -> None:
    with pytest.raises(OptionError, match="its photo, which a latent does not have"):
        avatar.animate(zero_code(avatar.bundle.generator), view="photo")
    with pytest.raises(OptionError, match="leave out compare"):
        avatar.animate("missing.jpg", view="photo", compare=True)
    with pytest.raises(OptionError, match="view must be auto, photo, face or model, not 'whole'"):
        avatar.animate("missing.jpg", view="whole")  # type: ignore[arg-type]  # wrong on purpose


def test_the_video_of_a_large_photo_is_bounded() -> None:
    check_total_pixels((512, 512), 600)
    check_total_pixels((8000, 6000), 80)
    with pytest.raises(OptionError, match=r"600 frames of a photo of 8000×6000 pixels .*: at most 83 are"):
        check_total_pixels((8000, 6000), 600)
    assert MAX_VIDEO_PIXELS >= 83 * 8000 * 6000


def test_a_photo_too_large_for_so_many_frames_is_refused(
    avatar: Animator, astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micromotion.options.MAX_VIDEO_PIXELS", 512 * 512 * 3)
    avatar.animate(astronaut, frames=3, view="photo")
    with pytest.raises(OptionError, match="4 frames of a photo of 512×512"):
        avatar.animate(astronaut, frames=4, view="photo")
    avatar.animate(astronaut, frames=4, view="model")
