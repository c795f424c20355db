"""Micromotions: the anchors they are learned from, and the direction in W+ that plays them on any face."""

import json
import math
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from micromotion.errors import MotionError, OutputError
from micromotion.lowrank import robust_pca
from micromotion.options import check_play

FORMAT = "micromotion/1"
KIND = "anchors"
MAX_ANCHORS = 128  # a few seconds of robust PCA at 18 × 512
MAX_BYTES = 32 << 20

_MAX_PAIRS = 512
_RANK_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Anchors:
    """Latent codes of one identity at growing degrees of one micromotion.

    Attributes:
        w_plus: [n, styles, dim], 2 ≤ n ≤ 128; kept as float32 on the CPU.
        degrees: [n], strictly increasing, in units of the motion (0 neutral … 1 full); kept likewise.
        provenance: where the anchors come from, for people and reports; names to strings or finite numbers.

    Raises:
        MotionError: any of this does not hold, or a number is NaN or infinite.
    """

    w_plus: Tensor
    degrees: Tensor
    provenance: dict[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_shapes(list(self.w_plus.shape), list(self.degrees.shape))
        for name in ("w_plus", "degrees"):
            values = getattr(self, name).detach().to("cpu", torch.float32).contiguous()
            if not bool(torch.isfinite(values).all()):
                raise MotionError(f"Anchors must be finite numbers, but {name} holds NaN or infinity.")
            object.__setattr__(self, name, values)
        if not bool((self.degrees.diff() > 0).all()):
            raise MotionError("The degrees of the anchors must increase from each anchor to the next.")
        object.__setattr__(self, "provenance", _plain_provenance(self.provenance))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file that `load` reads, complete or not at all; equal anchors give equal bytes.

        Raises OutputError where the file cannot be written.
        """
        path = Path(path)
        metadata = {"format": FORMAT, "kind": KIND, "provenance": json.dumps(self.provenance, sort_keys=True)}
        tensors = {"w_plus": self.w_plus, "degrees": self.degrees}
        blob = _sort_header(safetensors.torch.save(tensors, metadata))
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            temporary.write_bytes(blob)
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"The anchors cannot be written to {path}: {error.strerror}.") from error
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Anchors":
        """Read a file of `save`. Nothing in it is executed, and its sizes are checked before they are read.

        Raises MotionError, in one sentence, for whatever is wrong with the file.
        """
        path = Path(path)
        _require_plausible_file(path)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT or metadata.get("kind") != KIND:
                    raise MotionError(f'it does not say that it is "{FORMAT}" of the kind "{KIND}".')
                if set(file.keys()) != {"w_plus", "degrees"}:
                    raise MotionError("it must hold w_plus and degrees, and nothing else.")
                slices = {name: file.get_slice(name) for name in ("w_plus", "degrees")}
                if any(part.get_dtype() != "F32" for part in slices.values()):
                    raise MotionError("w_plus and degrees must be float32.")
                _require_shapes(slices["w_plus"].get_shape(), slices["degrees"].get_shape())
                w_plus, degrees = file.get_tensor("w_plus").clone(), file.get_tensor("degrees").clone()
            return cls(w_plus, degrees, _read_provenance(metadata.get("provenance", "{}")))
        except MotionError as error:
            raise MotionError(f"The anchors in {path} cannot be used: {error}") from error
        except (SafetensorError, OSError) as error:
            raise MotionError(
                f"{path} cannot be read as a file of anchors; it is damaged, cut short, or something else."
            ) from error


@dataclass(frozen=True, eq=False)
class Motion:
    """A direction in W+ that plays a micromotion on any face of the same generator.

    Attributes:
        name: what people call it.
        direction: float32 [styles, dim]; added to a face's code, the recipe's full motion (degree 0 → 1).
        rank: per style, the rank of what robust PCA kept of the anchors.
        noise: per style, ‖S‖_F/‖D‖_F: how much of the anchors' change robust PCA took for sparse noise.
    """

    name: str
    direction: Tensor
    rank: tuple[int, ...] = ()
    noise: tuple[float, ...] = ()

    @classmethod
    def from_anchors(cls, anchors: Anchors, name: str) -> "Motion":
        """Learn the direction from anchors: robust PCA per style, then the line through what is left.

        *Centred.* Robust PCA looks at what changes from anchor to anchor. Uncentred, the identity is far
        larger than the motion, and a weak motion is absorbed. The centre is each entry's median over the
        anchors, not the mean: one gross error moves the mean, and so reaches every anchor.

        *A fitted line.* The original takes the last anchor less the first. Here every low-rank anchor counts:
        the least-squares slope over the degrees has a third less noise for eleven anchors, needs no anchor to
        lie at exactly 0 or 1, and is the change per unit of degree, so strength 1 is the full motion.

        *Steady change is not noise.* With few anchors, principal component pursuit caps the entries of the
        direction at about 0.9·√n (2.9 for eleven anchors) times their root mean square and puts the rest into
        S, where it grows with the degree. That part is given back as the median of S's slopes between pairs
        of anchors (Theil 1950, Sen 1968), which is blind to errors in single anchors. A clean straight line
        comes back to within 0.1% at even degrees, and to within a few per cent at very uneven ones.

        Raises MotionError if the anchors are so far apart that the direction is no finite float32.
        """
        centred = anchors.w_plus.double().transpose(0, 1)  # [styles, n, dim]
        centred = centred - _median(centred, dim=1).unsqueeze(1)
        degrees = anchors.degrees.double()
        low_rank, sparse = robust_pca(centred)
        direction = (_least_squares_slope(low_rank, degrees) + _median_slope(sparse, degrees)).float()
        if not bool(torch.isfinite(direction).all()):
            raise MotionError(f"The anchors of the micromotion {name!r} give no finite direction.")
        size = torch.linalg.matrix_norm(centred)
        noise = torch.linalg.matrix_norm(sparse) / torch.where(size > 0, size, 1.0)
        rank = torch.linalg.matrix_rank(low_rank, rtol=_RANK_TOLERANCE)
        return cls(name, direction, tuple(rank.tolist()), tuple(noise.tolist()))

    def offset(self, strength: float) -> Tensor:
        """What to add to a face's W+ code, float32 [styles, dim]; 1 is full, negative the opposite."""
        return strength * self.direction

    def path(self, strength: float = 1.0, frames: int = 90) -> Iterator[Tensor]:
        """The offsets [styles, dim] of a clip's frames, one by one: from 0 to `strength` in equal steps.

        A single frame shows the full strength. Raises OptionError at once where either is outside its limits.
        """
        check_play(strength=strength, frames=frames)
        last = frames - 1
        return (self.offset(strength * (i / last if last else 1.0)) for i in range(frames))


def load_motion(path: str | Path) -> Motion:
    """Read a file of anchors and learn its direction; the motion's name is the file's. Raises MotionError."""
    path = Path(path)
    return Motion.from_anchors(Anchors.load(path), path.stem)


# --- directions --------------------------------------------------------------------------------


def _median(values: Tensor, dim: int) -> Tensor:
    """The median; of an even count the mean of the middle two, so negating the data negates it exactly."""
    return (values.median(dim).values - (-values).median(dim).values) / 2


def _least_squares_slope(values: Tensor, degrees: Tensor) -> Tensor:
    """[styles, n, dim], [n] -> [styles, dim], change per unit of degree."""
    spread = degrees - degrees.mean()
    return torch.einsum("n,snd->sd", spread / spread.square().sum(), values)


def _median_slope(values: Tensor, degrees: Tensor) -> Tensor:
    """[styles, n, dim], [n] -> [styles, dim], over all pairs of anchors, or every k-th if they are many."""
    first, second = torch.triu_indices(len(degrees), len(degrees), offset=1)
    every = math.ceil(len(first) / _MAX_PAIRS)
    first, second = first[::every], second[::every]
    rise = values[:, second] - values[:, first]
    return _median(rise / (degrees[second] - degrees[first])[:, None], dim=1)


# --- files -------------------------------------------------------------------------------------


def _require_shapes(w_plus: list[int], degrees: list[int]) -> None:
    if len(w_plus) != 3 or len(degrees) != 1 or w_plus[0] != degrees[0] or 0 in w_plus[1:]:
        raise MotionError(
            f"Anchors need w_plus [n, styles, dim] and degrees [n], but these are {w_plus} and {degrees}."
        )
    if not 2 <= w_plus[0] <= MAX_ANCHORS:
        raise MotionError(f"A micromotion needs 2 to {MAX_ANCHORS} anchors, but these are {w_plus[0]}.")


def _plain_provenance(provenance: object) -> dict[str, str | int | float]:
    plain = isinstance(provenance, dict) and all(
        isinstance(key, str)
        and (isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)))
        for key, value in provenance.items()
    )
    if not plain:
        raise MotionError("The provenance must map names to strings or finite numbers.")
    return dict(provenance)  # type: ignore[call-overload]


def _read_provenance(text: str) -> dict[str, str | int | float]:
    try:
        return _plain_provenance(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise MotionError("its provenance is not readable JSON.") from error


def _require_plausible_file(path: Path) -> None:
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise MotionError(f"There is no file of anchors {path}, or it is out of reach.") from error
    if not stat.S_ISREG(about.st_mode):
        raise MotionError(f"{path} is not a file of anchors but a folder or a device.")
    if about.st_size > MAX_BYTES:
        raise MotionError(f"{path} is larger than {MAX_BYTES >> 20} MB, which no file of anchors is.")


def _sort_header(blob: bytes) -> bytes:
    """The same safetensors file, its header sorted by name; the library writes metadata in any order."""
    size = int.from_bytes(blob[:8], "little")
    header = json.dumps(json.loads(blob[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + blob[8 + size :]
