"""One person's motion from a video: tracked, cropped steadily and ordered, without other people's.

The videos are rendered by the embedded model, so that each frame's degree is known.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from model_videos import (
    OTHER,
    PERSON,
    SMILE,
    agreement,
    collect,
    head,
    likeness,
    model,
    numbers,
    performance,
    scene,
)
from PIL import Image, ImageFilter
from video_formats import moving
from videos import turned, write_video

from micromotion.errors import NoFaceError, OptionError
from micromotion.learn.video import Collected, collect_from_images, collect_from_video
from micromotion.video.driving_video import DrivingVideoError

pytestmark = pytest.mark.slow
TURN = [round(float(d), 3) for d in 0.9 * np.sin(2 * np.pi * np.arange(24) / 24)]


# --- videos ---


def test_a_smile_is_learned_from_a_video(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = write_video(tmp_path / "grin.mp4", performance(SMILE), crf="14")
    collected = collect_from_video(path, model(), count=7, on_progress=lambda *each: told.append(each))
    anchors = collected.anchors
    assert anchors.w_plus.shape == (7, model().generator.num_styles, model().generator.style_dim)
    torch.testing.assert_close(anchors.degrees, torch.linspace(0, 1, 7))
    assert len(collected.kept) >= 22
    assert sorted(numbers(collected.kept) + numbers(collected.left_out)) == list(range(24))
    assert [frame.seconds for frame in collected.kept] == pytest.approx(
        [frame.number / 25 for frame in collected.kept]
    )
    assert agreement(collected, SMILE) > 0.97
    assert likeness(collected, "smile") > 0.6
    assert told == [(n, 48) for n in range(1, 49)]
    about = anchors.provenance
    assert about["file"] == "grin.mp4"
    assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (about["frames"], about["frames_looked_at"]) == (24, 24)
    assert about["frames_kept"] == len(collected.kept)
    assert about["frames_left_out"] == len(collected.left_out)
    assert not any(str(tmp_path) in str(value) for value in about.values())


def test_anchors_are_even_steps_of_the_latent(tmp_path: Path) -> None:
    """Whatever the face's speed: here most of the video is at the two ends."""
    degrees = [0.0] * 8 + [round(n / 9, 3) for n in range(10)] + [1.0] * 8
    collected = collect(tmp_path / "a.mp4", performance(degrees))
    steps = collected.anchors.w_plus.flatten(1).diff(dim=0).norm(dim=1)
    assert steps.max() < 1.5 * steps.min()


def test_a_motion_both_ways_has_its_rest_pose_in_the_middle(tmp_path: Path) -> None:
    collected = collect(tmp_path / "a.mp4", performance(TURN, "headsTurn"))
    degrees = collected.anchors.degrees
    assert degrees[-1] == 1
    assert -1.8 < degrees[0] < -0.5
    assert abs(agreement(collected, TURN)) > 0.97
    assert abs(likeness(collected, "headsTurn")) > 0.8


def test_a_blink_that_is_repeated_is_one_motion(tmp_path: Path) -> None:
    blink = [0, 0, 0, 0, 0.3, 0.7, 1.0, 0.7, 0.3, 0, 0, 0]
    collected = collect(tmp_path / "a.mp4", performance(blink * 2, "eyesClose"), count=5)
    assert collected.anchors.degrees.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert agreement(collected, blink * 2) > 0.95
    assert likeness(collected, "eyesClose") > 0.8


def test_a_shaking_camera_and_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [
        np.clip(frame + rng.normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
        for frame in performance(SMILE, shake=2.0)
    ]
    collected = collect(tmp_path / "a.mp4", frames)
    assert len(collected.kept) >= 20
    assert agreement(collected, SMILE) > 0.93
    assert likeness(collected, "smile") > 0.6


def test_a_passer_by_is_not_followed(tmp_path: Path) -> None:
    frames = [
        scene((head(PERSON, "smile", degree), 16, 24), (head(OTHER), 250 - 24 * number, 30))
        for number, degree in enumerate(SMILE)
    ]
    collected = collect(tmp_path / "a.mp4", frames, count=6)
    hidden = [n for n in range(24) if -80 < (250 - 24 * n) - 16 < 80]
    assert hidden  # for some frames the other is in front of the face
    assert not [n for n in numbers(collected.kept) if abs((250 - 24 * n) - 16) < 30]
    assert len(collected.kept) > 10
    assert agreement(collected, SMILE) > 0.95
    assert_of_the_person(collected)


def test_a_cut_to_someone_else_in_the_same_place(tmp_path: Path) -> None:
    frames = performance(SMILE)
    for number in range(9, 16):
        frames[number] = scene((head(OTHER, "headsTurn", 0.2), 16, 24))
    collected = collect(tmp_path / "a.mp4", frames)
    assert not set(range(9, 16)) & set(numbers(collected.kept))
    assert {f.reason for f in collected.left_out if 9 <= f.number < 16} == {
        "the face was lost, and this one may be another person's"
    }
    assert set(range(17, 24)) & set(numbers(collected.kept))  # the person is recognised again
    assert agreement(collected, SMILE) > 0.95
    assert_of_the_person(collected)


def test_the_person_is_known_again_elsewhere_after_a_long_cut(tmp_path: Path) -> None:
    degrees = SMILE[:14] + [0.0] * 14 + SMILE[10:]
    frames = performance(SMILE[:14])
    frames += [scene((head(OTHER, "smile", d), 60, 30)) for d in SMILE[:14]]
    frames += [scene((head(PERSON, "smile", d), 100, 40)) for d in SMILE[10:]]
    collected = collect(tmp_path / "a.mp4", frames)
    assert not set(range(14, 28)) & set(numbers(collected.kept))
    assert len(set(range(28, 42)) & set(numbers(collected.kept))) > 10
    assert agreement(collected, degrees) > 0.95


def test_a_final_cut_to_someone_else_is_not_followed(tmp_path: Path) -> None:
    frames = performance(SMILE)[:16] + [scene((head(OTHER, "smile", d), 60, 30)) for d in SMILE]
    collected = collect(tmp_path / "a.mp4", frames)
    assert max(numbers(collected.kept)) < 16


def test_blurred_frames_are_left_out(tmp_path: Path) -> None:
    frames = performance(SMILE)
    for number in (6, 7, 15):
        soft = Image.fromarray(frames[number]).filter(ImageFilter.GaussianBlur(2.5))
        frames[number] = np.asarray(soft)
    collected = collect(tmp_path / "a.mp4", frames)
    blurred = {frame.number for frame in collected.left_out if frame.reason == "the face is blurred"}
    assert blurred == {6, 7, 15}


def test_frames_without_the_face_are_left_out(tmp_path: Path) -> None:
    frames = performance(SMILE)
    frames[10] = frames[11] = scene()
    collected = collect(tmp_path / "a.mp4", frames)
    lost = {f.number for f in collected.left_out if f.reason == "the face was not found"}
    assert lost == {10, 11}
    assert max(numbers(collected.kept)) > 20


def test_a_rotation_flag_is_respected(tmp_path: Path) -> None:
    lying = [np.rot90(frame) for frame in performance(SMILE)]
    path = turned(write_video(tmp_path / "a.mp4", lying, crf="14"), clockwise=90)
    assert agreement(collect_from_video(path, model(), count=7), SMILE) > 0.95


def refused(path: Path, words: str, error: type[Exception] = DrivingVideoError, count: int = 7) -> None:
    with pytest.raises(error, match=words) as caught:
        collect_from_video(path, model(), count=count)
    assert path.name in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


# --- videos that cannot be learned from ---


def test_a_video_without_a_motion_is_refused(tmp_path: Path) -> None:
    refused(write_video(tmp_path / "a.mp4", performance([0.0] * 16)), "No motion was found")
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(f + rng.normal(0, 6, f.shape), 0, 255).astype(np.uint8)
        for f in performance([0.0] * 16, shake=1.5)
    ]
    refused(write_video(tmp_path / "b.mp4", noisy, crf="14"), "No motion was found")


def test_a_video_without_a_face_is_refused(tmp_path: Path) -> None:
    refused(write_video(tmp_path / "a.mp4", moving(6, 96, 128)), "No face was found", NoFaceError)


def test_too_few_usable_frames_are_refused(tmp_path: Path) -> None:
    refused(write_video(tmp_path / "a.mp4", performance([0.0])), "has 1 usable frame of the 1 examined")
    path = write_video(tmp_path / "b.mp4", performance(SMILE[::4]))
    refused(path, "6 usable frames of the 6 examined, but 7 are needed")
    frames = performance(SMILE[:8])
    frames[3] = scene()
    refused(write_video(tmp_path / "c.mp4", frames), "1: the face was not found", count=9)


@pytest.mark.parametrize("count", [1, 129, 2.5])
def test_invalid_counts_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(OptionError, match="count"):
        collect_from_video(tmp_path / "a.mp4", model(), count=count)


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[str, np.ndarray], Path]:
    def save(name: str, pixels: np.ndarray) -> Path:
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return save


# --- pictures ---


def test_anchors_are_collected_from_pictures_in_order(picture: Callable[[str, np.ndarray], Path]) -> None:
    frames = performance([0.0, 0.25, 0.5, 1.0])
    paths = [picture(f"{n}.png", frame) for n, frame in enumerate(frames)]
    paths.insert(2, picture("none.png", scene()))
    told: list[tuple[int, int]] = []
    collected = collect_from_images(paths, model(), on_progress=lambda *each: told.append(each))
    degrees = collected.anchors.degrees
    assert (degrees[0], degrees[-1]) == (0, 1)
    assert float(np.corrcoef(degrees, [0, 0.25, 0.5, 1])[0, 1]) > 0.95
    assert numbers(collected.kept) == [0, 1, 3, 4]
    assert [(f.number, f.reason) for f in collected.left_out] == [(2, "no face was found")]
    assert likeness(collected, "smile") > 0.6
    assert told == [(n, 5) for n in range(1, 6)]
    about = collected.anchors.provenance
    assert (about["file_3"], about["pictures_kept"]) == ("2.png", 4)
    assert about["sha256_3"] == hashlib.sha256(paths[3].read_bytes()).hexdigest()


def test_unusable_pictures_are_refused(picture: Callable[[str, np.ndarray], Path]) -> None:
    face = picture("face.png", performance([0.0])[0])
    empty = picture("empty.png", scene())
    for paths, words, error in [
        ([], "2 to 128 pictures", DrivingVideoError),
        ([face], "full motion, not 1", DrivingVideoError),
        ([face, empty], "A face was found only in .*face.png", DrivingVideoError),
        ([empty, empty], "No face was found in any of the 2", NoFaceError),
        ([face, face], "show the same face", DrivingVideoError),
    ]:
        with pytest.raises(error, match=words):
            collect_from_images(paths, model())


def assert_of_the_person(collected: Collected) -> None:
    """Every anchor is nearer to the person's latents than to the other's."""

    def latent(pixels: np.ndarray) -> torch.Tensor:
        image = torch.tensor(np.asarray(Image.fromarray(pixels).resize((256, 256)))).permute(2, 0, 1)
        with torch.inference_mode():
            return model().inverter.invert(image[None] / 127.5 - 1)

    ours = torch.cat([latent(head(PERSON, "smile", degree)) for degree in (0.0, 0.5, 1.0)]).flatten(1)
    theirs = latent(head(OTHER)).flatten(1)
    anchors = collected.anchors.w_plus.flatten(1)
    assert (torch.cdist(anchors, ours).min(dim=1).values < torch.cdist(anchors, theirs)[:, 0]).all()
