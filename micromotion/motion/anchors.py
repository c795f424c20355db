"""Anchors: latents of one identity at growing degrees of one micromotion, and their files."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from micromotion.errors import MotionError
from micromotion.motion.files import Provenance, plain_provenance, read_motion_file, write_motion_file

KIND = "anchors"
MAX_ANCHORS = 128  # a few seconds of robust PCA at 18 × 512


@dataclass(frozen=True, eq=False)
class Anchors:
    """Latents of one identity at growing degrees of one micromotion.

    Attributes:
        w_plus: [n, styles, dim], 2 ≤ n ≤ 128; stored as float32 on the CPU.
        degrees: [n], strictly increasing, in units of the motion (0 neutral … 1 full); stored likewise.
        provenance: the anchors' origin, for reports; maps names to strings or finite numbers.

    Raises:
        MotionError: a wrong shape, degrees that do not increase, or NaN or infinity.
    """

    w_plus: Tensor
    degrees: Tensor
    provenance: Provenance = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_shapes(list(self.w_plus.shape), list(self.degrees.shape))
        for name in ("w_plus", "degrees"):
            values = getattr(self, name).detach().to("cpu", torch.float32).contiguous()
            if not bool(torch.isfinite(values).all()):
                raise MotionError(f"Anchors must be finite, but {name} contains NaN or infinity.")
            object.__setattr__(self, name, values)
        if not bool((self.degrees.diff() > 0).all()):
            raise MotionError("The degrees of the anchors must increase from each anchor to the next.")
        object.__setattr__(self, "provenance", plain_provenance(self.provenance))

    def calibrated(self) -> "Anchors":
        """The same anchors with degrees divided by the last one, so that strength 1 is the last anchor.

        Raises MotionError if the last degree is not above 0.
        """
        last = float(self.degrees[-1])
        if last <= 0:
            raise MotionError(
                f"The degree of the last anchor, which becomes strength 1, must be above 0, but is {last:g}."
            )
        return Anchors(self.w_plus, self.degrees / last, self.provenance)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file for `load`, atomically; equal anchors give equal bytes.

        Raises OutputError if the file cannot be written.
        """
        write_motion_file(path, KIND, {"w_plus": self.w_plus, "degrees": self.degrees}, self.provenance)

    @classmethod
    def load(cls, path: str | Path) -> "Anchors":
        """Read a file of `save`. Nothing in it is executed, and its size is checked before it is read.

        Raises MotionError if the file is missing, damaged or of another kind.
        """
        tensors, provenance = read_motion_file(path, KIND, {"w_plus", "degrees"})
        try:
            return cls(tensors["w_plus"], tensors["degrees"], provenance)
        except MotionError as error:
            raise MotionError(f"The anchors in {path} cannot be used: {error}") from error


def _require_shapes(w_plus: list[int], degrees: list[int]) -> None:
    if len(w_plus) != 3 or len(degrees) != 1 or w_plus[0] != degrees[0] or 0 in w_plus[1:]:
        raise MotionError(
            f"Anchors need w_plus [n, styles, dim] and degrees [n], but these are {w_plus} and {degrees}."
        )
    if not 2 <= w_plus[0] <= MAX_ANCHORS:
        raise MotionError(f"A micromotion needs 2 to {MAX_ANCHORS} anchors, but these are {w_plus[0]}.")
