"""Several faces of one photo, drawn in one picture: each by its own motions, the nearest last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from micromotion.face.crop import AlignedFace
from micromotion.photo.compositing import Canvas
from micromotion.photo.effects import Response
from micromotion.photo.head import fit_head
from micromotion.photo.moving_face import MovingFace
from micromotion.photo.neighbours import Borders, Placed, square_width, squares_meet
from micromotion.photo.reading import EffectsReader
from micromotion.photo.registration import Registration, register
from micromotion.photo.strokes import Stroke
from micromotion.photo.views import scaled_photo
from micromotion.types import Frame, Pose, Row, Strengths


class Group:
    """Faces of one photo, ready to be drawn; no state changes between frames.

    `faces`: those that move, in the order of `moving`; each makes its strokes.

    Where squares of faces overlap, each moves its own head only (see `neighbours`), and the larger face is in
    front. A face whose square overlaps no other is drawn exactly as by `views.Stage`.
    """

    def __init__(self, photo: Image.Image, faces: Mapping[int, AlignedFace], moving: Sequence[int]) -> None:
        """photo: RGB. faces: all that are to be kept apart, by number. moving: the numbers that move.

        Raises BundleError if the landmark model is missing.
        """
        self._photo = np.asarray(photo)
        places = {number: register(photo, face) for number, face in faces.items()}
        borders = _borders(places, moving)
        self.faces = [MovingFace(places[number], borders[number]) for number in moving]
        self._order = sorted(range(len(moving)), key=lambda at: square_width(places[moving[at]]))

    def drawn(self, strokes: Sequence[Stroke]) -> Frame:
        """The photo with a stroke of each of `faces`; uint8 [H, W, 3], a new array."""
        picture = self._photo.copy()
        for at in self._order:
            if all(strokes[at].size):
                picture = Canvas(picture, self.faces[at].registration.matrix).drawn(strokes[at])
        return picture


@dataclass(frozen=True, eq=False)
class Role:
    """What one face of a group plays.

    columns: its motions among those of the video. reader: of the effects of these motions. strengths:
    [frames, motions], all that it plays. frames: the model's frames of this face at strengths [n, motions].
    """

    columns: Sequence[int]
    reader: EffectsReader
    strengths: Strengths
    frames: Callable[[Strengths], Iterable[Frame]]

    @property
    def poses(self) -> Strengths:
        """The strengths [n, motions] at which the model's frames are measured; n is 0 if none are."""
        return self.reader.looks_at(self.strengths)

    def response(self) -> Response:
        """The effects of its motions; renders the model's frames to measure those that state none."""
        poses = self.poses
        seen = zip(poses, self.frames(poses), strict=True) if len(poses) else ()
        return self.reader.response(list(seen))


class GroupView:
    """A video's `Finish`: several faces of the photo move, each by its own motions."""

    def __init__(
        self,
        photo: Image.Image,
        faces: Mapping[int, AlignedFace],
        roles: Mapping[int, Role],
        longest: int | None = None,
    ) -> None:
        """faces: see `Group`. roles: of those that move, by number. longest: see `views.whole_photo`."""
        self._photo, scaled = scaled_photo(photo, list(faces.values()), longest)
        self._faces = dict(zip(faces, scaled, strict=True))
        self._roles = roles

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo as shown."""
        return self._photo.size

    @property
    def measured(self) -> list[int]:
        """The numbers of the faces of which the model's frames are measured."""
        return [number for number, role in self._roles.items() if len(role.poses)]

    def needs_model(self, strengths: Strengths) -> bool:
        """Whether any motion is measured on the model's frames."""
        return bool(self.measured)

    def looks_at(self, strengths: Strengths) -> Strengths:
        """None: each face has its own latent, and its role renders the frames."""
        return strengths[:0]

    def begin(self, seen: Sequence[Pose]) -> MovingGroup:
        """Return what draws the frames. Raises BundleError, MotionError."""
        roles = [(list(role.columns), role.response()) for role in self._roles.values()]
        return MovingGroup(Group(self._photo, self._faces, list(self._roles)), roles)


class MovingGroup:
    """Draws frames of a group by the motions' effects; frames are independent."""

    needs_frames = False

    def __init__(self, group: Group, roles: Sequence[tuple[list[int], Response]]) -> None:
        """roles: for each face that moves, its motions' columns, and their effects."""
        self._group, self._roles = group, roles

    def __call__(self, strengths: Row, frame: Frame | None = None) -> Frame:
        """The photo at these strengths [motions of all faces]: uint8 [H, W, 3]; a new array."""
        return self._group.drawn(
            [
                face.stroke(*response(strengths[columns]))
                for face, (columns, response) in zip(self._group.faces, self._roles, strict=True)
            ]
        )


def _borders(places: Mapping[int, Registration], moving: Sequence[int]) -> dict[int, Borders | None]:
    """The borders of the moving faces to all whose squares overlap theirs."""
    near = {
        number: [other for other in places if other != number and squares_meet(places[number], places[other])]
        for number in moving
    }
    involved = {face for number, others in near.items() if others for face in (number, *others)}
    placed = {number: Placed(places[number], fit_head(places[number])) for number in involved}
    return {
        number: Borders.of(placed[number], [placed[other] for other in others]) if others else None
        for number, others in near.items()
    }
