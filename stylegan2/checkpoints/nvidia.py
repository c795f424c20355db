"""Generators of NVIDIA's stylegan2-ada-pytorch: a pickle of whole networks, of which `G_ema` is read.

State dicts saved from these networks have the same names.

A network is a tree of records, each with the source text of its class, which is ignored, and the attributes
of a `torch.nn.Module`. The convolutions, up-sampling ones included, are the same as ours: no kernel is
flipped.
"""

import re
from typing import Any

from torch import Tensor

from stylegan2.checkpoints.layout import FoundNetwork, Sought
from stylegan2.checkpoints.shapes import check_filter, config_of
from stylegan2.checkpoints.storage import CheckpointError, State, is_plain
from stylegan2.checkpoints.unpickling import Inert, walk
from stylegan2.generator import GeneratorConfig

MAX_ENTRIES = 100  # of one kind in a module; a layer has fewer than ten, a network fewer than twenty
CONV_ENTRIES = {
    "weight": "weight",
    "bias": "bias",
    "affine.weight": "modulation.weight",
    "affine.bias": "modulation.bias",
    "noise_strength": "noise_strength",
}

NVIDIA = Sought(
    "a generator of StyleGAN2", ("synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight")
)

Fields = dict[str, Any]


def pickled_network(contents: Any) -> tuple[str, Inert]:
    """The name and the record of the generator in a pickle: `G_ema`, or `G` if that is missing.

    Raises CheckpointError, lacking the file's name, if there is none.
    """
    if isinstance(contents, dict):
        name = "G" if "G_ema" not in contents and "G" in contents else "G_ema"
        if type(network := contents.get(name)) is Inert:
            return name, network
    elif type(contents) is Inert and contents.name == "_reconstruct_persistent_obj":  # only a generator
        return "its generator", contents
    raise CheckpointError("is a pickle, but holds no network G_ema of stylegan2-ada-pytorch")


def from_pickled(name: str, network: Inert) -> tuple[GeneratorConfig, State]:
    """The configuration and our state dict of the network from `pickled_network`; the average may be missing.

    Raises CheckpointError, its sentence lacking the file's name, for anything but an unconditional generator
    of the "skip" architecture with leaky ReLU and the filter [1, 3, 3, 1]; ValueError for impossible sizes.
    """
    modules = {path: _fields(record) for path, record in walk(network, _children)}
    multiplier, clamp = _arithmetic(modules)
    entries = {
        f"{module}.{entry}": tensor
        for module, fields in modules.items()
        for entry, tensor in (_part(fields, "_parameters") | _part(fields, "_buffers")).items()
        if tensor is not None  # as in a layer without a bias; reported as missing later
    }
    state = _translate(entries, name)
    return config_of(state, name, mapping_lr_multiplier=multiplier, conv_clamp=clamp), state


def from_nvidia_state(found: FoundNetwork) -> tuple[GeneratorConfig, State, object]:
    """As `from_pickled`, from a state dict; it stores no clamp, so there is none.

    The third is the average latent, None if missing.
    """
    state = _translate(found.state, found.where)
    return config_of(state, found.where), state, state.pop("latent_avg", None)


def _translate(entries: dict[str, Any], where: str) -> State:
    state = {}
    for name, tensor in entries.items():
        if not is_plain(tensor):
            raise CheckpointError(f"has an entry {name!r:.80} in {where} that is not a tensor")
        entry = name.rpartition(".")[2]
        if entry == "resample_filter":
            check_filter(name, tensor, total=1)
        else:
            state[_our_name(name, where)] = _our_shape(entry, tensor)
    return state


def _fields(record: Inert) -> Fields:
    """The attributes of a module; some versions include its constructor arguments."""
    meta = record.args[0] if record.name == "_reconstruct_persistent_obj" and record.args else None
    fields = meta.get("state") if isinstance(meta, dict) else None
    if not isinstance(fields, dict):
        raise CheckpointError("has a part in G_ema that is no module of stylegan2-ada-pytorch")
    return fields


def _part(fields: Fields, name: str) -> dict[str, Any]:
    entries = fields.get(name)
    if not isinstance(entries, dict) or len(entries) > MAX_ENTRIES:
        raise CheckpointError("has a part in G_ema that is no module of stylegan2-ada-pytorch")
    return entries


def _children(record: Inert) -> dict[str, Any]:
    return _part(_fields(record), "_modules")


def _setting(fields: Fields, name: str, default: Any) -> Any:
    """An attribute of a module, or if that version of the code stored none, its constructor argument."""
    arguments = fields.get("_init_kwargs")
    return fields.get(name, arguments.get(name, default) if isinstance(arguments, dict) else default)


def _arithmetic(modules: dict[str, Fields]) -> tuple[Any, Any]:
    """The mapping's learning-rate multiplier and the clamp (None without); refuses unsupported settings."""
    for name in ("", "mapping"):
        classes = _setting(modules.get(name, {}), "c_dim", 0)
        if type(classes) is not int or classes != 0:
            raise CheckpointError("is a class-conditional generator, which is not supported")
    multipliers, clamps = [], []
    for name, fields in modules.items():
        kind = re.fullmatch(r"mapping\.(fc)\d+|synthesis\.(b)\d+|synthesis\.b\d+\.(conv|torgb)[01]?", name)
        if kind is None:
            continue
        if kind[2] and _setting(fields, "architecture", "skip") != "skip":
            raise CheckpointError(
                "is a generator of another architecture than 'skip', which is not supported"
            )
        if (kind[1] or kind[3] == "conv") and _setting(fields, "activation", "lrelu") != "lrelu":
            raise CheckpointError(
                "is a generator with another activation than leaky ReLU, which is not supported"
            )
        if kind[1]:
            multipliers.append(_setting(fields, "bias_gain", _setting(fields, "lr_multiplier", 0.01)))
        if kind[3]:
            clamps.append(_setting(fields, "conv_clamp", None))
    return _the_same("learning-rate multiplier", multipliers, 0.01), _the_same("clamp", clamps, None)


def _the_same(what: str, values: list[Any], default: Any) -> Any:
    if not all(value is None or type(value) in (int, float) for value in values) or len(set(values)) > 1:
        raise CheckpointError(f"is a generator whose layers do not share one {what}, which is not supported")
    return values[0] if values else default


def _our_name(name: str, where: str) -> str:
    if name == "mapping.w_avg":
        return "latent_avg"
    if name == "synthesis.b4.const":
        return "synthesis.constant"
    if found := re.fullmatch(r"mapping\.fc(\d\d?)\.(weight|bias)", name):
        return f"mapping.layers.{int(found[1])}.{found[2]}"
    found = re.fullmatch(r"synthesis\.b([1-9]\d{0,3})\.(conv0|conv1|torgb)\.(.+)", name)
    step = int(found[1]).bit_length() - 3 if found else -1
    if found and step >= 0 and int(found[1]) == 4 << step:
        conv = 2 * step - 1 if found[2] == "conv0" else 2 * step
        if found[3] == "noise_const":
            return f"synthesis.noise_{conv}"
        if found[3] in CONV_ENTRIES:
            layer = f"to_rgbs.{step}" if found[2] == "torgb" else f"convs.{conv}"
            return f"synthesis.{layer}.{CONV_ENTRIES[found[3]]}"
    raise CheckpointError(f"has an entry {name!r:.80} in {where} that StyleGAN2's generator does not have")


def _our_shape(entry: str, tensor: Tensor) -> Tensor:
    dimensions = {"const": 4, "noise_const": 4, "noise_strength": 1}.get(entry, tensor.ndim)
    return tensor.reshape((1,) * (dimensions - tensor.ndim) + tuple(tensor.shape))
