"""Encoders in the public formats of pSp, e4e and ReStyle: `{"state_dict", "latent_avg", "opts"}`.

Their state dict holds the encoder's tensors as `encoder.*`, and those of the generator they were trained for
as `decoder.*`, which `stylegan2` reads; `stylegan2.checkpoints.layout` finds both, also in other wrappers.
`opts["encoder_type"]` says which encoder it is; e4e's and pSp's tensors are the same, but differ in meaning.
"""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from encoder4editing.backbone import backbone_layer, with_counters
from encoder4editing.encoder import EncoderConfig
from stylegan2 import CheckpointError
from stylegan2.checkpoints.layout import AVERAGES, FoundNetwork, Sought, average_rows
from stylegan2.checkpoints.storage import State
from stylegan2.checkpoints.unpickling import Inert

ENCODER = Sought(
    "an encoder of pSp, e4e or ReStyle",
    ("styles.0.linear.weight", "styles.0.convs.0.weight", "latlayer1.weight"),
)

# The public class → (whether it has a pyramid, whether its heads give differences from the first).
ENCODER_TYPES = {
    "Encoder4Editing": (True, True),
    "GradualStyleEncoder": (True, False),
    "ProgressiveBackboneEncoder": (False, True),
    "BackboneEncoder": (False, False),
}

# Public name → ours, of the layers after the backbone that have other names.
_LATERALS = {"latlayer1": "lateral_middle", "latlayer2": "lateral_fine"}


def from_public(found: FoundNetwork) -> tuple[EncoderConfig, State]:
    """The configuration and our state dict of an encoder that was found in a checkpoint.

    Without an `encoder_type` the tensors decide, as far as they can: an encoder without a pyramid is read as
    BackboneEncoder, one with a pyramid as e4e's (3 input channels) or pSp's (6). `latent_avg` may be one
    vector for all styles (as with `learn_in_w`) or one per style; if the file lacks it, so does the state.
    If `start_from_latent_avg` is false, a one-pass encoder with a pyramid gets zeros for it, as in the public
    pSp and e4e; ReStyle always starts from it.

    Raises CheckpointError, its sentence lacking the file's name, if something is missing, unknown or
    impossible.
    """
    state = with_counters({_translate(name): tensor for name, tensor in found.state.items()})
    options = _options(found)
    config = _config(state, _encoder_type(state, options))
    declared = _word(options.get("input_nc", config.input_channels))
    if declared != str(config.input_channels):
        raise CheckpointError(
            f"says that its encoder takes {declared!r:.20} input channels (input_nc), "
            f"but its first convolution takes {config.input_channels}"
        )
    one_pass = config.pyramid and config.input_channels == 3
    shape = (config.num_styles, config.style_dim)
    if one_pass and options.get("start_from_latent_avg") in (False, "False", "false"):
        state["latent_avg"] = torch.zeros(shape)
    elif (rows := public_average(found, config)) is not None:
        state["latent_avg"] = rows.expand(shape)
    return config, state


def public_average(found: FoundNetwork, config: EncoderConfig) -> Tensor | None:
    """The average latent beside an encoder, float32 [1 or num_styles, style_dim]; None if there is none."""
    return average_rows(found.nearest(*AVERAGES), config.num_styles, config.style_dim)


def says_encoder_type(found: FoundNetwork) -> bool:
    """Whether the checkpoint's options name the encoder's type."""
    return "encoder_type" in _options(found)


def encoder_type(config: EncoderConfig) -> str:
    """The name of such an encoder's class in the public code."""
    return next(n for n, kind in ENCODER_TYPES.items() if kind == (config.pyramid, config.deltas))


def _options(found: FoundNetwork) -> Mapping[str, Any]:
    """The training options of a public checkpoint, from a dict or a Namespace; empty if there are none."""
    options = found.nearest("opts", "args")
    options = options.state if isinstance(options, Inert) else options
    return options if isinstance(options, Mapping) else {}


def _word(option: object) -> str:
    """A string or int option as text, for comparison; for other values, which may be huge, their type."""
    if isinstance(option, str):
        return option
    return str(option) if type(option) is int and option.bit_length() < 64 else type(option).__name__


def _translate(key: str) -> str:
    """A public encoder's key in our names; an unknown one is left as it is, and so reported."""
    layer, _, entry = key.rpartition(".")
    if ours := backbone_layer(layer):
        return f"encoder.backbone.{ours}.{entry}"
    if layer in _LATERALS:
        return f"encoder.{_LATERALS[layer]}.{entry}"
    key = "encoder." + re.sub(r"^styles\.", "heads.", key)
    # In the public heads every second module is an activation; an odd index becomes one that does not exist.
    return re.sub(r"(?<=\.convs\.)\d{1,4}", lambda index: f"{int(index[0]) / 2:g}", key)


def _encoder_type(state: State, options: Mapping[str, Any]) -> str:
    """The one of `ENCODER_TYPES` that the options name, or else the likeliest that the tensors allow."""
    if "encoder_type" in options:
        name = _word(options["encoder_type"])
        if name in ENCODER_TYPES:
            return name
        *others, last = ENCODER_TYPES
        raise CheckpointError(
            f"holds a {name!r:.60}, which cannot be read: supported are {', '.join(others)} and {last}"
        )
    if "encoder.lateral_middle.weight" not in state:
        return "BackboneEncoder"
    return "GradualStyleEncoder" if _shape(state, "backbone.stem.conv")[1:2] == (6,) else "Encoder4Editing"


def _config(state: State, encoder_type: str) -> EncoderConfig:
    """The architecture of a translated state dict; a stage begins where the width changes."""
    pyramid, deltas = ENCODER_TYPES[encoder_type]
    try:
        num_units = max(1, _count(state, r"backbone\.units"))
        units = [_shape(state, f"backbone.units.{index}.conv2")[0] for index in range(num_units)]
        stages = [(width, len(list(group))) for width, group in groupby(units)]
        widths, depths = zip(*stages, strict=True)
        hidden, channels, *_ = _shape(state, "backbone.units.0.gate.squeeze")
        return EncoderConfig(
            input_size=16 << min(_count(state, r"heads\.0\.convs"), 16),  # a head halves its map to one pixel
            num_styles=_count(state, "heads"),
            style_dim=_shape(state, "heads.0.linear")[0],
            widths=widths,
            depths=depths,
            fpn_width=_shape(state, "lateral_middle")[0] if pyramid else widths[-1],
            head_width=_shape(state, "heads.0.convs.0")[0],
            se_reduction=channels // hidden,
            input_channels=_shape(state, "backbone.stem.conv")[1],
            pyramid=pyramid,
            deltas=deltas,
        )
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"holds no {encoder_type} that can be built: {error}") from error


def _shape(state: State, layer: str) -> torch.Size:
    """The shape of a layer's weight."""
    name = f"encoder.{layer}.weight"
    if name not in state:
        raise CheckpointError(f"holds no encoder of pSp, e4e or ReStyle: it lacks {name}")
    return state[name].shape


def _count(state: State, prefix: str) -> int:
    """How many numbers follow a prefix (a regular expression) in the names."""
    pattern = re.compile(rf"encoder\.{prefix}\.(\d+)\.")
    return len({match[1] for name in state if (match := pattern.match(name))})
