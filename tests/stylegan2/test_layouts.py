"""Every network loads from every layout of its file with the same numbers as from the plain file.

A table of formats × variations found in users' files.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import identity_reference
import pytest
import torch
from encoder4editing_reference import (
    TINY_RESTYLE,
    make_generator,
    make_inverter,
    make_restyle,
    published_decoder,
    published_state,
)
from nvidia_pickles import their_generator
from public_files import SHAPE, write_clip
from refusals import assert_refused
from safetensors.torch import save_file
from torch import Tensor, nn

from encoder4editing import load_identity, load_inverter
from encoder4editing.inverter import Inverter
from micromotion.weights.clip_model import load_clip
from micromotion.weights.convert import kind_of
from stylegan2 import load_generator
from stylegan2.checkpoints.layout import Sought, find, holds

pytestmark = pytest.mark.slow

Contents = dict[str, Any]
OPTIONS = {"start_from_latent_avg": True, "stylegan_size": 64, "output_size": 64}


@dataclass(frozen=True)
class Format:
    """A network's file as its project writes it.

    kind: the result of `kind_of`. inner: the state dict's key, "" if it is the whole file. average: whether
    the file has a mean latent.
    """

    make: Callable[[], Contents]
    load: Callable[[Path], nn.Module]
    kind: str
    inner: str = "state_dict"
    average: bool = True

    def contents(self) -> Contents:
        """New dictionaries, which may be changed, with shared tensors."""
        return {key: dict(value) if isinstance(value, dict) else value for key, value in make(self).items()}


def e4e(encoder: Inverter, kind: str) -> Contents:
    """What the authors of e4e, pSp and ReStyle save: an encoder with the generator of `SHAPE`."""
    generator = make_generator(SHAPE)
    average = generator.latent_avg.expand(SHAPE.num_styles, SHAPE.style_dim).clone()
    state = published_state(encoder) | published_decoder(generator)
    return {"state_dict": state, "latent_avg": average, "opts": OPTIONS | {"encoder_type": kind}}


def rosinality() -> Contents:
    generator = make_generator(SHAPE)
    state = {name.removeprefix("decoder."): tensor for name, tensor in published_decoder(generator).items()}
    return {"g_ema": state, "latent_avg": generator.latent_avg}


def nvidia() -> Contents:
    """The state dict of NVIDIA's network, as `G_ema.state_dict()` gives it."""
    state: dict[str, Tensor] = {}

    def walk(module: Any, prefix: str) -> None:
        for entries in (module.state["_parameters"], module.state["_buffers"]):
            state.update({f"{prefix}{name}": tensor.detach() for name, tensor in entries.items()})
        for name, child in module.state["_modules"].items():
            walk(child, f"{prefix}{name}.")

    walk(their_generator(), "")
    return {"G_ema": state}


def clip() -> Contents:
    """A small CLIP's state dict, from the file that other tests write."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return dict(torch.load(write_clip(Path(folder) / "clip.pt"), weights_only=True))


FORMATS: dict[str, Format] = {
    "rosinality": Format(rosinality, load_generator, "generator", "g_ema"),
    "NVIDIA's state dict": Format(nvidia, load_generator, "generator", "G_ema", average=False),
    "e4e's decoder": Format(lambda: e4e(make_inverter(SHAPE), "Encoder4Editing"), load_generator, "inverter"),
    "e4e": Format(lambda: e4e(make_inverter(SHAPE), "Encoder4Editing"), load_inverter, "inverter"),
    "pSp": Format(lambda: e4e(make_inverter(SHAPE), "GradualStyleEncoder"), load_inverter, "inverter"),
    "ReStyle": Format(lambda: e4e(make_restyle(TINY_RESTYLE), "Encoder4Editing"), load_inverter, "inverter"),
    "identity": Format(identity_reference.published_state, load_identity, "identity", "", average=False),
    "CLIP": Format(clip, load_clip, "clip", "", average=False),
}


# --- variations of users' files ---------------------------------------------------------------------------

Change = Callable[[Contents, Format], Contents]


def with_state(contents: Contents, form: Format, state: dict[str, Tensor]) -> Contents:
    return contents | {form.inner: state} if form.inner else state


def state_of(contents: Contents, form: Format) -> dict[str, Tensor]:
    return contents[form.inner] if form.inner else contents


def prefixed(prefix: str, contents: Contents, form: Format) -> Contents:
    state = {f"{prefix}{name}": tensor for name, tensor in state_of(contents, form).items()}
    return with_state(contents, form, state)


def renamed(key: str, contents: Contents, form: Format) -> Contents:
    rest = {name: value for name, value in contents.items() if name != form.inner} if form.inner else {}
    return {key: state_of(contents, form)} | rest


def within(contents: Contents, form: Format) -> Contents:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}, 1: {}}, "param_groups": [{"lr": 0.1}]}
    return {"iteration": 7, "optimizer": optimizer, "checkpoint": {"networks": contents}}


def bare(contents: Contents, form: Format) -> Contents:
    """Everything in one dictionary, as `{**net.state_dict(), "latent_avg": …}`, without options."""
    average = {"latent_avg": contents["latent_avg"]} if form.average else {}
    return dict(state_of(contents, form)) | average


def in_state(contents: Contents, form: Format) -> Contents:
    """The average as a buffer of the network."""
    rest = {name: value for name, value in contents.items() if name != "latent_avg"}
    return rest | {form.inner: state_of(contents, form) | {"latent_avg": contents["latent_avg"]}}


WRAPPED: dict[str, Change] = {
    "module.": partial(prefixed, "module."),
    "torch.compile within DDP": partial(prefixed, "_orig_mod.module."),
    "a prefix of three": partial(prefixed, "model.net.whole_thing."),
    "under another name": partial(renamed, "params_ema"),
    "in a wrapper's wrapper": lambda c, f: {"model": partial(renamed, "ema")(c, f)},
    "deep inside": within,
    "deep inside, module.": lambda c, f: within(prefixed("module.", c, f), f),
    "bare g": lambda c, f: renamed("g", c, f),
}


def assert_same(loaded: nn.Module, expected: nn.Module) -> None:
    theirs = expected.state_dict()
    assert loaded.state_dict().keys() == theirs.keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name
    assert getattr(loaded, "config", None) == getattr(expected, "config", None)


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


@pytest.fixture
def plain(form: Format, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """The network from the file as its project writes it."""
    return load_plain(form, tmp_path_factory.getbasetemp())


@cache
def load_plain(form: Format, folder: Path) -> nn.Module:
    torch.save(form.contents(), folder / "plain.pt")
    assert kind_of(folder / "plain.pt") == form.kind
    return form.load(folder / "plain.pt")


@cache
def make(form: Format) -> Contents:
    return form.make()


@pytest.mark.parametrize("change", WRAPPED)
def test_every_layout_loads(form: Format, plain: nn.Module, change: str, tmp_path: Path) -> None:
    path = tmp_path / "wrapped"
    torch.save(WRAPPED[change](form.contents(), form), path)
    assert_same(quietly(form.load, path), plain)
    assert kind_of(path) == form.kind


def quietly(load: Callable[[Path], nn.Module], path: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*has no average over its training")
        warnings.filterwarnings("error", ".*(latent_avg|noise)")
        return load(path)


@pytest.mark.parametrize("prefix", ["", "g_ema.module."])
def test_safetensors_with_the_public_names_are_read(
    form: Format, plain: nn.Module, prefix: str, tmp_path: Path
) -> None:
    contents = form.contents()
    tensors = bare(prefixed(prefix, contents, form), form)
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    options = contents.get("opts", {})
    for metadata in (
        {"format": "pt", "opts": json.dumps(options)},
        {"format": "pt"} | {name: str(value) for name, value in options.items()},
    ):
        path = tmp_path / "model.safetensors"
        save_file(tensors, path, metadata)
        assert_same(form.load(path), plain)
        assert kind_of(path) == form.kind


@pytest.mark.parametrize(
    ("dtype", "counters"),
    [(torch.float64, True), (torch.float16, True), (torch.float16, False), (torch.bfloat16, False)],
    ids=str,
)
def test_other_precisions_become_float32(
    form: Format, plain: nn.Module, dtype: torch.dtype, counters: bool, tmp_path: Path
) -> None:
    """Some files also cast the batch counters, which are integers."""
    contents = form.contents()
    state = {
        name: tensor.to(dtype) if counters or tensor.is_floating_point() else tensor
        for name, tensor in state_of(contents, form).items()
    }
    changed = with_state(contents, form, state)
    if form.average:
        changed["latent_avg"] = contents["latent_avg"].to(dtype)
    torch.save(changed, tmp_path / "other.pt")
    loaded, theirs = form.load(tmp_path / "other.pt").state_dict(), plain.state_dict()
    for name, tensor in loaded.items():
        assert tensor.dtype == theirs[name].dtype
        if tensor.is_floating_point():
            assert torch.equal(tensor, theirs[name].to(dtype).float()), name


def test_integers_are_not_weights(form: Format, tmp_path: Path) -> None:
    contents = form.contents()
    state = {
        name: tensor if "kernel" in name or "filter" in name else tensor.int()
        for name, tensor in state_of(contents, form).items()
    }
    torch.save(with_state(contents, form, state), tmp_path / "whole.pt")
    assert_refused(form.load, tmp_path / "whole.pt", "no plain array of real numbers")


AVERAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "[dim]": lambda row: row,
    "[1, dim]": lambda row: row[None],
    "[1, 1, dim]": lambda row: row[None, None],
    "[styles, dim]": lambda row: row.repeat(SHAPE.num_styles, 1),
    "[styles, dim], a view": lambda row: row.expand(SHAPE.num_styles, -1),
    "[1, styles, dim]": lambda row: row.repeat(1, SHAPE.num_styles, 1),
}
PLACES: dict[str, Change] = {"inside": in_state, "outside": within, "beside": lambda c, f: c}
WITH_AVERAGE = [name for name, form in FORMATS.items() if form.average and name != "pSp"]


@pytest.mark.parametrize(
    ("shape", "place"),
    [*((shape, "beside") for shape in AVERAGES), *(("[1, dim]", place) for place in PLACES)],
)
@pytest.mark.parametrize("form", WITH_AVERAGE, indirect=True)
def test_an_average_of_any_shape_in_any_place(
    form: Format, plain: nn.Module, shape: str, place: str, tmp_path: Path
) -> None:
    contents = form.contents() | {"latent_avg": AVERAGES[shape](make_generator(SHAPE).latent_avg)}
    torch.save(PLACES[place](contents, form), tmp_path / "x.pt")
    assert_same(form.load(tmp_path / "x.pt"), plain)


BAD_AVERAGES: dict[str, tuple[object, str]] = {
    "of other length": (torch.ones(25), "[25]"),
    "of other styles": (torch.ones(9, 24), "[9, 24]"),
    "of two": (torch.ones(2, 10, 24), "[2, 10, 24]"),
    "a number": (torch.tensor(1.0), "[]"),
    "of integers": (torch.ones(24, dtype=torch.int64), "latent_avg is no plain array"),
    "a text": ("zero", "no average latent"),
    "a list": ([0.0] * 24, "no average latent"),
    "endless": (torch.ones(1, 1).expand(10**12, 24), "[1000000000000, 24]"),
}


@pytest.mark.parametrize("name", BAD_AVERAGES)
@pytest.mark.parametrize("form", WITH_AVERAGE, indirect=True)
def test_invalid_averages_are_refused(form: Format, name: str, tmp_path: Path) -> None:
    average, mention = BAD_AVERAGES[name]
    torch.save(form.contents() | {"latent_avg": average}, tmp_path / "bad.pt")
    assert_refused(form.load, tmp_path / "bad.pt", mention)


# --- which of several, and invalid ones -------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("order", [1, -1])
def test_the_average_over_training_is_preferred(prefix: str, order: int, tmp_path: Path) -> None:
    form = FORMATS["rosinality"]
    contents = form.contents()
    torch.save(contents, tmp_path / "plain.pt")
    other = {
        f"{prefix}{name}": tensor * 2 for name, tensor in contents["g_ema"].items() if "kernel" not in name
    }
    snapshot = {"g": other, "g_ema": contents["g_ema"], "d": {"convs.0.0.weight": torch.ones(1)}}
    snapshot |= {"g_optim": {"state": {0: {"step": 3}}}, "latent_avg": contents["latent_avg"]}
    torch.save(dict([*snapshot.items()][::order]), tmp_path / "snapshot.pt")
    assert_same(load_generator(tmp_path / "snapshot.pt"), load_generator(tmp_path / "plain.pt"))


def test_a_partial_network_names_its_missing_tensors(tmp_path: Path) -> None:
    contents = rosinality()
    del contents["g_ema"]["convs.2.conv.weight"]
    torch.save(prefixed("module.", contents, FORMATS["rosinality"]), tmp_path / "x.pt")
    assert_refused(load_generator, tmp_path / "x.pt", "lacks synthesis.convs.3.weight")


SOUGHT = Sought("a thing", ("thing.weight",))


def test_recursive_dictionaries_end() -> None:
    loop: Contents = {"x": 1}
    loop["again"] = loop
    assert not holds(loop, SOUGHT)
    deep: Contents = {"thing.weight": torch.ones(1)}
    for _ in range(10_000):
        deep = {"in": deep}
    assert not holds(deep, SOUGHT)
    many: Contents = {"thing.weight": torch.ones(1)}
    for _ in range(200):  # each twice: 2^200 ways
        many = {"a": many, "b": many}
    assert not holds(many, SOUGHT)


def test_names_must_end_at_a_dot() -> None:
    assert not holds({"something.weight": torch.ones(1)}, SOUGHT)
    assert find({"some.thing.weight": torch.ones(1)}, SOUGHT).way == ("some",)
