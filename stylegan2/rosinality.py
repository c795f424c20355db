"""Generators under the names of rosinality's stylegan2-pytorch, alone and inside encoders' checkpoints.

`from_rosinality` reads that project's own files, `{"g_ema": state dict, "latent_avg"}`; `from_decoder` reads
what e4e, pSp and ReStyle write, `{"state_dict": {"encoder.…", "decoder.…"}, "latent_avg", "opts"}`, in which
the decoder is such a generator.
"""

import re
from typing import Any

from stylegan2.generator import GeneratorConfig
from stylegan2.shapes import check_filter, config_of
from stylegan2.storage import CheckpointError, State, is_plain

CONV_ENTRIES = {
    "conv.weight": "weight",
    "conv.modulation.weight": "modulation.weight",
    "conv.modulation.bias": "modulation.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}


def from_rosinality(contents: dict[Any, Any]) -> tuple[GeneratorConfig, State]:
    """The configuration and our state dict of a checkpoint that has `g_ema`.

    The mapping network's learning-rate multiplier is not stored there; it is 0.01 in every published model.
    Raises CheckpointError, its sentence lacking the file's name, or ValueError for impossible sizes.
    """
    average = contents.get("latent_avg")
    if not is_plain(average):
        raise CheckpointError(
            "lacks latent_avg, the average latent, which snapshots taken in training do not have"
        )
    state = translate(contents["g_ema"], "g_ema") | {"latent_avg": average}
    return config_of(state, "g_ema"), state


def holds_decoder(contents: dict[Any, Any]) -> bool:
    """Whether a checkpoint's `state_dict` has anything under `decoder.`."""
    return bool(_decoder(contents))


def from_decoder(contents: dict[Any, Any]) -> tuple[GeneratorConfig, State]:
    """As `from_rosinality`, for a checkpoint of e4e, pSp or ReStyle whose `state_dict` has `decoder.*`.

    Their `latent_avg`, one vector or one per style, is reduced to one: the common one, or else their mean.
    """
    average = contents.get("latent_avg")
    if not is_plain(average):
        raise CheckpointError("lacks latent_avg, the average latent")
    state = translate(_decoder(contents), "its decoder")
    config = config_of(state, "its decoder")
    rows = average if average.ndim == 2 else average[None]
    if tuple(rows.shape) not in {(1, config.style_dim), (config.num_styles, config.style_dim)}:
        raise CheckpointError(f"has an average latent of the shape {list(average.shape)}, which does not fit")
    common = bool((rows == rows[0]).all())
    return config, state | {"latent_avg": rows[0] if common else rows.float().mean(0)}


def _decoder(contents: dict[Any, Any]) -> dict[str, Any]:
    state = contents.get("state_dict")
    entries = state.items() if isinstance(state, dict) else ()
    prefix = "decoder."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in entries
        if isinstance(name, str) and name.startswith(prefix)
    }


def translate(theirs: object, where: str) -> State:
    """A rosinality generator's state dict under our names, in our shapes.

    `where` says for people in which part of the file it lies. Raises CheckpointError as above.
    """
    if not isinstance(theirs, dict):
        raise CheckpointError(f"has no state dict in {where}")
    state = {}
    for name, tensor in theirs.items():
        if not isinstance(name, str) or not is_plain(tensor):
            raise CheckpointError(f"has an entry {name!r:.80} in {where} that is not a tensor")
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
    raise CheckpointError(f"has an entry {name!r:.80} in {where} that StyleGAN2's generator has not")
