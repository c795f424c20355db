"""Reading and writing inverters: our own safetensors file, and the public e4e checkpoint.

Every file is untrusted: pickles are read by torch's restricted unpickler only, and what a file says is
compared with what it holds before a model is built from it.
"""

import argparse
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter
from stylegan2 import CheckpointError

FORMAT = "micromotion/1"
KIND = "e4e"

# Public key → ours. The first rule that matches applies; a key that no rule matches is kept, and so reported.
_PUBLIC_KEYS = [
    (r"input_layer\.0\.", "backbone.stem.conv."),
    (r"input_layer\.1\.", "backbone.stem.norm."),
    (r"input_layer\.2\.", "backbone.stem.act."),
    (r"body\.(\d+)\.shortcut_layer\.0\.", r"backbone.units.\1.shortcut.conv."),
    (r"body\.(\d+)\.shortcut_layer\.1\.", r"backbone.units.\1.shortcut.norm."),
    (r"body\.(\d+)\.res_layer\.0\.", r"backbone.units.\1.norm1."),
    (r"body\.(\d+)\.res_layer\.1\.", r"backbone.units.\1.conv1."),
    (r"body\.(\d+)\.res_layer\.2\.", r"backbone.units.\1.act."),
    (r"body\.(\d+)\.res_layer\.3\.", r"backbone.units.\1.conv2."),
    (r"body\.(\d+)\.res_layer\.4\.", r"backbone.units.\1.norm2."),
    (r"body\.(\d+)\.res_layer\.5\.fc1\.", r"backbone.units.\1.gate.squeeze."),
    (r"body\.(\d+)\.res_layer\.5\.fc2\.", r"backbone.units.\1.gate.excite."),
    (r"latlayer1\.", "lateral_middle."),
    (r"latlayer2\.", "lateral_fine."),
    (r"styles\.(\d+)\.linear\.", r"heads.\1.linear."),
]


def load_inverter(path: str | Path) -> Inverter:
    """Reads an inverter, in eval mode, float32, on the CPU.

    Args:
        path: a file written by `save_inverter`, or a checkpoint of omertov/encoder4editing (`.pt`). Which of
            the two it is shows in its content, not in its name.

    Raises:
        CheckpointError: the file is missing, damaged, not an inverter, or its parts do not fit together.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}.") from error
    is_safetensors = len(head) == 9 and head[8:] == b"{"
    inverter = _load_own(path) if is_safetensors else _load_public_e4e(path)
    return inverter.eval()


def save_inverter(inverter: Inverter, path: str | Path) -> None:
    """Writes an inverter as safetensors, under a temporary name first, so that no half-written file is left.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in inverter.state_dict().items()}
    metadata = {"format": FORMAT, "kind": KIND, "config": json.dumps(asdict(inverter.config))}
    try:
        save_file(tensors, temporary, metadata)
        temporary.replace(path)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"Cannot write {path}: {error}.") from error


def _load_own(path: Path) -> Inverter:
    """Our own safetensors format."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("kind")) != (FORMAT, KIND):
                raise CheckpointError(
                    f"{path} is a safetensors file, but not an e4e inverter of this project."
                )
            config = _config_from_json(metadata.get("config", ""), path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    return _build(config, tensors, path)


def _config_from_json(text: str, path: Path) -> EncoderConfig:
    try:
        values: dict[str, Any] = json.loads(text)
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return EncoderConfig(**values)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} describes no encoder that can be built: {error}.") from error


def _load_public_e4e(path: Path) -> Inverter:
    """The public e4e checkpoint: `state_dict` (its `encoder.*` part), `latent_avg` and `opts`."""
    checkpoint = _unpickle(path)
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} has no state_dict, so it is not an e4e checkpoint.")
    tensors = {
        _translate(name.removeprefix("encoder.")): value
        for name, value in state.items()
        if isinstance(name, str) and name.startswith("encoder.") and isinstance(value, Tensor)
    }
    config = _config_from_shapes(tensors, path)
    tensors = {f"encoder.{name}": value for name, value in tensors.items()}
    tensors["latent_avg"] = _public_latent_avg(checkpoint, config, path)
    return _build(config, tensors, path)


def _unpickle(path: Path) -> Mapping[str, Any]:
    """A torch checkpoint, read without executing anything; its tensors are mapped where possible."""
    try:
        is_zip = zipfile.is_zipfile(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read safely: it is damaged, or holds more than tensors."
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}, not an e4e checkpoint.")
    return checkpoint


def _translate(key: str) -> str:
    """A key of the public encoder's state dict in our names."""
    head = re.match(r"styles\.(\d+)\.convs\.(\d+)\.(.*)", key)
    if head and int(head[2]) % 2 == 0:  # every second of the public modules is an activation
        return f"heads.{head[1]}.convs.{int(head[2]) // 2}.{head[3]}"
    for pattern, ours in _PUBLIC_KEYS:
        translated, matches = re.subn("^" + pattern, ours, key)
        if matches:
            return translated
    return key


def _config_from_shapes(tensors: Mapping[str, Tensor], path: Path) -> EncoderConfig:
    """The architecture that a translated state dict belongs to; a stage begins where the width changes."""

    def count(pattern: str) -> int:
        return len({match[1] for name in tensors if (match := re.match(pattern, name))})

    try:
        stem = tensors["backbone.stem.conv.weight"].shape
        if stem[1] == 6:
            raise CheckpointError(
                f"{path} is a ReStyle checkpoint, which cannot be read yet; use an e4e one."
            )
        units = [
            tensors[f"backbone.units.{index}.conv2.weight"].shape[0]
            for index in range(count(r"backbone\.units\.(\d+)\."))
        ]
        starts = [0] + [i for i in range(1, len(units)) if units[i] != units[i - 1]]
        squeeze = tensors["backbone.units.0.gate.squeeze.weight"].shape
        coarse_convs = count(r"heads\.0\.convs\.(\d+)\.")
        return EncoderConfig(
            input_size=16 << min(coarse_convs, 16),
            num_styles=count(r"heads\.(\d+)\."),
            style_dim=tensors["heads.0.linear.weight"].shape[0],
            widths=tuple(units[start] for start in starts),  # type: ignore[arg-type]
            depths=tuple(b - a for a, b in zip(starts, [*starts[1:], len(units)], strict=True)),  # type: ignore[arg-type]
            fpn_width=tensors["lateral_middle.weight"].shape[0],
            head_width=tensors["heads.0.convs.0.weight"].shape[0],
            se_reduction=squeeze[1] // squeeze[0],
        )
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold an e4e encoder ({error}).") from error


def _public_latent_avg(checkpoint: Mapping[str, Any], config: EncoderConfig, path: Path) -> Tensor:
    """The average latent per style; zero where the encoder was trained without it."""
    options = checkpoint.get("opts", {})
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    if isinstance(options, Mapping) and options.get("start_from_latent_avg") is False:
        return torch.zeros(config.num_styles, config.style_dim)
    average = checkpoint.get("latent_avg")
    if not isinstance(average, Tensor) or average.shape[-1:] != (config.style_dim,):
        raise CheckpointError(f"{path} holds no average latent of length {config.style_dim}.")
    if average.numel() == config.style_dim:  # one vector for all styles
        return average.reshape(1, -1).repeat(config.num_styles, 1)
    return average


def _build(config: EncoderConfig, tensors: Mapping[str, Tensor], path: Path) -> Inverter:
    """An inverter with these tensors, whose names and shapes are checked before any memory is taken."""
    with torch.device("meta"):
        inverter = Inverter(config)
    expected = inverter.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        fault = "lacks" if name in expected else "has the unknown tensor"
        raise CheckpointError(f"{path} does not fit its architecture: it {fault} {name}.")
    ready = {}
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path} does not fit its architecture: {name} is {list(tensor.shape)}"
                f" instead of {list(expected[name].shape)}."
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path} is damaged: {name} is larger than what is stored of it.")
        ready[name] = tensor.to(expected[name].dtype, copy=True, memory_format=torch.contiguous_format)
    inverter.load_state_dict(ready, assign=True)
    return inverter
