"""FFHQ's crop of a face: its corners for given landmarks, its pixels, and the mapping back to the photo.

The geometry is that of the FFHQ data set (Karras et al. 2019, arXiv 1812.04948; as code in
NVlabs/ffhq-dataset and omertov/encoder4editing): a square around eyes and mouth.

Points are (x, y) in pixels and integers are pixel centres, as in dlib.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from micromotion.face.tiles import Box, scaled_size

_PAD = 0.3  # FFHQ's padding beyond the picture, as a fraction of the crop's side


FACE_IN_CROP = (0.2, 0.3, 0.8, 0.9)
"""Left, top, right, bottom of dlib's face box in FFHQ's crop, as fractions of the crop's side."""


@dataclass(frozen=True)
class AlignedFace:
    """A face cut out of a photo, upright and centred.

    image: RGB, size × size. quad: [4, 2] float64, the crop's corners in the photo (top left, bottom left,
    bottom right, top right). box: left, top, right, bottom of the detector's box in the photo. score: the
    detector's confidence, above 0; 1 and more is a clear face. landmarks: [68, 2] float64 in the photo. A
    picture that was not searched for a face has neither score nor landmarks (None).

    >>> from micromotion import align
    >>> face = align("docs/face.jpg")
    >>> face.image.size, face.landmarks.shape, face.score > 1
    ((256, 256), (68, 2), True)
    """

    image: Image.Image
    quad: np.ndarray
    box: Box
    score: float | None
    landmarks: np.ndarray | None

    @property
    def matrix(self) -> np.ndarray:
        """[2, 3] float64: source = matrix @ (x, y, 1) for a point (x, y) of the aligned image."""
        top_left, bottom_left, _, top_right = self.quad
        right, down = (top_right - top_left) / self.image.width, (bottom_left - top_left) / self.image.height
        return np.stack([right, down, top_left + 0.5 * (right + down)], axis=1)

    def to_source(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the aligned image, in the photo's pixels, float64."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_aligned(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the photo, in the aligned image's pixels, float64."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        return (np.asarray(points, np.float64) - self.matrix[:, 2]) @ inverse.T


def ffhq_quad(landmarks: np.ndarray) -> np.ndarray:
    """FFHQ's crop for 68 landmarks [68, 2]: corners [4, 2], float64, in `AlignedFace.quad`'s order.

    Half the square's side is twice the distance between the eyes or 1.8 times that from eyes to mouth,
    whichever is larger; its centre is a tenth of the way from the eyes to the mouth; its tilt is the mean of
    the line of the eyes and the normal of the line from eyes to mouth.
    """
    left_eye, right_eye = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    eyes = (left_eye + right_eye) / 2
    across = right_eye - left_eye
    down = (landmarks[48] + landmarks[54]) / 2 - eyes
    axis = across + np.array([down[1], -down[0]])
    axis /= np.linalg.norm(axis)
    half_x = axis * max(2.0 * np.linalg.norm(across), 1.8 * np.linalg.norm(down))
    half_y = np.array([-half_x[1], half_x[0]])
    centre = eyes + 0.1 * down
    return np.stack(
        [
            centre - half_x - half_y,
            centre - half_x + half_y,
            centre + half_x + half_y,
            centre + half_x - half_y,
        ]
    )


def crop_quad(picture: Image.Image, quad: np.ndarray, size: int, *, compatible: bool = False) -> Image.Image:
    """Resample the square `quad` [4, 2] of an RGB picture to size × size, anti-aliased.

    `compatible`: as the public code of e4e and ReStyle, see `alignment.align`.
    """
    side = float(np.linalg.norm(quad[3] - quad[0]))
    samples = 2 * size
    if compatible:
        samples = size
        whole = max(1, int(0.5 * side / size))
        if whole > 1:
            picture = picture.resize(scaled_size(picture.size, 1 / whole), Image.Resampling.LANCZOS)
            quad, side = quad / whole, side / whole
    border = max(round(0.1 * side), 3)
    low = np.floor(quad.min(axis=0)).astype(int) - border
    high = np.ceil(quad.max(axis=0)).astype(int) + border
    region = _clip_box((*low, *high), picture.size)
    # At twice the output's resolution, bilinear sampling below (four neighbours) covers every pixel.
    shrink = 1.0 if compatible else max(1.0, side / samples)
    small_size = scaled_size((region[2] - region[0], region[3] - region[1]), 1 / shrink)
    small = (
        picture.resize(small_size, Image.Resampling.LANCZOS, box=region)
        if shrink > 1
        else picture.crop(region)
    )
    ratio = np.array(small.size) / (region[2] - region[0], region[3] - region[1])
    # From here on pixel edges are integers, as in Pillow.
    corners = (quad + 0.5 - region[:2]) * ratio
    beyond = np.maximum(np.array([*-low, *(high - picture.size)]), 0)  # left, top, right, bottom
    if beyond.max() > border - 4:
        pad = np.maximum(np.rint(beyond / shrink), max(1, round(_PAD * side / shrink))).astype(int).tolist()
        small = _pad(small, pad, 0.02 * side / shrink)
        corners += pad[:2]
    sampled = small.transform(
        (samples, samples), Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BILINEAR
    )
    return sampled if compatible else sampled.resize((size, size), Image.Resampling.LANCZOS)


def _pad(picture: Image.Image, pad: list[int], blur: float) -> Image.Image:
    """FFHQ's padding beyond the border: mirrored, increasingly blurred, fading to the median colour.

    `pad` is left, top, right, bottom and `blur` the Gaussian's sigma, both in pixels.
    """
    left, top, right, bottom = pad
    mirrored = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="reflect")
    blurred = np.asarray(Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(blur)))
    height, width = mirrored.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    # 1 at the new border, 0 at the old one, negative inside.
    outside_x = 1 - np.minimum(x / left, (width - 1 - x) / right)
    outside_y = 1 - np.minimum(y / top, (height - 1 - y) / bottom)
    outside = np.maximum(outside_x, outside_y)
    blurring, fading = np.clip(3 * outside + 1, 0, 1), np.clip(outside, 0, 1)
    for channel in range(3):  # one at a time: a third of the memory
        values = mirrored[..., channel].astype(np.float32)
        values += (blurred[..., channel] - values) * blurring
        values += (np.median(values) - values) * fading
        mirrored[..., channel] = np.rint(values).clip(0, 255)
    return Image.fromarray(mirrored)


def _clip_box(box: tuple[float, ...], size: tuple[int, int]) -> Box:
    """The part of a box that is inside a picture of that size, in whole pixels."""
    left, top, right, bottom = (int(edge) for edge in box)
    return max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])
