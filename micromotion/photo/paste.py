"""Move a face in its own photo, at the photo's resolution.

The photo's own pixels move along the frame's displacement field, so that the still frame gives the photo
itself, and the seam, where nothing moves, is invisible. What else is taken from a frame depends on how well
its inversion matches the photo (`Paste.likeness`). A faithful frame is blended in unchanged, plus the photo's
missing detail, moved along. Of an unfaithful frame only the change of light on the skin is used, and what
appears when lips or eyes open, in the photo's colours.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from micromotion.errors import MotionError, OptionError
from micromotion.face.crop import FACE_IN_CROP, AlignedFace
from micromotion.face.images import as_loaded
from micromotion.face.landmarks import find_landmarks
from micromotion.photo.color_match import Tint, brightest, brightness, cast, ratio
from micromotion.photo.displacement import (
    SIDE,
    blurred,
    grid,
    landmark_field,
    moved,
    read,
    refined,
    resized,
    rigid_field,
    unfolded,
)
from micromotion.photo.response import Family
from micromotion.photo.seam import around, crop_outline, face_outline, feathered, gap
from micromotion.types import Floats, Frame, Pose
from micromotion.video.pixels import to_uint8

_EYES = 512  # side in pixels at which landmarks are detected
_MARGIN = 0.005  # of the crop's side, at its border, left unchanged
_FEATHER = 0.14  # of the crop's side, from its border inwards
_FACE_FEATHER = 0.1  # from the face's outline inwards: where the frame's colours are used
_NEAR = 0.1  # from the outline outwards: what moves with the skin
_NEW = 0.12  # of 0…1: a change of colour that motion does not explain, so new content
_ALIKE = 0.04  # of 0…1: how far still and photo may differ where the frame is trusted beyond the face
_FIT = 0.12  # of the crop's side: clamp on the distance between photo's and still's landmarks
_LOST = 0.75  # of a face's fine detail: with more unexplained, the face is not where expected
_UNFAITHFUL, _FAITHFUL = (
    0.6,
    0.85,
)  # likeness below which an inversion is not trusted; above which it is fully trusted
_SPREAD = 1.0  # cells: blur of new content
_PARTED = 0.06  # of the mouth's width: lips farther apart are open
_LIPS, _LIDS = 0.006, 0.03  # of the crop's side: how far beyond their landmarks new content may show
_SKULL = slice(27, 48)  # the landmarks of nose and eyes, which smile and speech move least
_SHRINK = 1.0  # how far the colours' area shrinks into the face, per mean displacement
_SMALL = 0.006  # of the crop's side: landmarks that move less are trusted less
_NOISE = 0.01  # of 0…1: added to the variance, as noise
_STRIP = 64  # rows of the photo processed together


class Paste:
    """Pastes frames of an animated face into its photo: call it with a frame, it returns the photo.

    `size` is the photo's width and height. What depends on the video alone is computed once. A frame costs
    the processing of the face's box and a copy of the photo; frames are independent, in any order.
    """

    def __init__(self, photo: Image.Image, aligned: AlignedFace, still: Frame) -> None:
        """photo: the input of `align`, of any mode. aligned: its result. still: uint8 [N, N, 3], the still
        frame of the inversion, of the same size as all frames.

        Raises ImageError as `load_image` does, OptionError if the still frame is not a square RGB picture,
        BundleError if the landmark model is missing.
        """
        _check(still, None)
        self._photo = np.array(as_loaded(photo))  # a copy, as torch needs a writable array
        self._shape = still.shape
        self._place = _Place(aligned, self.size)
        self._samples = min(len(still), max(16, math.ceil(self._place.side)))
        crop = _tensor(aligned.image)
        self._mask = self._masked()
        self._box = self._face_box(aligned)
        landmarks = _landmarks(crop, self._box)  # detected as in the still: same face, same landmarks
        found = _landmarks(_tensor(still), self._box)
        # Maps the still face's features to the photo's: everything below is in the photo's geometry.
        self._fit = landmark_field(landmarks, np.clip(found - landmarks, -_FIT, _FIT))
        self._within = _layer(face_outline(landmarks).inside(grid(SIDE)[0].double().numpy()))
        self._face = feathered(self._within, _FACE_FEATHER)
        self._near = feathered(self._within + _NEAR, _NEAR)
        edge = crop_outline(_MARGIN).inside(grid(SIDE)[0].double().numpy())
        self._edge = feathered(_layer(edge), _FEATHER)
        still_fit = self._fitted(still)
        self._landmarks = _landmarks(still_fit, self._box)
        # Between eyes and nose, where only the head moves: its motion is measured there, on many cells.
        low, high = self._landmarks[_SKULL].min(axis=0), self._landmarks[_SKULL].max(axis=0)
        self._middle = low + grid(16)[0].reshape(-1, 2).double().numpy() * (high - low)
        small = resized(crop, SIDE)
        self._tint = Tint(resized(still_fit, SIDE), small, self._face)
        self._still = still_fit
        toned = resized(self._tint(still_fit), SIDE)
        self._difference = small - toned
        self.likeness = _alike(toned, small, self._face)
        self._trust = float(feathered(torch.tensor(self.likeness - _UNFAITHFUL), _FAITHFUL - _UNFAITHFUL))
        self._eyes, self._gap = _eyes(landmarks), gap(landmarks)
        self._whitest, self._cast = brightest(small, self._face), cast(small, self._face)
        self._known: tuple[Family, Family] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo in pixels."""
        return self._photo.shape[1], self._photo.shape[0]

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Where the photo may change: uint8 [PH, PW], from 0 (never) to 255 (freely)."""
        mask = np.zeros(self._photo.shape[:2], np.uint8)
        mask[self._place.top : self._place.bottom, self._place.left : self._place.right] = self._mask
        return mask

    def learn(self, poses: Sequence[Pose]) -> None:
        """Learn how the face moves, from frames at some strengths of the motions (see `effects.poses`).

        Frames given with their strengths then move without trembling. Raises as a call does.
        """
        if not poses:
            return
        with torch.inference_mode():
            landmarks, fields = [], []
            for _, frame in poses:
                _check(frame, self._shape)
                fitted = self._fitted(frame)
                landmarks.append(_landmarks(fitted, self._box))
                fields.append(self._displacement(fitted, landmarks[-1]))
        rows = np.stack([strengths for strengths, _ in poses])
        self._known = (
            Family(rows, fields),
            Family(rows, [torch.from_numpy(m - self._landmarks) for m in landmarks]),
        )

    def __call__(self, frame: Frame, strengths: Floats | None = None) -> Frame:
        """The whole photo [PH, PW, 3] with the face as in this frame, uint8; a new array.

        strengths: those of the motions in this frame, [motions], if `learn` has seen these motions.

        Raises OptionError if the frame has another shape than the still one, MotionError if the face leaves
        its place in the photo.
        """
        _check(frame, self._shape)
        picture = self._photo.copy()
        with torch.inference_mode():
            field, change = self._change(self._fitted(frame), strengths)
            for rows, columns in self._place.strips():
                mask = self._mask[rows.start - self._place.top : rows.stop - self._place.top]
                points, depth = self._place.points(rows, columns), torch.from_numpy(mask) / 255
                shift = depth[..., None] * read(field, points, "bicubic")[0].movedim(0, -1)
                here = self._place.read(self._photo, rows, columns, shift)
                layer = read(change, points)[0]
                left = 1 - depth * (1 - layer[3])
                mixed = (left * here + 255 * depth * layer[:3]).round_().clamp_(0, 255)
                new = mixed.byte().movedim(0, -1).numpy()
                np.copyto(picture[rows, columns], new, where=mask[..., None] > 0)
        return picture

    def _change(self, frame: Tensor, strengths: Floats | None) -> tuple[Tensor, Tensor]:
        """The displacement field of the photo's pixels, [1, 2, SIDE, SIDE]; and colours to add to them, with
        the factor applied before, [1, 4, samples, samples].
        """
        landmarks, field = self._moves(frame, strengths)
        toned, was = self._tint(frame), moved(self._tint(self._still), field)
        fine = _fine(resized(toned - was, SIDE))  # a change of light on the same skin is not new content
        size = blurred(fine.square().mean(dim=1, keepdim=True), _SPREAD)
        own = torch.exp(-size / (2 * _NEW**2))  # 1: the photo's pixels, moved; 0: new content
        opened = self._opened(landmarks, field, own)
        mixed = torch.zeros(1, 4, self._samples, self._samples)
        if self._trust < 1:
            mixed += (1 - self._trust) * self._blend_low_fidelity(field, opened, own, toned, was)
        if self._trust > 0:
            mixed += self._trust * self._blend_high_fidelity(field, own, toned, was)
        return field, mixed

    def _opened(self, landmarks: Floats, field: Tensor, own: Tensor) -> Tensor:
        """Where mouth and eyes show new content, 0…1 [1, 1, SIDE, SIDE].

        Between the lips, if they part there but not in the photo, whose own teeth move well; on the eyes,
        whatever motion does not explain.
        """
        parted = (gap(landmarks) - gap(self._landmarks) - _PARTED) / _PARTED
        shut = 1 - (self._gap - _PARTED) / _PARTED
        much = float(feathered(torch.tensor(min(parted, shut)), 1.0))
        lips = _layer(around(landmarks[60:68]).inside(grid(SIDE)[0].double().numpy())) + _LIPS
        eyes = moved(self._eyes, field) * (2 - 2 * own).clamp(max=1)
        return torch.maximum(much * feathered(lips, 2 * _LIPS), eyes)

    def _blend_low_fidelity(
        self, field: Tensor, opened: Tensor, own: Tensor, toned: Tensor, was: Tensor
    ) -> Tensor:
        """Use an inversion that shows another person: only light on the skin, and opening mouth and eyes.

        Light as a ratio (Liu, Shan and Zhang 2001, Expressive expression mapping with ratio images), as the
        photo's skin may be darker; new colours only within mouth and eyes, as new content elsewhere is the
        other person's hair, outline or background.
        """
        samples = self._samples
        opened = resized(opened, samples)
        carried = moved(self._difference, field)
        smooth = blurred(carried * own, 8.0) / blurred(own, 8.0).clamp(min=1e-3)
        new = (toned + resized(smooth, samples)).clamp(0, 1)
        new = self._cast * new * (self._whitest / brightness(new).clamp(min=self._whitest))
        gain = ratio(resized(toned, SIDE), resized(was, SIDE), own * self._within_face(field))
        return torch.cat([opened * new, (1 - opened) * resized(gain, samples)], dim=1)

    def _blend_high_fidelity(self, field: Tensor, own: Tensor, toned: Tensor, was: Tensor) -> Tensor:
        """Use the frame itself, plus what the inversion lacks of the photo, moved along where still valid."""
        samples = self._samples
        carried = moved(self._difference, field)
        smooth = blurred(carried * own, 8.0) / blurred(own, 8.0).clamp(min=1e-3)
        alike = torch.exp(-blurred(carried.square().mean(dim=1, keepdim=True), 6.0) / (2 * _ALIKE**2))
        trust = torch.maximum(self._within_face(field), alike)
        gone = resized(trust * (1 - own), samples)
        kept = resized(trust * own, samples)
        added = gone * (toned + resized(smooth, samples)) + kept * (toned - was)
        return torch.cat([added, 1 - gone], dim=1)

    def _within_face(self, field: Tensor) -> Tensor:
        """The moved face's coverage of each cell, 0…1 [1, 1, SIDE, SIDE].

        A turning head uncovers the background at its outline, so coverage shrinks with the motion.
        """
        displacement = (field.norm(dim=1) * self._face[:, 0]).sum() / self._face.sum()
        return feathered(moved(self._within, field) - _SHRINK * displacement, _FACE_FEATHER)

    def _moves(self, frame: Tensor, strengths: Floats | None) -> tuple[Floats, Tensor]:
        """A frame's landmarks [68, 2] and displacement field: known for its strengths, or else measured."""
        if strengths is None or self._known is None:
            landmarks = _landmarks(frame, self._box)
            return landmarks, self._displacement(frame, landmarks)
        fields, displacements = self._known
        field = torch.zeros(1, 2, SIDE, SIDE)
        # What moves the face least comes first: a turning head carries a smiling mouth along.
        for each in sorted(fields.at(strengths), key=lambda one: float((one.norm(dim=1) * self._face).sum())):
            field = each + moved(field, each)
        return self._landmarks + displacements.total(strengths).double().numpy(), unfolded(field)

    def _displacement(self, frame: Tensor, landmarks: Floats) -> Tensor:
        """The displacement field of a frame: the whole crop moves with the head, the face also by itself."""
        back = self._landmarks - landmarks
        # The pictures measure small displacements better than landmarks, which tremble.
        size = np.square(back).sum(axis=1, keepdims=True)
        back = back * size / (size + _SMALL**2)
        head = rigid_field(landmarks[_SKULL], back[_SKULL])
        still = read(head, _points(landmarks))[0, :, 0].T.double().numpy()
        face = landmark_field(landmarks, back - still)
        near = moved(self._near, head)
        found = refined(head + near * face, self._still, frame, near)
        at = self._middle
        head = rigid_field(at, read(found, _points(at))[0, :, 0].T.double().numpy())
        field = unfolded((head + near * (found - head)) * self._edge)
        self._check_found(frame, field)
        return field

    def _check_found(self, frame: Tensor, field: Tensor) -> None:
        """Raise MotionError unless the face is found where the field says.

        Measured on fine detail: the share of the still face's and the frame's variation that differs
        between them, 0 for the same face and 1 for another; the five motions give 0.03 to 0.4.
        """
        where = moved(self._face, field)
        was, now = (_fine(resized(each, SIDE)) for each in (moved(self._still, field), frame))
        left, whole = ((each * where).sum() for each in ((was - now).square(), was.square() + now.square()))
        if left > _LOST * (whole + 3 * _NOISE**2 * where.sum()):
            raise MotionError(
                "The face moves so far that it leaves its place in the photo: lower the strength, or take "
                "the view 'model'."
            )

    def _fitted(self, frame: Frame) -> Tensor:
        """A frame in the photo's geometry, [1, 3, samples, samples] in 0…1."""
        picture = resized(_tensor(frame), self._samples)
        points = grid(self._samples) + resized(self._fit, self._samples).movedim(1, -1)
        return read(picture, points, "bicubic").clamp(0, 1)

    def _masked(self) -> NDArray[np.uint8]:
        """The mask over the crop's box."""
        outline, width = crop_outline(_MARGIN), max(_FEATHER / 4, 2 / self._place.side)
        strips = []
        for rows, columns in self._place.strips():
            depth = outline.inside(self._place.points(rows, columns)[0].double().numpy())
            mask = (255 * feathered(torch.from_numpy(depth), width)).ceil().byte()
            strips.append(mask.numpy())
        return np.concatenate(strips)

    def _face_box(self, aligned: AlignedFace) -> tuple[float, ...]:
        """The box in the crop to detect landmarks in, in the unit square: the detector's box, upright."""
        if aligned.landmarks is None:
            return FACE_IN_CROP
        box = np.array(aligned.box, np.float64).reshape(2, 2)
        centre = (aligned.to_aligned(box.mean(axis=0)) + 0.5) / aligned.image.width
        half = (box[1] - box[0]).mean() / 2 / self._place.side
        return (*(centre - half), *(centre + half))


class _Place:
    """The crop's box in the photo, and the map from the crop's points to the photo's pixels."""

    def __init__(self, aligned: AlignedFace, size: tuple[int, int]) -> None:
        low = np.floor(aligned.quad.min(axis=0)).astype(int)
        high = np.ceil(aligned.quad.max(axis=0)).astype(int) + 1
        self.left, self.top = (int(edge) for edge in np.maximum(low, 0))
        self.right, self.bottom = (int(edge) for edge in np.minimum(high, size))
        top_left, bottom_left, _, top_right = aligned.quad
        self.side = float(np.linalg.norm(top_right - top_left))
        self._corner = top_left  # an outer edge, half a pixel before the first pixel's centre
        self._axes = np.stack([top_right - top_left, bottom_left - top_left], axis=1)

    def strips(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the photo, a few rows at a time, so that memory stays bounded."""
        for first in range(self.top, self.bottom, _STRIP):
            yield slice(first, min(first + _STRIP, self.bottom)), slice(self.left, self.right)

    def points(self, rows: slice, columns: slice) -> Tensor:
        """The pixels' positions in the crop's unit square, [1, h, w, 2] float32."""
        back = np.linalg.inv(self._axes)
        first = back @ (np.array([columns.start, rows.start]) - self._corner)
        x, y = torch.arange(columns.stop - columns.start), torch.arange(rows.stop - rows.start)
        right, down = (torch.from_numpy(axis) for axis in back.T)
        points = torch.from_numpy(first) + x[:, None] * right + y[:, None, None] * down
        return points.float()[None]

    def read(self, photo: Frame, rows: slice, columns: slice, shift: Tensor) -> Tensor:
        """The photo at its pixels displaced by `shift` [h, w, 2] in crop units: [3, h, w] in 0…255."""
        away = shift @ torch.from_numpy(self._axes.T).float()
        x = (torch.arange(columns.start, columns.stop) + away[..., 0]).clamp(0, photo.shape[1] - 1)
        y = (torch.arange(rows.start, rows.stop)[:, None] + away[..., 1]).clamp(0, photo.shape[0] - 1)
        left, top = max(int(x.min()) - 2, 0), max(int(y.min()) - 2, 0)
        part = photo[top : int(y.max()) + 3, left : int(x.max()) + 3]
        pixels = torch.from_numpy(part).movedim(-1, 0)[None].float()
        points = torch.stack([(x - left + 0.5) / part.shape[1], (y - top + 0.5) / part.shape[0]], dim=-1)
        return read(pixels, points[None], "bicubic")[0]


def _alike(still: Tensor, photo: Tensor, face: Tensor) -> float:
    """The likeness of two faces: the correlation of their fine detail; may be below 0."""
    ours, theirs = _fine(still), _fine(photo)
    both, one, other = ((a * b * face).sum() for a, b in ((ours, theirs), (ours, ours), (theirs, theirs)))
    return float(both / (one * other).sqrt().clamp(min=1e-9))


def _eyes(landmarks: Floats) -> Tensor:
    """Each cell's coverage by the eyes, 0…1 [1, 1, SIDE, SIDE]."""
    cells = grid(SIDE)[0].double().numpy()
    depths = [_layer(around(landmarks[eye]).inside(cells)) for eye in (slice(36, 42), slice(42, 48))]
    return feathered(torch.maximum(*depths) + _LIDS, 2 * _LIDS)


def _landmarks(picture: Tensor, box: tuple[float, ...]) -> Floats:
    """The landmarks [68, 2] of the face in a box of a picture [1, 3, N, N], both in the unit square."""
    large = F.interpolate(picture, (_EYES, _EYES), mode="bicubic", align_corners=False, antialias=True)
    image = Image.fromarray(to_uint8(2 * large[0] - 1))
    x0, y0, x1, y1 = (round(edge * _EYES) for edge in box)
    landmarks: Floats = (find_landmarks(image, (x0, y0, x1, y1)) + 0.5) / _EYES
    return landmarks


def _fine(picture: Tensor) -> Tensor:
    """A picture of SIDE cells without its low frequencies, such as light and shade."""
    return picture - blurred(picture, 6.0)


def _tensor(picture: Frame | Image.Image) -> Tensor:
    """uint8 [H, W, 3] -> [1, 3, H, W] in 0…1."""
    return torch.tensor(np.asarray(picture)).movedim(-1, 0)[None] / 255


def _points(points: Floats) -> Tensor:
    """[n, 2] -> [1, 1, n, 2], to read a field there."""
    return torch.from_numpy(points).float()[None, None]


def _layer(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[None, None]


def _check(frame: Frame, shape: tuple[int, ...] | None) -> None:
    square = frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[0] == frame.shape[1]
    if not square or frame.shape[2] != 3 or frame.shape != (shape or frame.shape):
        wanted = "a square of RGB pixels" if shape is None else f"uint8 {list(shape)} as the still one is"
        raise OptionError(f"A frame to paste must be {wanted}, not {frame.dtype} {list(frame.shape)}.")
