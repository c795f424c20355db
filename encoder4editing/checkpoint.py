"""Reading and writing inverters: our own safetensors file, and the public e4e checkpoint.

Every file is untrusted: pickles are read by torch's restricted unpickler only, and what a file says is
compared with what it holds before a model is built from it.
"""

import argparse
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter
from stylegan2 import CheckpointError
from stylegan2.checkpoint import State, assign_state, read_safetensors, write_safetensors

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
    read = _read_own if _is_safetensors(path) else _read_public_e4e
    config, state = read(path)
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


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error


# --- one reader per format, each giving (configuration, state dict in our names) -------------------------


def _read_own(path: Path) -> tuple[EncoderConfig, State]:
    values, state = read_safetensors(path, KIND)
    try:
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return EncoderConfig(**(values | lists)), state
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes an impossible encoder: {error}.") from error


def _read_public_e4e(path: Path) -> tuple[EncoderConfig, State]:
    """The public e4e checkpoint: `state_dict` (its `encoder.*` part), `latent_avg` and `opts`."""
    checkpoint = _unpickle(path)
    public = checkpoint.get("state_dict")
    if not isinstance(public, Mapping):
        raise CheckpointError(f"{path} has no state_dict, so it is not an e4e checkpoint.")
    options = _options(checkpoint)
    encoder_type = options.get("encoder_type", PUBLIC_TYPE)
    if encoder_type != PUBLIC_TYPE:  # pSp's encoder has the same tensors, and means something else by them
        raise CheckpointError(f"{path} holds a {encoder_type}, which cannot be read: use an e4e checkpoint.")
    state = {
        _translate(name): tensor
        for name, tensor in public.items()
        if isinstance(name, str) and name.startswith("encoder.") and _is_dense(tensor)
    }
    # Views of one stored tensor can claim any size; what is copied below must be in the file.
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: its tensors are larger than the file.")
    config = _config_from_shapes(state, path)
    state = {name: tensor.clone() for name, tensor in state.items()}  # off the mapped file
    if options.get("start_from_latent_avg", True):
        state["latent_avg"] = _public_latent_avg(checkpoint, config, path)
    else:
        state["latent_avg"] = torch.zeros(config.num_styles, config.style_dim)
    return config, state


def _unpickle(path: Path) -> Mapping[str, Any]:
    """A torch checkpoint, read without executing anything; its tensors are mapped where possible."""
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _require_uncompressed(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise CheckpointError(
            f"{path} is no checkpoint that can be read safely: damaged, cut short, or more than tensors."
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}, not an e4e checkpoint.")
    return checkpoint


def _options(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The training options of a public checkpoint: a dict, a Namespace, or none."""
    options = checkpoint.get("opts")
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    return options if isinstance(options, Mapping) else {}


def _is_dense(value: object) -> TypeGuard[Tensor]:
    """Whether this is an ordinary tensor; files can also hold sparse ones, and ones without values."""
    return isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"


def _require_uncompressed(path: Path) -> None:
    """torch never compresses; a small file that unpacks to a huge one is an attack."""
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed entries")


def _translate(key: str) -> str:
    """A key of the public state dict in our names."""
    for pattern, ours in _PUBLIC_KEYS:
        key, matches = re.subn("^" + pattern, ours, key)
        if matches:
            break
    # In the public heads every second module is an activation; an odd index becomes one that does not exist.
    return re.sub(r"(?<=\.convs\.)\d+", lambda index: f"{int(index[0]) / 2:g}", key)


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
        units = [shape(f"backbone.units.{index}.conv2")[0] for index in range(count(r"backbone\.units"))]
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
    if not _is_dense(average) or average.shape not in {shape, (1, config.style_dim), (config.style_dim,)}:
        raise CheckpointError(f"{path} holds no average latent of the shape {list(shape)}.")
    return average.expand(shape).clone()
