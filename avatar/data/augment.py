"""Augmentation of the training pictures, so that photographs, paintings and drawings work too.

A network trained on renders alone takes a photograph's grain, light or backdrop for a property of the head.
Here each picture is disturbed by a few of eighteen augmentations, in the order in which they affect a real
picture: anatomy, scene, light, framing, occlusion, an artist's hand, film and lens, file. All randomness
comes from the given generator.

None of them looks like glasses, a beard or a hat: the renderer's factors must stay true labels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.data.patterns import (
    BRIGHTNESS,
    bell,
    brightness,
    chance,
    clouds,
    convolve,
    grid,
    normal,
    offsets,
    paint,
    scene,
    signed,
    uniform,
    unit,
)

Disturb = Callable[[Tensor, torch.Generator], Tensor]
"""Pictures [N, 3, S, S] in [-1, 1] → pictures slightly outside it at most; each draws its own strength."""


def augment(images: Tensor, rng: torch.Generator, keep: float = 0.4) -> Tensor:
    """Augment images [B, 3, S, S] in [-1, 1]; on average a share ``keep`` of them stays bit-identical.

    S is a multiple of 16. The result has the images' dtype and device and is within [-1, 1]; the images are
    not changed. A CPU ``rng`` draws the same on all devices.
    """
    result = images.clone()
    touched = chance(len(images), 1 - keep, rng)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for disturb, share in DISTURBANCES:
            chosen = (touched & chance(len(images), share, rng)).nonzero()[:, 0].to(images.device)
            if len(chosen):
                result[chosen] = disturb(result[chosen], rng).clamp(-1, 1)
    return result


# --- anatomy ------------------------------------------------------------------------------------


def proportions(images: Tensor, rng: torch.Generator) -> Tensor:
    """Resize eyes, nose and mouth, about where alignment puts them; eyes and brows mostly shrink.

    Renders have large eyes. Compared with them a real face, whose brows are near its eyes, seems to frown.
    """
    u, v = grid(images)
    points = torch.stack(torch.broadcast_tensors(u, v), dim=-1).expand(len(images), -1, -1, -1)
    for x, y, reach, least, most in FEATURES:
        shrink = uniform((len(images), 1, 1), least, most, rng, images)
        near = shrink * torch.exp(-((u - x).square() + (v - y).square()) / reach**2)
        points = points + near[..., None] * torch.stack(torch.broadcast_tensors(u - x, v - y), dim=-1)
    return F.grid_sample(images, points, padding_mode="reflection", align_corners=False)


def relief(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shadows of deep-set eyes, cheeks and folds, and fine dark lines anywhere, like strands or wrinkles.

    The lines are the zeros of a smooth pattern, in parts of the picture only.
    """
    each = (len(images), 1, 1, 1)
    u, v = grid(images)
    sockets = [torch.exp(-(((u - x) / 0.2).square() + ((v + 0.1) / 0.15).square())) for x in EYES]
    dark = uniform(each, -0.1, 0.6, rng, images) * torch.stack(sockets, dim=1).sum(dim=1, keepdim=True)
    dark = dark + uniform(each, 0.0, 0.2, rng, images) * clouds(images, rng, 7)[:, :1]
    line = torch.exp(-(clouds(images, rng, 20)[:, :1] / 0.12).square())
    there = clouds(images, rng, 5)[:, :1].clamp(0, 1)
    dark = dark + uniform(each, 0.0, 0.5, rng, images) * line * there
    return signed(unit(images) * torch.exp(-dark))


# --- scene, light, framing, occlusion -----------------------------------------------------------


def backdrop(images: Tensor, rng: torch.Generator) -> Tensor:
    """Another backdrop: where the colour is that of an upper corner, outside the face's ellipse.

    Renders have no mask. Long hair that reaches a corner may vanish with the backdrop, as it may in photos.
    """
    u, v = grid(images)
    side = max(1, images.shape[-1] // 12)
    corners = (images[..., :side, :side], images[..., :side, -side:])
    apart = [(images - corner.mean(dim=(2, 3), keepdim=True)).abs().mean(dim=1) for corner in corners]
    alike = torch.exp(-(torch.minimum(*apart) / 0.16).square())
    outside = ((((u / 0.5).square() + ((v - 0.1) / 0.72).square()).sqrt() - 1) * 8).sigmoid()
    mask = (alike * outside)[:, None]
    return torch.lerp(images, scene(images, rng), mask)


def light(images: Tensor, rng: torch.Generator) -> Tensor:
    """Light that falls off across the picture, up to sixfold, in another colour than its shadow."""
    u, v = grid(images)
    angle = uniform((len(images), 1, 1), 0, 2 * math.pi, rng, images)
    across = (u * angle.cos() + v * angle.sin())[:, None]
    strength = uniform((len(images), 3, 1, 1), -0.12, 0.12, rng, images)
    strength = strength + uniform((len(images), 1, 1, 1), 0.1, 0.65, rng, images)
    return signed(unit(images) * (strength * across).exp())


def vignette(images: Tensor, rng: torch.Generator) -> Tensor:
    """Dark, or as in old prints bleached, towards the corners."""
    u, v = grid(images)
    amount = uniform((len(images), 1, 1, 1), 0.2, 0.8, rng, images)
    far = ((u.square() + v.square()) / 2).clamp(max=1)[:, None] * amount
    paper = (chance(len(images), 0.3, rng).to(images) * 2 - 1)[:, None, None, None]
    return torch.lerp(images, paper.expand_as(images), far)


def frame(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shift by up to 4%, zoom by up to 8%, turn by up to 4°: the errors of landmarks."""
    count = len(images)
    zoom, turn = uniform((count,), 0.92, 1.08, rng, images), uniform((count,), -0.07, 0.07, rng, images)
    shift = uniform((count, 2), -0.08, 0.08, rng, images)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def occlude(images: Tensor, rng: torch.Generator) -> Tensor:
    """A convex object in front of the head, of one uneven colour: a hand, a microphone, a book."""
    count, sides = len(images), 6
    u, v = (each[:, None] for each in grid(images))
    around = torch.arange(sides, device=images.device).view(1, sides, 1, 1) * (2 * math.pi / sides)
    angle = around + uniform((count, sides, 1, 1), -0.5, 0.5, rng, images)  # on all sides, or it is unbounded
    reach = uniform((count, sides, 1, 1), 0.08, 0.45, rng, images)
    place = uniform((count, 2, 1, 1), -0.9, 0.9, rng, images)
    x, y = u - place[:, :1], v - place[:, 1:]
    beyond = (x * angle.cos() + y * angle.sin() - reach).amax(dim=1, keepdim=True)
    sharpness = uniform((count, 1, 1, 1), 15, 120, rng, images)
    thing = paint(images, rng) + 0.25 * clouds(images, rng, 8)
    return torch.lerp(images, thing, (-beyond * sharpness).sigmoid())


# --- an artist's hand ---------------------------------------------------------------------------


def brush(images: Tensor, rng: torch.Generator) -> Tensor:
    """Flat dabs with sharp edges, as of oil: Kuwahara's filter (1976), mean of the calmest of 4 quadrants."""
    size = images.shape[-1]
    reach = int(uniform((), 1.5, 4.5, rng, images)) * max(1, size // 128)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    gray = padded.mean(dim=1, keepdim=True)
    parts = torch.cat([padded, gray, gray.square()], dim=1)
    means = F.avg_pool2d(parts, reach + 1, stride=1)
    quadrants = torch.stack(
        [means[..., y : y + size, x : x + size] for y in (0, reach) for x in (0, reach)], dim=1
    )
    unrest = quadrants[:, :, 4] - quadrants[:, :, 3].square()
    calmest = unrest.argmin(dim=1)[:, None, None].expand(-1, 1, 3, -1, -1)
    return quadrants[:, :, :3].gather(1, calmest)[:, 0]


def posterise(images: Tensor, rng: torch.Generator) -> Tensor:
    """Three to seven levels of each colour, as in prints and comics."""
    steps = uniform((len(images), 1, 1, 1), 2, 6.99, rng, images).floor()
    return signed((unit(images) * steps).round() / steps)


def sketch(images: Tensor, rng: torch.Generator) -> Tensor:
    """Lines on paper with some shading left: a soft threshold of a difference of Gaussians.

    As in Winnemöller et al. 2012, "XDoG". Some drawings keep a little colour.
    """
    count, scale = len(images), images.shape[-1] / 128
    gray = unit(brightness(images))
    wide = torch.full((count,), 1.6 * scale)
    line = gray - 0.97 * convolve(gray, bell(wide, images))
    steepness = uniform((count, 1, 1, 1), 20, 60, rng, images)
    ink = (steepness * (line + 0.06)).sigmoid()
    shading = uniform((count, 1, 1, 1), 0.1, 0.6, rng, images)
    colour = uniform((count, 1, 1, 1), 0.0, 0.5, rng, images)
    tone = torch.lerp(torch.ones_like(images), torch.lerp(gray, unit(images), colour), shading)
    return signed(tone * ink * uniform((count, 3, 1, 1), 0.85, 1.0, rng, images))


def canvas(images: Tensor, rng: torch.Generator) -> Tensor:
    """The weave of a canvas, or the tooth of paper, with uneven colour."""
    count, size = len(images), images.shape[-1]
    u, v = grid(images)
    waves = uniform((count, 2, 1, 1), 0.12, 0.24, rng, images) * math.pi * size
    woven = ((u * waves[:, 0]).sin() * (v * waves[:, 1]).sin())[:, None]
    tooth = clouds(images, rng, size // 2)[:, :1]
    kind = chance(count, 0.5, rng).to(images.device)[:, None, None, None]
    amount = uniform((count, 1, 1, 1), 0.04, 0.16, rng, images)
    uneven = 1 + amount * torch.where(kind, woven, tooth) + 0.05 * clouds(images, rng, 12)
    return signed(unit(images) * uneven)


# --- film, lens and file ------------------------------------------------------------------------


def colour(images: Tensor, rng: torch.Generator) -> Tensor:
    """Exposure, gamma, contrast, white balance and saturation."""
    each = (len(images), 1, 1, 1)
    gamma, contrast, saturation = (
        uniform(each, low, high, rng, images) for low, high in ((-0.45, 0.45), (0.7, 1.3), (0.4, 1.4))
    )
    white = uniform((len(images), 3, 1, 1), -0.12, 0.12, rng, images).exp()
    level = unit(images).clamp(min=1e-3).pow(gamma.exp()) * white
    level = (level - 0.5) * contrast + 0.5 + uniform(each, -0.1, 0.1, rng, images)
    return torch.lerp(brightness(signed(level)).expand_as(images), signed(level), saturation)


def tone(images: Tensor, rng: torch.Generator) -> Tensor:
    """One hue: grey (half of them), sepia, bronze, marble, cyanotype."""
    tint = uniform((len(images), 3, 1, 1), -0.25, 0.25, rng, images).exp()
    plain = chance(len(images), 0.5, rng).to(images.device)[:, None, None, None]
    return signed(unit(brightness(images)) * torch.where(plain, 1.0, tint))


def blur(images: Tensor, rng: torch.Generator) -> Tensor:
    """Out of focus."""
    width = uniform((len(images),), 0.6, 2.0, rng, images) * images.shape[-1] / 128
    return convolve(images, bell(width, images))


def shake(images: Tensor, rng: torch.Generator) -> Tensor:
    """Motion blur along a line: the camera, or the head, moved."""
    scale = images.shape[-1] / 128
    each = (len(images), 1, 1, 1)
    angle, length = uniform(each, 0, math.pi, rng, images), uniform(each, 1, 4, rng, images) * scale
    along = torch.linspace(-1, 1, 9, device=images.device).view(1, 9, 1, 1) * length
    x, y = offsets(math.ceil(4 * scale), images)
    near = (x - along * angle.cos()).square() + (y - along * angle.sin()).square()
    return convolve(images, torch.exp(-near / (0.5 * scale**2)).sum(dim=1))


def small(images: Tensor, rng: torch.Generator) -> Tensor:
    """Low resolution: two to six times fewer pixels a side, enlarged again."""
    size = images.shape[-1]
    fewer = int(size / uniform((), 2, 6, rng, images))
    mode = "bicubic" if uniform((), 0, 1, rng, images) < 0.7 else "nearest"
    return F.interpolate(
        F.interpolate(images, size=(fewer, fewer), mode="area"), size=(size, size), mode=mode
    )


def noise(images: Tensor, rng: torch.Generator) -> Tensor:
    """Sensor noise in each colour, or film grain in all alike; coarse in a third of the pictures."""
    each = (len(images), 1, 1, 1)
    fine = normal(tuple(images.shape), rng, images)
    half = normal((*images.shape[:2], *(side // 2 for side in images.shape[2:])), rng, images)
    coarse = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
    grain = torch.where(chance(each[0], 0.33, rng).to(images.device).view(each), coarse, fine)
    alike = uniform(each, 0, 1, rng, images)
    grain = torch.lerp(grain, grain[:, :1].expand_as(grain), alike)
    return images + uniform(each, 0.01, 0.14, rng, images) * grain


def jpeg(images: Tensor, rng: torch.Generator) -> Tensor:
    """JPEG artefacts at quality 8 to 70: cosine transforms of 8×8 blocks, quantised; chroma at half size.

    The tables of ITU-T T.81, annex K, scaled as libjpeg does. S must be a multiple of 16.
    """
    if images.shape[-1] % 16:
        raise ValueError(f"JPEG's colour blocks need a multiple of 16 pixels, not {images.shape[-1]}")
    to_ycc = images.new_tensor(_YCC)
    quality = uniform((len(images), 1, 1, 1, 1, 1), 8, 70, rng, images)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    ycc = torch.einsum("ck,nkhw->nchw", to_ycc, images * 127.5)
    bright = _quantised(ycc[:, :1], scale, images.new_tensor(_LUMINANCE))
    faint = _quantised(F.avg_pool2d(ycc[:, 1:], 2), scale, images.new_tensor(_CHROMINANCE))
    faint = F.interpolate(faint, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.einsum("ck,nkhw->nchw", torch.linalg.inv(to_ycc), torch.cat([bright, faint], dim=1)) / 127.5


EYES = (-0.24, 0.24)
FEATURES = (
    *((x, -0.1, 0.26, -0.1, 0.55) for x in EYES),
    (0.0, 0.2, 0.2, -0.3, 0.25),
    (0.0, 0.48, 0.28, -0.25, 0.25),
)
"""Right and down (a side is -1 to 1), reach, and the least and largest share by which they shrink."""

DISTURBANCES: tuple[tuple[Disturb, float], ...] = (
    (proportions, 0.5),
    (relief, 0.4),
    (backdrop, 0.4),
    (light, 0.4),
    (vignette, 0.1),
    (frame, 0.8),
    (occlude, 0.12),
    (brush, 0.1),
    (posterise, 0.04),
    (sketch, 0.05),
    (canvas, 0.1),
    (colour, 0.8),
    (tone, 0.14),
    (blur, 0.2),
    (shake, 0.06),
    (small, 0.15),
    (noise, 0.35),
    (jpeg, 0.3),
)
"""In order, each with the share of the disturbed pictures that it applies to."""

_YCC = (BRIGHTNESS, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99 for _ in range(32)),
)


def _quantised(planes: Tensor, scale: Tensor, table: Tensor) -> Tensor:
    """Planes [N, C, H, W] in ±128 through JPEG's quantisation; scale [N, 1, 1, 1, 1, 1], table [64]."""
    count, channels, height, width = planes.shape
    wave = torch.arange(8.0, device=planes.device)
    cosines = ((2 * wave + 1) * wave[:, None] * math.pi / 16).cos() / 2
    cosines[0] /= math.sqrt(2)
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = (table.view(8, 8) * scale).clamp(1, 255).round()
    rounded = (cosines @ blocks @ cosines.T / steps).round() * steps
    return (cosines.T @ rounded @ cosines).transpose(3, 4).reshape_as(planes)
