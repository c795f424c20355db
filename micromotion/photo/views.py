"""The views that show the photo's own pixels: the whole photo, or the square around the face.

Each is a picture of the photo at the output size, with the face somewhere in it; both are drawn the same way
(`MovingFace`, `Canvas`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from micromotion.face.alignment import AlignedFace, crop_quad
from micromotion.photo.compositing import Canvas
from micromotion.photo.effects import Effects, Provenance, Response, poses
from micromotion.photo.moving_face import MovingFace
from micromotion.photo.paste import Paste
from micromotion.photo.reading import EffectsReader, Reader
from micromotion.photo.registration import LARGER, register
from micromotion.types import Floats, Frame, Pose, Row, Strengths
from micromotion.video.format_limits import scaled_size

FACE_SIDE = 1024
"""Largest side of the view 'face', in pixels."""

TWIN = 0.75
"""Least likeness of a model's still frame to the photo for its pixels to be used (`Paste.likeness`)."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with a face, and the part of it that is shown.

    picture: RGB. face: the face in it. shown: left, top, right, bottom of the output.
    """

    picture: Image.Image
    face: AlignedFace
    shown: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is shown."""
        left, top, right, bottom = self.shown
        return right - left, bottom - top

    def cut(self, picture: Frame) -> Frame:
        """The shown part of a drawn picture, uint8 [H, W, 3]."""
        left, top, right, bottom = self.shown
        return np.ascontiguousarray(picture[top:bottom, left:right])


def whole_photo(photo: Image.Image, face: AlignedFace, longest: int | None = None) -> Scene:
    """The photo, RGB, scaled down to a longest side of `longest` pixels; None: unscaled."""
    photo, (face,) = scaled_photo(photo, [face], longest)
    return Scene(photo, face, (0, 0, *photo.size))


def scaled_photo(
    photo: Image.Image, faces: Sequence[AlignedFace], longest: int | None
) -> tuple[Image.Image, list[AlignedFace]]:
    """A photo, RGB, and the faces in it, scaled down as by `whole_photo`."""
    size = scaled_size(photo.size, longest)
    if size == photo.size:
        return photo, list(faces)
    ratio = np.array(size) / photo.size
    return photo.resize(size, Image.Resampling.LANCZOS), [_scaled(face, ratio) for face in faces]


def face_square(photo: Image.Image, face: AlignedFace, longest: int | None = None) -> Scene:
    """FFHQ's square around the face, upright, at the photo's own resolution up to FACE_SIDE and `longest`.

    What moves in at its border comes from beyond it: the picture is larger than what is shown.
    """
    side = face_side(face, longest)
    beyond = round((LARGER - 1) / 2 * side)
    whole = side + 2 * beyond
    middle = face.quad.mean(axis=0)
    quad = middle + whole / side * (face.quad - middle)
    picture = crop_quad(photo, quad, whole)
    cut = AlignedFace(picture, quad, face.box, face.score, face.landmarks)
    inner = cut.to_aligned(face.quad)
    landmarks = None if face.landmarks is None else cut.to_aligned(face.landmarks)
    box = (beyond, beyond, beyond + side, beyond + side)
    placed = AlignedFace(face.image, inner, box, face.score, landmarks)
    return Scene(picture, placed, box)


def face_side(face: AlignedFace, longest: int | None) -> int:
    """Side of the view 'face' in pixels; an even number, as videos require."""
    side = round(float(np.linalg.norm(face.quad[3] - face.quad[0])))
    return max(16, min(side, FACE_SIDE, longest or FACE_SIDE) // 2 * 2)


class Stage:
    """A scene ready to be drawn: the parts of its face, each computed when it first moves.

    Raises BundleError if the landmark model is missing.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.registration = register(scene.picture, scene.face)
        self._face = MovingFace(self.registration)
        self._canvas = Canvas(np.asarray(scene.picture), self.registration.matrix)

    def drawn(
        self,
        effects: Effects,
        field: Floats | None = None,
        *,
        gaze: Floats | None = None,
        travel: Floats | None = None,
    ) -> Frame:
        """The shown part of the scene with these effects: uint8 [H, W, 3]; a new array.

        field: [68, 2], displacement of the landmarks beyond the effects (see `effects.Reading`). gaze: [2, 2]
        and travel: [3], of the irises and the head (see `MovingFace.stroke`).
        """
        return self.scene.cut(self._canvas.drawn(self._face.stroke(effects, field, gaze=gaze, travel=travel)))


class PhotoView:
    """A video's `Finish`: moves the scene's own pixels with the motions."""

    def __init__(
        self,
        scene: Scene,
        motions: Sequence[Provenance],
        reader: Reader,
        *,
        may_be_twin: bool = False,
        stage: Stage | None = None,
    ) -> None:
        """motions: each file's provenance, which may state the effects. reader: measures them otherwise.
        may_be_twin: whether the model's pixels are used if its still frame is similar enough to the photo.
        stage: the scene's, if it exists already.
        """
        self._scene, self._may_be_twin, self._stage = scene, may_be_twin, stage
        self._reader = EffectsReader(motions, reader)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is shown."""
        return self._scene.size

    def needs_model(self, strengths: Strengths) -> bool:
        """Whether the model's frames are needed at these strengths, to measure a motion or to be shown."""
        return self._may_be_twin or len(self.looks_at(strengths)) > 0

    def looks_at(self, strengths: Strengths) -> Strengths:
        """The strengths of the still frame and of motions whose files state no effects, each by itself."""
        if not self._may_be_twin:
            return self._reader.looks_at(strengths)
        return np.concatenate([np.zeros((1, strengths.shape[1])), poses(strengths)])

    def begin(self, seen: Sequence[Pose]) -> MovingPhoto | TwinPhoto:
        """Return what draws the frames, given the poses of `looks_at`. Raises BundleError, MotionError."""
        if self._may_be_twin:
            twin = Paste(self._scene.picture, self._scene.face, seen[0][1])
            if twin.likeness >= TWIN:
                twin.learn(seen[1:])
                return TwinPhoto(self._scene, twin)
        return MovingPhoto(self._stage or Stage(self._scene), self._reader.response(seen))


class MovingPhoto:
    """Draws frames of a stage by the motions' effects; frames are independent."""

    needs_frames = False

    def __init__(self, stage: Stage, response: Response) -> None:
        self._stage, self._response = stage, response

    def __call__(self, strengths: Row, frame: Frame | None = None) -> Frame:
        """The shown part of the scene at these strengths [motions]: uint8 [H, W, 3]; a new array."""
        return self._stage.drawn(*self._response(strengths))


class TwinPhoto:
    """Pastes frames of a model that is the photo's twin into the scene; frames are independent."""

    needs_frames = True

    def __init__(self, scene: Scene, twin: Paste) -> None:
        self._scene, self._twin = scene, twin

    def __call__(self, strengths: Row, frame: Frame | None) -> Frame:
        """The shown part of the scene with this frame, at these strengths [motions]; uint8 [H, W, 3]."""
        assert frame is not None  # `needs_frames` requests them
        return self._scene.cut(self._twin(frame, strengths))


def _scaled(face: AlignedFace, ratio: np.ndarray) -> AlignedFace:
    """A face in its photo resized by `ratio` (across, down); whole numbers are pixel centres."""
    left, top, right, bottom = (round(edge * ratio[i % 2]) for i, edge in enumerate(face.box))
    landmarks = None if face.landmarks is None else (face.landmarks + 0.5) * ratio - 0.5
    quad = (face.quad + 0.5) * ratio - 0.5
    return replace(face, quad=quad, box=(left, top, right, bottom), landmarks=landmarks)
