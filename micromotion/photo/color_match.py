"""Match a frame's colours to the photo, and transfer changes of light.

Pictures are [1, C, N, N], float32 in 0…1.
"""

import numpy as np
import torch
from torch import Tensor

from micromotion.photo.displacement import blurred

_CONTRAST = 0.5, 1.25  # lower and upper bound on the contrast gain
_CHROMA = 1.25  # upper bound on the chroma gain
_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])  # BT.601
_NOISE = 0.01  # of 0…1: colours that vary less are not stretched
_DARK = 0.1  # of 0…1: added to both, so that the ratio of two blacks is 1
_CAST = 0.35  # fraction of a face's colour that is due to the light
_MOST = 1.3  # upper bound on how much skin lightens or, inverted, darkens


class Tint:
    """The map of colours that gives the still face the photo's brightness, contrast and hue.

    Chroma is rotated and scaled as a complex number (Cb + i·Cr), so that gray stays gray: teeth and eyes do
    not take on the other skin's colour. In a gray photo everything becomes gray.
    """

    def __init__(self, still: Tensor, photo: Tensor, face: Tensor) -> None:
        """All [1, C, SIDE, SIDE]; face: coverage of each cell by the face, 0…1."""
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
        """Map colours [1, 3, H, W]."""
        return torch.einsum("ij,bjhw->bihw", self._gain, picture) + self._shift[:, None, None]


def brightness(picture: Tensor) -> Tensor:
    """[1, 3, H, W] -> [1, 1, H, W], BT.601's luma."""
    return torch.einsum("j,bjhw->bhw", torch.from_numpy(_YCC[0]).float(), picture)[:, None]


def brightest(picture: Tensor, face: Tensor) -> float:
    """The 95th percentile of a face's brightness; face: its coverage of each cell, [1, 1, H, W]."""
    return float(brightness(picture)[face > 0.5].quantile(0.95))


def cast(picture: Tensor, face: Tensor) -> Tensor:
    """The factor that puts a white object in this face's light, [1, 3, 1, 1]; gray in a gray photo."""
    mean = ((picture * face).sum(dim=(2, 3)) / face.sum())[..., None, None].clamp(min=_DARK)
    return (mean / brightness(mean)) ** _CAST


def ratio(now: Tensor, was: Tensor, where: Tensor) -> Tensor:
    """The ratio of light on a moved face, now to before, [1, 1, H, W], near 1; where: weights, 0…1.

    Fades to 1 where the weights are 0.
    """
    change = ((brightness(now).clamp(min=0) + _DARK) / (brightness(was).clamp(min=0) + _DARK)).log()
    most = float(np.log(_MOST))
    return (blurred(where * most * (change / most).tanh(), 1.0)).exp()
