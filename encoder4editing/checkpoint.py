"""Reading and writing inverters: our own safetensors file, and the public e4e checkpoint.

Every file is untrusted: `stylegan2.storage` reads it without running anything in it, and what it says is
compared with what it holds before memory is taken for a model. A further public format is one more
`_read_…` function.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter
from stylegan2 import CheckpointError
from stylegan2.storage import (
    State,
    assign_state,
    is_plain,
    is_torch_file,
    read_safetensors,
    read_torch,
    write_safetensors,
)

KIND = "e4e"
PUBLIC_TYPE = "Encoder4Editing"

# Public key → ours; a key that no rule matches is kept, and so reported as unexpected.
_PUBLIC_KEYS = [
    (r"encoder\.input_layer\.0\.", "encoder.backbone.stem.conv."),
    (r"encoder\.input_layer\.1\.", "encoder.backbone.stem.norm."),
    (r"encoder\.input_layer\.2\.", "encoder.backbone.stem.act."),
    (r"encoder\.body\.(\d+)\.shortcut_layer\.0\.", r"encoder.backbone.units.\1.shortcut.conv."),
    (r"encoder\.body\.(\d+)\.shortcut_layer\.1\.", r"encoder.backbone.units.\1.shortcut.norm."),
    (r"encoder\.body\.(\d+)\.res_layer\.0\.", r"encoder.backbone.units.\1.norm1."),
    (r"encoder\.body\.(\d+)\.res_layer\.1\.", r"encoder.backbone.units.\1.conv1."),
    (r"encoder\.body\.(\d+)\.res_layer\.2\.", r"encoder.backbone.units.\1.act."),
    (r"encoder\.body\.(\d+)\.res_layer\.3\.", r"encoder.backbone.units.\1.conv2."),
    (r"encoder\.body\.(\d+)\.res_layer\.4\.", r"encoder.backbone.units.\1.norm2."),
    (r"encoder\.body\.(\d+)\.res_layer\.5\.fc1\.", r"encoder.backbone.units.\1.gate.squeeze."),
    (r"encoder\.body\.(\d+)\.res_layer\.5\.fc2\.", r"encoder.backbone.units.\1.gate.excite."),
    (r"encoder\.latlayer1\.", "encoder.lateral_middle."),
    (r"encoder\.latlayer2\.", "encoder.lateral_fine."),
    (r"encoder\.styles\.", "encoder.heads."),
]


def load_inverter(path: str | Path) -> Inverter:
    """Reads an inverter: float32, on the CPU and in eval mode.

    Args:
        path: a file written by `save_inverter`, or a checkpoint of omertov/encoder4editing (`.pt`). Which of
            the two it is shows in its content, not in its name.

    Raises:
        CheckpointError: the file is missing, damaged, not an inverter, or its parts do not fit together.
    """
    path = Path(path)
    config, state = _read_public_e4e(path) if is_torch_file(path) else _read_own(path)
    with torch.device("meta"):  # no memory before names and shapes are checked
        inverter = Inverter(config)
    assign_state(inverter, state, path)
    return inverter.eval()


def save_inverter(inverter: Inverter, path: str | Path) -> None:
    """Writes an inverter as safetensors that `load_inverter` reads; complete or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    write_safetensors(path, KIND, asdict(inverter.config), inverter.state_dict())


def _read_own(path: Path) -> tuple[EncoderConfig, State]:
    """Our own format."""
    values, state = read_safetensors(path, KIND)
    try:
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return EncoderConfig(**(values | lists)), state
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes an impossible encoder: {error}.") from error


def _read_public_e4e(path: Path) -> tuple[EncoderConfig, State]:
    """The public e4e checkpoint: `state_dict` (its `encoder.*` part), `latent_avg` and `opts`."""
    checkpoint = read_torch(path)
    public = checkpoint.get("state_dict")
    if not isinstance(public, Mapping):
        raise CheckpointError(f"{path} has no state_dict, so it is not an e4e checkpoint.")
    options = _options(checkpoint)
    encoder_type = str(options.get("encoder_type", PUBLIC_TYPE))
    if encoder_type != PUBLIC_TYPE:  # pSp's encoder has the same tensors, and means something else by them
        raise CheckpointError(f"{path} holds a {encoder_type!r}, which cannot be read: use an e4e one.")
    state = {
        _translate(name): tensor
        for name, tensor in public.items()
        if isinstance(name, str) and name.startswith("encoder.") and is_plain(tensor)
    }
    config = _config_from_shapes(state, path)
    if options.get("start_from_latent_avg") is False:
        state["latent_avg"] = torch.zeros(config.num_styles, config.style_dim)
    else:
        state["latent_avg"] = _public_latent_avg(checkpoint, config, path)
    return config, state


def _options(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The training options of a public checkpoint: a dict, a Namespace, or none."""
    options = checkpoint.get("opts")
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    return options if isinstance(options, Mapping) else {}


def _translate(key: str) -> str:
    """A key of the public state dict in our names."""
    for pattern, ours in _PUBLIC_KEYS:
        key, matches = re.subn("^" + pattern, ours, key)
        if matches:
            break
    # In the public heads every second module is an activation; an odd index becomes one that does not exist.
    return re.sub(r"(?<=\.convs\.)\d{1,4}", lambda index: f"{int(index[0]) / 2:g}", key)


def _config_from_shapes(state: State, path: Path) -> EncoderConfig:
    """The architecture that a translated state dict belongs to; a stage begins where the width changes."""

    def shape(name: str) -> torch.Size:
        key = f"encoder.{name}.weight"
        if key not in state:
            raise CheckpointError(f"{path} holds no e4e encoder: it lacks {key}.")
        return state[key].shape

    def count(prefix: str) -> int:
        pattern = re.compile(rf"encoder\.{prefix}\.(\d+)\.")
        return len({match[1] for name in state if (match := pattern.match(name))})

    try:
        num_units = max(1, count(r"backbone\.units"))
        units = [shape(f"backbone.units.{index}.conv2")[0] for index in range(num_units)]
        stages = [(width, len(list(group))) for width, group in groupby(units)]
        widths, depths = zip(*stages, strict=True)
        hidden, channels, *_ = shape("backbone.units.0.gate.squeeze")
        return EncoderConfig(
            input_size=16 << min(count(r"heads\.0\.convs"), 16),  # a head halves its map down to one pixel
            num_styles=count("heads"),
            style_dim=shape("heads.0.linear")[0],
            widths=widths,
            depths=depths,
            fpn_width=shape("lateral_middle")[0],
            head_width=shape("heads.0.convs.0")[0],
            se_reduction=channels // hidden,
        )
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path} holds no e4e encoder that can be built: {error}.") from error


def _public_latent_avg(checkpoint: Mapping[str, Any], config: EncoderConfig, path: Path) -> Tensor:
    """The average latent per style; some files hold one vector for all styles."""
    average = checkpoint.get("latent_avg")
    shape = (config.num_styles, config.style_dim)
    if not is_plain(average) or average.shape not in {shape, (1, config.style_dim), (config.style_dim,)}:
        raise CheckpointError(f"{path} holds no average latent of the shape {list(shape)}.")
    return average.expand(shape)
