"""Inverter files: our own format, the public one (e4e's), and invalid files."""

import argparse
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder4editing_reference import (
    TINY,
    Reference,
    make_images,
    make_inverter,
    published_state,
    relative_error,
)
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from encoder4editing import EncoderConfig, Inverter, load_inverter, save_inverter
from stylegan2 import CheckpointError

Change = Callable[[dict[str, Any]], object]


def public_checkpoint(inverter: Inverter) -> dict[str, Any]:
    """A checkpoint of the public code: encoder and generator in one state dict, mean latent, options."""
    return {
        "state_dict": published_state(inverter) | {"decoder.input.input": torch.randn(1, 8, 4, 4)},
        "latent_avg": inverter.latent_avg,
        "opts": {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True, "stylegan_size": 32},
    }


def write_public(path: Path, change: Change = lambda checkpoint: None, **options: Any) -> Path:
    checkpoint = public_checkpoint(make_inverter(TINY))
    change(checkpoint)
    torch.save(checkpoint, path, **options)
    return path


def write_own(path: Path, change: Change = lambda state: None, **metadata: str) -> Path:
    state = {name: tensor.clone() for name, tensor in make_inverter(TINY).state_dict().items()}
    change(state)
    fields = {field: getattr(TINY, field) for field in TINY.__dataclass_fields__}
    known = {"format": "micromotion/1", "kind": "e4e", "config": json.dumps(fields)}
    save_file(state, path, known | metadata)
    return path


def assert_same(loaded: Inverter, expected: Inverter) -> None:
    assert loaded.config == expected.config
    assert not loaded.training
    state = loaded.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name
        assert state[name].dtype == tensor.dtype
        assert state[name].device.type == "cpu"
    images = make_images(expected.input_size)
    with torch.no_grad():
        assert relative_error(loaded.invert(images), Reference(expected)(images)) < 1e-5


# --- good files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"num_styles": 2, "fpn_width": 40}, {"stem_stride": 2}], ids=str)
def test_own_format_survives_a_round_trip(tmp_path: Path, fields: dict[str, Any]) -> None:
    known = {field: getattr(TINY, field) for field in TINY.__dataclass_fields__}
    inverter = make_inverter(EncoderConfig(**(known | fields)))
    save_inverter(inverter, tmp_path / "inverter.safetensors")
    assert_same(load_inverter(tmp_path / "inverter.safetensors"), inverter)


def test_own_format_is_as_documented(tmp_path: Path) -> None:
    save_inverter(make_inverter(TINY), tmp_path / "a")
    with safe_open(tmp_path / "a", "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["kind"]) == ("micromotion/1", "e4e")
    assert json.loads(metadata["config"])["num_styles"] == TINY.num_styles


def test_a_loaded_inverter_does_not_need_its_file(tmp_path: Path) -> None:
    inverter = load_inverter(write_public(tmp_path / "e4e.pt"))
    (tmp_path / "e4e.pt").write_bytes(b"")
    assert_same(inverter, make_inverter(TINY))


def test_a_loaded_inverter_can_be_trained(tmp_path: Path) -> None:
    inverter = load_inverter(write_own(tmp_path / "a")).train()
    inverter(make_images(TINY.input_size)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in inverter.parameters())


def test_failed_saving_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OSError, match="taken"):
        save_inverter(make_inverter(TINY), tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("num_styles", [2, 5, 8, 12])
def test_public_format(tmp_path: Path, num_styles: int, zipped: bool) -> None:
    known = {field: getattr(TINY, field) for field in TINY.__dataclass_fields__}
    inverter = make_inverter(EncoderConfig(**(known | {"num_styles": num_styles})))
    path = tmp_path / "e4e.pt"
    torch.save(public_checkpoint(inverter), path, _use_new_zipfile_serialization=zipped)
    assert_same(load_inverter(path), inverter)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not say which encoder")
@pytest.mark.parametrize("kind", ["dict", "Namespace", "none"])
def test_public_options_of_every_kind(tmp_path: Path, kind: str) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        options = checkpoint.pop("opts")
        if kind != "none":
            checkpoint["opts"] = options if kind == "dict" else argparse.Namespace(**options)

    assert_same(load_inverter(write_public(tmp_path / "e4e.pt", change)), make_inverter(TINY))


@pytest.mark.parametrize("shape", [(TINY.style_dim,), (1, TINY.style_dim)], ids=str)
def test_public_average_of_one_vector_serves_all_styles(tmp_path: Path, shape: tuple[int, ...]) -> None:
    average = torch.randn(shape)
    path = write_public(tmp_path / "e4e.pt", lambda checkpoint: checkpoint.update(latent_avg=average))
    for row in load_inverter(path).latent_avg:
        assert torch.equal(row, average.flatten())


def test_public_encoder_trained_without_average(tmp_path: Path) -> None:
    path = write_public(tmp_path / "e4e.pt", lambda c: c["opts"].update(start_from_latent_avg=False))
    assert not load_inverter(path).latent_avg.any()


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        state: dict[str, Tensor] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: t.half() if t.is_floating_point() else t for k, t in state.items()}

    loaded, expected = load_inverter(write_public(tmp_path / "e4e.pt", change)), make_inverter(TINY)
    for name, tensor in expected.state_dict().items():
        if name != "latent_avg" and tensor.is_floating_point():
            tensor.copy_(tensor.half())
    assert_same(loaded, expected)


# --- bad files ---------------------------------------------------------------------------------------------


class Malicious:
    """Creates a file when it is unpickled by an unpickler that runs code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.marker,)


def truncated(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def compressed(path: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def state_change(**changes: Tensor | None) -> Change:
    """Replace (or, with None, remove) tensors of a public checkpoint; `__` stands for a dot."""

    def change(checkpoint: dict[str, Any]) -> None:
        for key, value in changes.items():
            name = "encoder." + key.replace("__", ".")
            if value is None:
                del checkpoint["state_dict"][name]
            else:
                checkpoint["state_dict"][name] = value

    return change


def collapse(checkpoint: dict[str, Any]) -> None:
    """Give every tensor the right shape, but only one number in the file."""
    state: dict[str, Tensor] = checkpoint["state_dict"]
    for name, tensor in state.items():
        state[name] = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)


HUGE = torch.zeros(1).expand(8000, 8000, 3, 3)
STEM = "input_layer__0__weight"

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "no .*file"),
    "folder": (lambda p: p.mkdir(), "folder"),
    "empty": (lambda p: text(p, ""), "empty"),
    "text": (lambda p: text(p, "These are not the weights that you are looking for."), "neither|not"),
    "own: cut in the header": (lambda p: truncated(write_own(p), 0.001), "damaged"),
    "own: cut in the data": (lambda p: truncated(write_own(p), 0.9), "damaged"),
    "own: another kind": (lambda p: write_own(p, kind="stylegan2"), "e4e"),
    "own: another format": (lambda p: write_own(p, format="micromotion/99"), "e4e"),
    "own: no configuration": (lambda p: write_own(p, config="nonsense"), "configuration"),
    "own: nested configuration": (lambda p: write_own(p, config="[" * 10**5), "configuration"),
    "own: unknown field": (lambda p: write_own(p, config='{"wings": 2}'), "impossible encoder.*wings"),
    "own: long field": (lambda p: write_own(p, config=f'{{"{"wings" * 999}": 2}}'), "impossible encoder"),
    "own: field of two lines": (lambda p: write_own(p, config='{"a\\nb": 2}'), "impossible encoder"),
    "own: field of a wrong type": (lambda p: write_own(p, config='{"widths": 5}'), "impossible encoder"),
    "own: too large": (lambda p: write_own(p, config='{"num_styles": 1000000000}'), "from 1 to"),
    "own: other architecture": (lambda p: write_own(p, config="{}"), "does not fit"),
    "own: tensor too many": (lambda p: write_own(p, lambda s: s.update(x=torch.ones(1))), "unexpected x"),
    "own: tensor missing": (lambda p: write_own(p, lambda s: s.pop("latent_avg")), "lacks latent_avg"),
    "own: wrong shape": (lambda p: write_own(p, lambda s: s.update(latent_avg=torch.ones(9, 23))), "shape"),
    "own: wrong dtype": (
        lambda p: write_own(p, lambda s: s.update(latent_avg=torch.ones(9, 24, dtype=torch.int32))),
        "latent_avg",
    ),
    "public: cut": (lambda p: truncated(write_public(p), 0.7), "damaged"),
    "public: cut, legacy": (
        lambda p: truncated(write_public(p, _use_new_zipfile_serialization=False), 0.7),
        "damaged",
    ),
    "public: compressed": (lambda p: compressed(write_public(p)), "compressed"),
    "public: a tensor": (lambda p: torch.save(torch.ones(3), p), "holds a Tensor"),
    "public: a generator": (lambda p: torch.save({"g_ema": {}}, p), "no state_dict"),
    "public: foreign keys": (lambda p: torch.save({"state_dict": {"fc.weight": torch.ones(3)}}, p), "lacks"),
    "public: no body": (
        lambda p: torch.save({"state_dict": {"encoder." + STEM.replace("__", "."): torch.ones(3)}}, p),
        "no encoder",
    ),
    "public: tensor missing": (lambda p: write_public(p, state_change(latlayer2__bias=None)), "lateral_fine"),
    "public: style missing": (
        lambda p: write_public(p, state_change(styles__3__linear__weight=None)),
        "lacks encoder.heads.3.linear.weight",
    ),
    "public: tensor too many": (
        lambda p: write_public(p, state_change(styles__0__convs__1__weight=torch.ones(1))),
        "unexpected",
    ),
    "public: no dimension": (
        lambda p: write_public(p, state_change(styles__0__linear__weight=torch.tensor(1.0))),
        "no Encoder4Editing",
    ),
    "public: sparse": (
        lambda p: write_public(p, state_change(**{STEM: torch.ones(16, 3, 3, 3).to_sparse()})),
        "is not a tensor",
    ),
    "public: without values": (
        lambda p: write_public(p, state_change(**{STEM: torch.ones(16, 3, 3, 3, device="meta")})),
        "is not a tensor",
    ),
    "public: huge view": (
        lambda p: write_public(p, state_change(body__0__res_layer__3__weight=HUGE)),
        "does not fit|no Encoder4Editing",
    ),
    "public: views of one number": (lambda p: write_public(p, collapse), "damaged"),
    "public: no average": (lambda p: write_public(p, lambda c: c.pop("latent_avg")), "lacks latent_avg"),
    "public: average of other styles": (
        lambda p: write_public(p, lambda c: c.update(latent_avg=torch.ones(18, TINY.style_dim))),
        "no average latent",
    ),
    "public: code in the options": (
        lambda p: write_public(p, lambda c: c.update(opts=Malicious(p.with_name("marker")))),
        "damaged|objects",
    ),
    "public: code, legacy": (
        lambda p: torch.save(Malicious(p.with_name("marker")), p, _use_new_zipfile_serialization=False),
        "damaged|objects",
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_one_clear_sentence(tmp_path: Path, case: str) -> None:
    make, reason = BAD[case]
    path = tmp_path / "inverter"
    make(path)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_inverter(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < len(str(path)) + 300
    assert {entry.name for entry in tmp_path.iterdir()} <= {"inverter"}  # nothing was executed or left behind


def test_the_malicious_object_is_malicious(tmp_path: Path) -> None:
    """Shows that the test above can fail: an ordinary unpickler executes it."""
    torch.save(Malicious(tmp_path / "marker"), tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "marker").exists()
