"""Pictures that show faces: each function takes an animator and returns one RGB picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from micromotion import Animator
from micromotion import align as align_face
from micromotion.face.crop import crop_quad
from micromotion.inspection import render
from micromotion.inversion.pivotal_tuning import tuned
from micromotion.inversion.refinement import refine
from micromotion.learn.text import sample_identity
from micromotion.motion.anchors import Anchors
from micromotion.photo.paste import Paste
from micromotion.types import Frame
from micromotion.video.contact_sheet import contact_sheet, evenly_spaced
from micromotion.video.pixels import to_uint8

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
TILE = 190
RED, BLUE, YELLOW = (214, 62, 48), (40, 120, 180), (244, 200, 70)
FINER = 3


def align(animator: Animator) -> Image.Image:
    """A photo and a painting with the detector's box, landmarks and FFHQ's square; next to them the crops."""
    shown, labels = [], []
    for name in ("grace-hopper", "mona-lisa"):
        with Image.open(FACES / f"{name}.jpg") as file:
            photo = file.convert("RGB")
        face = align_face(photo, 256)
        assert face.landmarks is not None
        shown += [_marked(photo, face.quad, face.box, face.landmarks, 256), np.asarray(face.image)]
        labels += ["found: box, landmarks, square", "the crop, 256 by 256"]
    return contact_sheet(shown, labels=labels, columns=4, tile=256)


def _marked(
    photo: Image.Image, quad: np.ndarray, box: Sequence[int], landmarks: np.ndarray, size: int
) -> Frame:
    """A square of the photo, size × size, around box, quad and landmarks, with these drawn."""
    centre, half = quad.mean(axis=0), 1.22 * np.abs(quad - quad.mean(axis=0)).max()
    side = FINER * size
    scale = side / (2 * half)
    corners = np.array([[-half, -half], [-half, half], [half, half], [half, -half]]) + centre
    large = crop_quad(photo, corners, min(side, 1024)).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(large)

    def place(points: np.ndarray) -> list[tuple[float, float]]:
        return [tuple(point) for point in (points - centre + half) * scale]

    outline = place(quad)
    draw.line([*outline, outline[0]], RED, 2 * FINER, joint="curve")
    draw.rectangle(place(np.array(box).reshape(2, 2)), outline=YELLOW, width=FINER)
    for x, y in place(landmarks):
        radius = 1.6 * FINER
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), BLUE, (255, 255, 255))
    return np.asarray(large.resize((size, size), Image.Resampling.LANCZOS))


def invert(animator: Animator) -> Image.Image:
    """Crops above, the generator's pictures of their latents below."""
    names = (
        "eileen-collins",
        "grace-hopper",
        "geronimo",
        "mona-lisa",
        "young-woman-in-mauve",
        "jakob-fugger",
    )
    crops = [_crop(name, animator) for name in names]
    latents = [animator.encode(FACES / f"{name}.jpg")[0] for name in names]
    labels = [name.replace("-", " ") for name in names] + ["its inversion"] * len(names)
    frames = [*crops, *render(latents, animator.bundle)]
    return contact_sheet(frames, labels=labels, columns=len(names), tile=TILE)


def styles(animator: Animator) -> Image.Image:
    """One face with the coarse, the middle or the fine styles of another: the roles of W+'s layers."""
    first, second = (sample_identity(animator.bundle.generator, seed, 0.9).cpu() for seed in (2, 9))
    count = len(first)
    parts = {"coarse": range(4), "middle": range(4, 8), "fine": range(8, count)}
    latents, labels = [first], ["face A"]
    for name, layers in parts.items():
        mixed = first.clone()
        mixed[list(layers)] = second[list(layers)]
        latents.append(mixed)
        labels.append(f"{name} ({layers.start} to {layers.stop - 1}) of B")
    frames = render([*latents, second], animator.bundle)
    return contact_sheet(frames, labels=[*labels, "face B"], columns=len(frames), tile=TILE)


def anchors(animator: Animator) -> Image.Image:
    """Anchors of two motions, as they were collected."""
    frames, labels = [], []
    for name in list(animator.bundle.motions)[:1] + list(animator.bundle.motions)[-1:]:
        found = Anchors.load(animator.bundle.motions[name])
        chosen = evenly_spaced(len(found.degrees), 6)
        frames += render(found.w_plus[chosen], animator.bundle)
        labels += [f"{name}, degree {found.degrees[i]:.2f}" for i in chosen]
    return contact_sheet(frames, labels=labels, columns=6, tile=TILE)


def strengths(animator: Animator) -> Image.Image:
    """One face at strengths from −1 to 2 of two motions."""
    shown = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    latent = animator.encode(FACES.parent / "face.jpg")
    frames, labels = [], []
    for motion in ("smile", "headsTurn"):
        direction = _offsets(animator, motion, shown)
        frames += render([latent[0].cpu() + offset for offset in direction], animator.bundle)
        labels += [f"{motion} {strength:g}" for strength in shown]
    return contact_sheet(frames, labels=labels, columns=len(shown), tile=TILE)


def synthesis(animator: Animator) -> Image.Image:
    """The running sum of RGB images after each resolution."""
    generator = animator.bundle.generator
    latent = animator.encode(FACES.parent / "face.jpg")
    frames, labels = [], []
    with torch.inference_mode():
        for resolution in generator.config.resolutions:
            picture = to_uint8(generator.synthesize(latent, resolution=resolution))[0]
            frames.append(np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.NEAREST)))
            labels.append(f"{resolution} by {resolution}")
    return contact_sheet(frames, labels=labels, columns=len(frames), tile=TILE)


def likeness(animator: Animator) -> Image.Image:
    """The result of each way to approach a photo, and a smile on it."""
    generator = animator.bundle.generator
    frames, labels = [], []
    for name in ("grace-hopper", "mona-lisa"):
        crop = _crop(name, animator)
        picture = torch.tensor(crop).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.inference_mode():
            latent = animator.encode(FACES / f"{name}.jpg")
        refined = refine(generator, latent, picture, 30, identity=animator.identity)
        locked = tuned(generator, latent, picture, identity=animator.identity)
        smile = _offsets(animator, "smile", (1.0,))[0].to(latent.device)
        frames.append(crop)
        with torch.inference_mode():
            for where, network in ((latent, generator), (refined, generator), (latent, locked)):
                frames += [to_uint8(network.synthesize(where + move))[0] for move in (0 * smile, smile)]
        labels += ["photo", "inversion", "smile", "refine 30", "smile", "lock identity", "smile"]
    return contact_sheet(frames, labels=labels, columns=7, tile=TILE)


def whole_photo(animator: Animator) -> Image.Image:
    """The steps that put a frame back into its photo, as squares around the face."""
    with Image.open(FACES / "mona-lisa.jpg") as file:
        photo = file.convert("RGB")
    face, latent = align_face(photo, 256), animator.encode(photo)
    moves = _offsets(animator, "smile", (0.0, 1.0))
    still, frame = render([latent[0].cpu() + move for move in moves], animator.bundle)
    paste = Paste(photo, face, still)
    before, result = np.asarray(photo, np.float32), paste(frame)
    mask = 0.5 * paste.mask.astype(np.float32)[..., None] / 255
    masked = before * (1 - mask) + mask * np.array(RED, np.float32)
    change = 255 - 4 * np.abs(result - before).mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    shown = {
        "the picture": before,
        "where it may change": masked,
        "the model, at rest": still,
        "the model, smiling": frame,
        "the picture, smiling": result,
        "what changed, 4 times": change,
    }
    frames = [_around(each, face.quad) if each.shape == before.shape else each for each in shown.values()]
    frames = [
        np.asarray(Image.fromarray(each).resize((TILE, TILE), Image.Resampling.LANCZOS)) for each in frames
    ]
    return contact_sheet(frames, labels=list(shown), columns=6, tile=TILE)


def _around(picture: np.ndarray, quad: np.ndarray) -> Frame:
    """The part of a photo that shows a face and some of its surroundings, uint8."""
    centre, half = quad.mean(axis=0), 1.35 * np.abs(quad - quad.mean(axis=0)).max()
    half = min(half, *centre, *(np.array(picture.shape[1::-1]) - centre))
    left, top, right, bottom = (int(edge) for edge in (*(centre - half), *(centre + half)))
    return picture[top:bottom, left:right].clip(0, 255).round().astype(np.uint8)


def _crop(name: str, animator: Animator) -> Frame:
    """The crop of one of the faces in docs/faces, at the size of the model's pictures."""
    size = min(animator.bundle.generator.resolution, 1024)
    return np.asarray(align_face(FACES / f"{name}.jpg", size).image)


def _offsets(animator: Animator, motion: str, strengths: Sequence[float]) -> list[Tensor]:
    """A motion's offsets to a latent at these strengths, each [styles, dim]."""
    from micromotion.motion.playable import load_motion

    learned = load_motion(animator.bundle.motions[motion])
    return [learned.offset(strength) for strength in strengths]
