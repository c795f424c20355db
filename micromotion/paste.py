"""A face moved in its own photo, at the photo's own resolution.

An inversion never is the photo: it has another skin, other hair, no grain. So what is put back is not the
frame itself but frame + (photo − still), the difference carried along as the face moves. In other words the
photo's own pixels move as the frame's do, and what shows for the first time (teeth, a lid) is the frame's, in
the photo's colours. For the still frame that is the photo itself, for a perfect inversion the frame itself,
and at the seam, where nothing moves, there is nothing to see.
"""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from micromotion.align import AlignedFace, find_landmarks
from micromotion.encoders import Frame
from micromotion.errors import MotionError, OptionError
from micromotion.flow import (
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
from micromotion.images import load_image
from micromotion.pixels import to_uint8
from micromotion.seam import Floats, crop_outline, face_outline, feathered

_ASIDE = 0.03  # of the box: the step from one box to the next
_EYES = 512  # pixels of the side in which landmarks are looked for
_MARGIN = 0.005  # of the crop's side, at its border, that is left alone
_FEATHER = 0.14  # of the crop's side, from its border inwards
_FACE_FEATHER = 0.1  # from the face's outline inwards: where the frame's colours are taken
_NEAR = 0.1  # from it outwards: what moves with the skin
_NEW = 0.12  # of 0…1: a change of colour that movement does not explain, and that is a new thing
_ALIKE = 0.04  # of 0…1: how far still and photo may differ where the frame is trusted beyond the face
_FIT = 0.12  # of the crop's side: farther apart, photo's and still's landmarks are not the same thing's
_LOST = 0.75  # of a face's fine detail: with more unaccounted for, it is not where it is looked for
_CONTRAST = 0.5, 1.25  # the least and the most that a frame's contrast is multiplied by
_CHROMA = 1.25  # the most that its chroma is
_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])  # BT.601
_SKULL = slice(27, 48)  # the landmarks of nose and eyes, which smile and speech move least
_SHRINK = 1.0  # how much deeper inside the face colours are taken, per mean movement
_SMALL = 0.03  # of the crop's side: landmarks that move less are trusted less
_NOISE = 0.01  # of 0…1: colours that vary less are not spread
_STRIP = 64  # rows of the photo that are worked on together


class Paste:
    """Plays frames of an animated face in the photo it came from: call it with a frame, it gives the photo.

    `size` is the photo's width and height. What depends on the clip alone is worked out once. A frame costs
    what the face's own box costs, and the copy of the photo; each is worked out by itself, in any order.
    """

    def __init__(self, photo: Image.Image, aligned: AlignedFace, still: Frame) -> None:
        """photo: what `align` was given, of any mode. aligned: what it gave. still: uint8 [N, N, 3], the
        inversion's picture before it moves, at the size of all frames.

        Raises ImageError as `load_image` does, OptionError if the still frame is no square RGB picture,
        BundleError if the landmark model is missing.
        """
        _check(still, None)
        self._photo = np.array(load_image(photo))  # torch reads only what could be written
        self._shape = still.shape
        self._place = _Place(aligned, self.size)
        self._samples = min(len(still), max(16, math.ceil(self._place.side)))
        crop = _tensor(aligned.image)
        self._mask = self._masked()
        marks = self._landmarks(aligned, crop)
        found = _marks(_tensor(still), self._box)
        # The still face's features onto the photo's: everything below happens in the photo's geometry.
        self._fit = landmark_field(marks, np.clip(found - marks, -_FIT, _FIT))
        self._within = _layer(face_outline(marks).inside(grid(SIDE)[0].double().numpy()))
        self._face = feathered(self._within, _FACE_FEATHER)
        self._near = feathered(self._within + _NEAR, _NEAR)
        edge = crop_outline(_MARGIN).inside(grid(SIDE)[0].double().numpy())
        self._edge = feathered(_layer(edge), _FEATHER)
        still_fit = self._fitted(still)
        self._marks = _marks(still_fit, self._box)
        # Between eyes and nose, where only the head moves: its movement is read there, from many cells.
        low, high = self._marks[_SKULL].min(axis=0), self._marks[_SKULL].max(axis=0)
        self._middle = low + grid(16)[0].reshape(-1, 2).double().numpy() * (high - low)
        self._tint = _Tint(resized(still_fit, SIDE), resized(crop, SIDE), self._face)
        self._still = still_fit
        self._difference = resized(crop, SIDE) - resized(self._tint(still_fit), SIDE)

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

    def __call__(self, frame: Frame) -> Frame:
        """The whole photo [PH, PW, 3] with the face as in this frame, uint8; a new array.

        Raises OptionError if the frame has another shape than the still one, MotionError if the face leaves
        its place in the photo.
        """
        _check(frame, self._shape)
        picture = self._photo.copy()
        with torch.inference_mode():
            field, change = self._change(self._fitted(frame))
            for rows, columns in self._place.strips():
                mask = self._mask[rows.start - self._place.top : rows.stop - self._place.top]
                points, depth = self._place.points(rows, columns), torch.from_numpy(mask) / 255
                shift = depth[..., None] * read(field, points, "bicubic")[0].movedim(0, -1)
                here = self._place.read(self._photo, rows, columns, shift)
                layer = depth * read(change, points)[0]
                mixed = ((1 - layer[3]) * here + 255 * layer[:3]).round_().clamp_(0, 255)
                new = mixed.byte().movedim(0, -1).numpy()
                np.copyto(picture[rows, columns], new, where=mask[..., None] > 0)
        return picture

    def _change(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Where the photo's pixels come from, [1, 2, SIDE, SIDE]; and colours to add to what is left of
        them, with how much of them goes, [1, 4, samples, samples].
        """
        field = self._movement(frame)
        toned = self._tint(frame)
        rest = toned - moved(self._tint(self._still), field)
        carried = moved(self._difference, field)
        fine = _fine(resized(rest, SIDE))  # other light on the same skin is nothing new
        size = blurred(fine.square().mean(dim=1, keepdim=True), 2.0)
        own = torch.exp(-size / (2 * _NEW**2))  # 1: the photo's pixels, moved; 0: something new
        smooth = blurred(carried * own, 8.0) / blurred(own, 8.0).clamp(min=1e-3)
        alike = torch.exp(-blurred(carried.square().mean(dim=1, keepdim=True), 6.0) / (2 * _ALIKE**2))
        # A head that turns shows what was behind it, at its outline: the more it does, the deeper inside.
        movement = (field.norm(dim=1) * self._face[:, 0]).sum() / self._face.sum()
        within = moved(self._within, field) - _SHRINK * movement
        trust = torch.maximum(feathered(within, _FACE_FEATHER), alike)
        gone = resized(trust * (1 - own), self._samples)
        kept = resized(trust * own, self._samples)
        added = gone * (toned + resized(smooth, self._samples)) + kept * rest
        return field, torch.cat([added, gone], dim=1)

    def _movement(self, frame: Tensor) -> Tensor:
        """Where each cell's pixels come from: the whole crop moves as the head does, the face by itself."""
        marks = _marks(frame, self._box)
        back = self._marks - marks
        head = rigid_field(marks[_SKULL], back[_SKULL])
        still = read(head, _points(marks))[0, :, 0].T.double().numpy()
        face = landmark_field(marks, back - still)
        near = moved(self._near, head)
        # Small movements are seen better than landmarks can tell them.
        share = float(feathered(torch.tensor(np.abs(back).mean()), _SMALL))
        found = refined(share * (head + near * face), self._still, frame, near)
        at = self._middle
        head = rigid_field(at, read(found, _points(at))[0, :, 0].T.double().numpy())
        field = unfolded((head + near * (found - head)) * self._edge)
        self._check_found(frame, field)
        return field

    def _check_found(self, frame: Tensor, field: Tensor) -> None:
        """Raise MotionError unless the face is found again where the field says.

        Measured on what is fine in it: the share of the still face's and the frame's own variation that is
        left between them, 0 for the same face and 1 for another; the five motions leave 0.03 to 0.4.
        """
        where = moved(self._face, field)
        was, now = (_fine(resized(each, SIDE)) for each in (moved(self._still, field), frame))
        left, whole = ((each * where).sum() for each in ((was - now).square(), was.square() + now.square()))
        if left > _LOST * (whole + 3 * _NOISE**2 * where.sum()):
            raise MotionError(
                "The face moves so far that it leaves its place in the photo: lower the strength, or take "
                "the crop alone as the frame."
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

    def _landmarks(self, aligned: AlignedFace, crop: Tensor) -> Floats:
        """The photo's landmarks in the unit square; sets the box in which others are looked for."""
        if aligned.landmarks is None:
            self._box = 0.2, 0.3, 0.8, 0.9  # where dlib finds FFHQ's faces
            return _marks(crop, self._box)
        marks = (aligned.to_aligned(aligned.landmarks) + 0.5) / aligned.image.width
        box = np.array(aligned.box, np.float64).reshape(2, 2)
        centre = (aligned.to_aligned(box.mean(axis=0)) + 0.5) / aligned.image.width
        half = (box[1] - box[0]).mean() / 2 / self._place.side
        self._box = (*(centre - half), *(centre + half))
        return marks


class _Place:
    """The crop's box in the photo, and the way from the crop's points to the photo's pixels."""

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
        """The pixels' places in the crop's unit square, [1, h, w, 2] float32."""
        back = np.linalg.inv(self._axes)
        first = back @ (np.array([columns.start, rows.start]) - self._corner)
        x, y = torch.arange(columns.stop - columns.start), torch.arange(rows.stop - rows.start)
        right, down = (torch.from_numpy(axis) for axis in back.T)
        points = torch.from_numpy(first) + x[:, None] * right + y[:, None, None] * down
        return points.float()[None]

    def read(self, photo: Frame, rows: slice, columns: slice, shift: Tensor) -> Tensor:
        """The photo at its pixels moved by `shift` [h, w, 2] in the crop's unit: [3, h, w] in 0…255."""
        away = shift @ torch.from_numpy(self._axes.T).float()
        x = (torch.arange(columns.start, columns.stop) + away[..., 0]).clamp(0, photo.shape[1] - 1)
        y = (torch.arange(rows.start, rows.stop)[:, None] + away[..., 1]).clamp(0, photo.shape[0] - 1)
        left, top = max(int(x.min()) - 2, 0), max(int(y.min()) - 2, 0)
        part = photo[top : int(y.max()) + 3, left : int(x.max()) + 3]
        pixels = torch.from_numpy(part).movedim(-1, 0)[None].float()
        points = torch.stack([(x - left + 0.5) / part.shape[1], (y - top + 0.5) / part.shape[0]], dim=-1)
        return read(pixels, points[None], "bicubic")[0]


class _Tint:
    """The map of colours that gives the still face the photo's brightness, contrast and hue.

    Chroma is turned and stretched as a number of the complex plane (Cb + i·Cr), so that gray stays gray:
    teeth and eyes take no colour from a skin that is another's. In a gray photo all becomes gray.
    """

    def __init__(self, still: Tensor, photo: Tensor, face: Tensor) -> None:
        """All [1, C, SIDE, SIDE]; face: how much of each cell is face, 0…1."""
        weights = face.flatten().double().numpy()
        ours, theirs = (_YCC @ picture[0].flatten(1).double().numpy() for picture in (still, photo))
        (y, b, r), (their_y, their_b, their_r) = (np.average(each, 1, weights) for each in (ours, theirs))
        spread, their_spread = (np.sqrt(np.cov(each[0], aweights=weights)) for each in (ours, theirs))
        contrast = np.clip(their_spread / max(spread, _NOISE), *_CONTRAST)
        chroma = complex(their_b, their_r) / (complex(b, r) or 1)
        chroma *= min(1, _CHROMA / max(abs(chroma), 1e-12))
        gain = np.eye(3) * contrast
        gain[1:, 1:] = [[chroma.real, -chroma.imag], [chroma.imag, chroma.real]]
        back = np.linalg.inv(_YCC)
        self._gain = torch.from_numpy(back @ gain @ _YCC).float()
        self._shift = torch.from_numpy(back @ [their_y - contrast * y, 0, 0]).float()

    def __call__(self, picture: Tensor) -> Tensor:
        """Colours [1, 3, H, W]."""
        return torch.einsum("ij,bjhw->bihw", self._gain, picture) + self._shift[:, None, None]


def _marks(picture: Tensor, box: tuple[float, ...]) -> Floats:
    """dlib's landmarks [68, 2] of the face in a box of a picture [1, 3, N, N], both in the unit square.

    They are whole pixels and leap from frame to frame, so that a face would tremble: the mean over boxes a
    little to all sides is five times as steady.
    """
    large = F.interpolate(picture, (_EYES, _EYES), mode="bicubic", align_corners=False, antialias=True)
    image = Image.fromarray(to_uint8(2 * large[0] - 1))
    step = _EYES * (box[2] - box[0]) * _ASIDE
    found = []
    for right, down in product(range(-2, 3), repeat=2):
        aside = step * right, step * down
        x0, y0, x1, y1 = (round(edge * _EYES + aside[i % 2]) for i, edge in enumerate(box))
        found.append(find_landmarks(image, (x0, y0, x1, y1)))
    mean: Floats = (np.mean(found, axis=0) + 0.5) / _EYES
    return mean


def _fine(picture: Tensor) -> Tensor:
    """A picture of SIDE cells without its slow changes, such as light and shade."""
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
