"""Generators under the names of rosinality's stylegan2-pytorch, alone and inside encoders' checkpoints.

That project saves `{"g_ema": state dict, "latent_avg"}`, and e4e, pSp and ReStyle save
`{"state_dict": {"encoder.…", "decoder.…"}, "latent_avg", "opts"}`, in which the decoder is such a generator.
`stylegan2.checkpoints.layout` finds it in these and in other wrappers.
"""

import re

from stylegan2.checkpoints.layout import AVERAGES, FoundNetwork, Sought
from stylegan2.checkpoints.shapes import check_filter, config_of
from stylegan2.checkpoints.storage import CheckpointError, State
from stylegan2.generator import GeneratorConfig

ROSINALITY = Sought(
    "a generator of StyleGAN2 in a format known here",
    ("input.input", "conv1.conv.modulation.weight", "style.1.weight"),
)
CONV_ENTRIES = {
    "conv.weight": "weight",
    "conv.modulation.weight": "modulation.weight",
    "conv.modulation.bias": "modulation.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}


def from_rosinality(found: FoundNetwork) -> tuple[GeneratorConfig, State, object]:
    """The configuration, our state dict and the average latent (None if missing) of a rosinality generator.

    The mapping network's learning-rate multiplier is not stored; it is 0.01 in every published model. Raises
    CheckpointError, its sentence lacking the file's name, or ValueError for impossible sizes.
    """
    state = _translate(found.state, found.where)
    return config_of(state, found.where), state, found.nearest(*AVERAGES)


def _translate(theirs: State, where: str) -> State:
    """A rosinality generator's state dict under our names, in our shapes."""
    state = {}
    for name, tensor in theirs.items():
        if name.endswith(("blur.kernel", "upsample.kernel")):
            check_filter(name, tensor, total=4)
            continue
        if tensor.ndim == 5 and tensor.shape[0] == 1:  # convolution weights [1, out, in, k, k]
            tensor = tensor[0]
        elif name.startswith("to_rgb") and name.endswith(".bias") and tensor.shape[2:] == (1, 1):
            tensor = tensor[0, :, 0, 0] if len(tensor) == 1 else tensor  # [1, 3, 1, 1]
        state[_our_name(name, where)] = tensor
    return state


def _our_name(name: str, where: str) -> str:
    if name == "input.input":
        return "synthesis.constant"
    if found := re.fullmatch(r"style\.([1-9]\d?)\.(weight|bias)", name):
        return f"mapping.layers.{int(found[1]) - 1}.{found[2]}"
    if found := re.fullmatch(r"noises\.noise_(\d\d?)", name):
        return f"synthesis.noise_{int(found[1])}"
    found = re.fullmatch(r"(conv|to_rgb)(?:1|s\.(\d\d?))\.(.+)", name)
    if found and found[3] in CONV_ENTRIES:
        index = 0 if found[2] is None else int(found[2]) + 1
        return f"synthesis.{found[1]}s.{index}.{CONV_ENTRIES[found[3]]}"
    raise CheckpointError(f"has an entry {name!r:.80} in {where} that StyleGAN2's generator does not have")
