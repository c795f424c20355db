"""A micromotion's analysis for people: its rank, noise and straightness, and a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from micromotion.credentials.claim import Claim
from micromotion.learn.text import sample_identity
from micromotion.motion import directions
from micromotion.motion.anchor_analysis import FEWEST_FOR_STRAYS, Analysis, analyse
from micromotion.motion.anchors import KIND, Anchors
from micromotion.motion.files import motion_file_kind
from micromotion.motion.library import load_fitting
from micromotion.motion.playable import Motion, PathKind
from micromotion.runtime.device_memory import deterministic, translate_oom
from micromotion.types import Frame
from micromotion.video.contact_sheet import contact_sheet, evenly_spaced
from micromotion.video.pixels import to_uint8

if TYPE_CHECKING:
    from micromotion.weights.bundle import Bundle

COLUMNS = 7
STRENGTHS = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
FACES = (1, 2, 3, 4)
"""Seeds of faces; a motion is shown on the first three it was not learned from."""
_BAR = 24  # characters of the longest bar
_SHOWN = 10  # singular values


@dataclass(frozen=True, eq=False)
class Inspection:
    """A micromotion and the analysis of its anchors; anchors and found are None for a ready direction."""

    path: Path
    motion: Motion
    anchors: Anchors | None
    found: Analysis | None


def inspect_motion(path: Path, bundle: Bundle, kind: PathKind | None = None) -> Inspection:
    """Read a micromotion's file and analyse its anchors. Raises MotionError as `load_fitting` does."""
    motion = load_fitting(path, bundle, kind)
    if directions.is_published(path) or motion_file_kind(path) != KIND:
        return Inspection(path, motion, None, None)
    anchors = Anchors.load(path)
    return Inspection(path, motion, anchors, analyse(anchors, motion.name))


# --- the table ----------------------------------------------------------------------------------------------


def report(inspection: Inspection, resolution: int) -> RenderableType:
    """Everything known about a micromotion, as terminal tables; resolution: the model's, in pixels."""
    summary = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    summary.add_column(style="bold", no_wrap=True)
    summary.add_column(overflow="fold")
    for label, text in _summary(inspection):
        summary.add_row(label, Text(text))
    for name, value in sorted(inspection.motion.provenance.items()):
        summary.add_row(f"  {_plain(name, 40)}", Text(_plain(value)))
    if inspection.found is None:
        return summary
    return Group(summary, Text(), _layers(inspection.found, resolution))


def _summary(inspection: Inspection) -> Iterable[tuple[str, str]]:
    motion, anchors, found = inspection.motion, inspection.anchors, inspection.found
    yield "micromotion", motion.name
    yield "file", str(inspection.path)
    if anchors is None or found is None:
        yield "anchors", "none: a ready direction, played along a straight line"
    else:
        first, last = float(anchors.degrees[0]), float(anchors.degrees[-1])
        yield "anchors", f"{len(anchors.degrees)}, from degree {first:g} to {last:g}"
        yield "strays", _strays(anchors, found)
        yield "rank", f"{found.subspace.coordinates.shape[1]}, out of {len(found.subspace.singular_values)}"
        yield "singular values", _singular_values(found)
        yield (
            "sparse noise",
            (
                f"{_percent(_overall(found.noise, found))} of the movement; "
                f"gross errors, which are taken out: {_percent(_overall(found.gross, found))}"
            ),
        )
        yield (
            "straightness",
            f"a line explains {_percent(found.straightness)} of the movement; {_played(motion)}",
        )
    yield "calibration", _calibration(motion, anchors)
    yield "provenance", "" if motion.provenance else "the file says nothing"


def _strays(anchors: Anchors, found: Analysis) -> str:
    """The degrees of the anchors that are wrong as a whole."""
    count = len(anchors.degrees)
    if count < FEWEST_FOR_STRAYS:
        return f"not looked for: it takes {FEWEST_FOR_STRAYS} anchors to tell one that is wrong as a whole"
    if not found.strays:
        return "none: no anchor is wrong as a whole"
    degrees = ", ".join(f"{float(anchors.degrees[number]):.3g}" for number in found.strays)
    word = "degree" if len(found.strays) == 1 else "degrees"
    return f"{len(found.strays)} of {count}, wrong as a whole and left out: {word} {degrees}"


def _singular_values(found: Analysis) -> str:
    """The singular values of the motion, and after a bar those of the noise."""
    values, rank = found.subspace.singular_values.tolist(), found.subspace.coordinates.shape[1]
    signal = ", ".join(f"{value:.3g}" for value in values[:rank])
    noise = ", ".join(f"{value:.3g}" for value in values[rank:_SHOWN])
    more = " …" if len(values) > _SHOWN else ""
    return f"{signal or 'none'} | noise, below {found.subspace.threshold:.3g}: {noise or 'none'}{more}"


def _played(motion: Motion) -> str:
    return "played along a straight line" if motion.curve is None else "played along a curve"


def _calibration(motion: Motion, anchors: Anchors | None) -> str:
    """What strength 1 is, and how far it moves a latent."""
    size = float(motion.offset(1.0).norm())
    moved = f"moves a face's latent by {size:.3g}; positive is more"
    if anchors is None:
        return f"strength 1 is the direction itself, {moved}"
    last = float(anchors.degrees[-1])
    if abs(last - 1) < 1e-6:
        return f"strength 1 is the last anchor, {moved}"
    where = "beyond" if last < 1 else "before"
    return f"strength 1 is degree 1, {where} the last anchor (degree {last:.3g}), {moved}"


def _layers(found: Analysis, resolution: int) -> Table:
    """A row per style: the resolution it shapes, its share of the displacement, its rank after robust PCA,
    its noise."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("layer", "pixels", "movement", "RPCA rank", "sparse noise", "gross errors"):
        table.add_column(title, justify="right")
    table.add_column("")
    moved = _movement(found)
    share = moved / moved.sum().clamp(min=torch.finfo(moved.dtype).tiny)
    for layer, (rank, noise, gross) in enumerate(zip(found.rank, found.noise, found.gross, strict=True)):
        pixels = min(resolution, 4 * 2 ** ((layer + 1) // 2))
        cells = (f"{pixels}²", _percent(float(share[layer])), str(rank), _percent(noise), _percent(gross))
        table.add_row(str(layer), *cells, "█" * round(_BAR * min(1.0, noise)))
    return table


def _movement(found: Analysis) -> Tensor:
    """‖D‖² of each style, [styles]: how much its anchors differ."""
    return (found.cleaned - found.cleaned.mean(0)).square().sum((0, 2))


def _overall(shares: tuple[float, ...], found: Analysis) -> float:
    """The layers' shares as one figure, weighted by displacement."""
    moved = _movement(found)
    total = float(moved.sum())
    return (
        float((torch.tensor(shares, dtype=moved.dtype).square() * moved).sum() / total) ** 0.5
        if total
        else 0.0
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _signed(share: float) -> str:
    return f"{round(100 * share)}%"  # the sheet's font has a hyphen, but no minus sign


def _plain(value: object, length: int = 300) -> str:
    """A text from a file made safe for a terminal: one line, printable, of limited length."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:length])


# --- the picture --------------------------------------------------------------------------------------------


def picture(inspection: Inspection, bundle: Bundle) -> Image.Image:
    """Anchors as collected and as low-rank, then the motion on three other faces, a row each.

    Raises DeviceMemoryError if the GPU's memory is too small.
    """
    latents: list[Tensor] = []
    labels: list[str] = []
    columns = COLUMNS
    if inspection.anchors is not None and inspection.found is not None:
        rows, words = _anchor_rows(inspection.anchors, inspection.found)
        columns = len(words) // 2
        latents, labels = [*rows], words
    strengths = STRENGTHS if columns == COLUMNS else [STRENGTHS[i] for i in _around(columns)]
    for seed in _faces(inspection.motion):
        face = sample_identity(bundle.generator, seed).cpu()
        latents += [face + inspection.motion.offset(strength) for strength in strengths]
        labels += [f"face {seed}, {_signed(strength)}" for strength in strengths]
    return contact_sheet(render(latents, bundle), labels=labels, columns=len(strengths), tile=192)


def claim(inspection: Inspection, bundle: Bundle) -> Claim:
    """What the picture's content credentials say."""
    strengths = np.array(STRENGTHS)[:, None]
    return Claim.of(bundle.name, [inspection.motion.name], strengths, shows_photo=False)


def anchor_sheet(anchors: Anchors, bundle: Bundle) -> Image.Image:
    """The preview of a collection: a picture per anchor, labelled with its degree."""
    labels = [_signed(float(degree)) for degree in anchors.degrees]
    return contact_sheet(render(anchors.w_plus, bundle), labels=labels)


def render(latents: Iterable[Tensor], bundle: Bundle) -> list[Frame]:
    """The pictures of latents [styles, dim], one by one, uint8 [R, R, 3]."""
    generator, device = bundle.generator.to(bundle.device), bundle.device
    with torch.inference_mode(), deterministic(), translate_oom("rendering the anchors", device):
        return [to_uint8(generator.synthesize(latent[None].float().to(device)))[0] for latent in latents]


def _anchor_rows(anchors: Anchors, found: Analysis) -> tuple[list[Tensor], list[str]]:
    """Up to seven anchors as collected, and projected onto the subspace, with their labels."""
    chosen = _chosen(len(anchors.degrees), found.strays)
    identity = anchors.w_plus.double() - found.cleaned
    middle = identity.median(0).values  # each entry's median over the anchors, without gross errors
    subspace = found.subspace
    low_rank = subspace.centre + subspace.coordinates @ subspace.basis
    after = middle + low_rank.unflatten(1, middle.shape)
    rank = subspace.coordinates.shape[1]
    degrees = [_signed(float(anchors.degrees[i])) for i in chosen]
    collected = ["stray" if i in found.strays else "collected" for i in chosen]
    labels = [f"{degree} {what}" for degree, what in zip(degrees, collected, strict=True)]
    labels += [f"{degree} rank {rank}" for degree in degrees]
    return [*anchors.w_plus[chosen], *after[chosen]], labels


def _chosen(count: int, strays: tuple[int, ...]) -> list[int]:
    """The indices of up to seven anchors: up to three strays, to show them, the others evenly spaced."""
    strays = strays[: COLUMNS // 2]
    others = [number for number in range(count) if number not in strays]
    return sorted([*strays, *(others[i] for i in evenly_spaced(len(others), COLUMNS - len(strays)))])


def _faces(motion: Motion) -> list[int]:
    """The seeds of three faces other than the motion's own; only motions from text have a seed."""
    return [seed for seed in FACES if seed != motion.provenance.get("seed")][:3]


def _around(count: int) -> list[int]:
    """The indices of strengths for fewer columns: full and none first, then between and beyond."""
    order = [5, 1, 3, 0, 6, 2, 4]
    return sorted(order[:count])
