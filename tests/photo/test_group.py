"""Faces near each other move without taking each other along."""

from dataclasses import replace

import numpy as np
import pytest
from neighbouring_faces import features, neighbours, portrait
from PIL import Image

from micromotion.face.alignment import align, align_all
from micromotion.face.crop import AlignedFace
from micromotion.photo.effects import Effects
from micromotion.photo.group import Group
from micromotion.photo.views import Stage, whole_photo
from micromotion.types import Frame

STILL = Effects()

pytestmark = pytest.mark.slow


def drawn(photo: Image.Image, faces: dict[int, AlignedFace], moving: dict[int, Effects]) -> Frame:
    group = Group(photo, faces, list(moving))
    return group.drawn([face.stroke(each) for face, each in zip(group.faces, moving.values(), strict=True)])


def test_a_face_alone_is_drawn_as_by_its_stage() -> None:
    photo = portrait("eileen-collins")
    face = align(photo)
    effects = Effects(smile=1, yaw=15, age=0.5)
    alone = Stage(whole_photo(photo, face)).drawn(effects)
    assert np.array_equal(drawn(photo, {0: face}, {0: effects}), alone)


@pytest.mark.parametrize(("mover", "neighbour"), [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    "effects", [Effects(smile=1), Effects(age=1, mouth_open=1), Effects(yaw=-20), Effects(pitch=-10, roll=8)]
)
def test_a_moving_head_leaves_its_neighbours_face_alone(mover: int, neighbour: int, effects: Effects) -> None:
    photo, faces = neighbours()
    shown = drawn(photo, faces, {mover: effects})
    still = np.asarray(photo)
    assert np.array_equal(shown[features(faces[neighbour])], still[features(faces[neighbour])])
    assert not np.array_equal(shown[features(faces[mover])], still[features(faces[mover])])


def test_alone_the_same_head_would_move_its_neighbour() -> None:
    """That `neighbours` are near enough for the tests above."""
    photo, faces = neighbours()
    shown = drawn(photo, {0: faces[0]}, {0: Effects(yaw=20)})
    assert not np.array_equal(shown[features(faces[1])], np.asarray(photo)[features(faces[1])])


def test_neighbours_move_together_as_each_beside_the_other() -> None:
    """Within its features, a face moves as if its neighbour stood still."""
    photo, faces = neighbours()
    effects = {0: Effects(smile=1), 1: Effects(left_eye=1, right_eye=1)}
    both = drawn(photo, faces, effects)
    for number in faces:
        alone = drawn(photo, faces, {number: effects[number]})
        assert np.array_equal(both[features(faces[number])], alone[features(faces[number])])
    swapped = drawn(photo, faces, {1: effects[1], 0: effects[0]})
    assert np.array_equal(both, swapped), "the order of the list does not matter"


def test_the_larger_head_is_in_front() -> None:
    """Franklin turns towards Morisot and covers her edge; she turns towards him and is covered."""
    photo, faces = neighbours()
    still = np.asarray(photo).astype(int)
    seam = round((faces[1].box[2] + faces[0].box[0]) / 2)
    rows = slice(faces[0].box[1], faces[0].box[3])

    def changed(mover: int, effects: Effects, columns: slice) -> float:
        shown = drawn(photo, faces, {mover: effects}).astype(int)
        return float((np.abs(shown - still)[rows, columns].max(axis=-1) > 8).mean())

    own = slice(seam - 30, seam - 8), slice(seam + 8, seam + 30)  # Morisot's side, Franklin's
    assert changed(1, Effects(yaw=20), own[1]) == 0, "what is behind stays behind"
    assert changed(1, Effects(yaw=20), own[0]) > 0.2
    assert changed(0, Effects(yaw=-20), own[0]) > 0.2, "what is in front moves over it"


def test_a_photo_with_no_movement_is_unchanged() -> None:
    photo, faces = neighbours()
    shown = drawn(photo, faces, {0: STILL, 1: STILL})
    assert np.array_equal(shown, np.asarray(photo))
    assert shown.flags.writeable


def test_faces_of_one_size_are_kept_apart_too() -> None:
    """A face and its mirror image, cheek to cheek."""
    half = portrait("mona-lisa").crop((0, 0, 215, 240))
    photo = Image.new("RGB", (430, 240))
    photo.paste(half, (0, 0))
    photo.paste(half.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (215, 0))
    faces = dict(enumerate(align_all(photo)))
    assert len(faces) == 2
    faces = {number: replace(face, score=1.0) for number, face in faces.items()}
    for number, other in ((0, 1), (1, 0)):
        shown = drawn(photo, faces, {number: Effects(yaw=15, smile=1)})
        assert np.array_equal(shown[features(faces[other])], np.asarray(photo)[features(faces[other])])
