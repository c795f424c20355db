"""Tiny checkpoints in the published formats of e4e, pSp, ReStyle-pSp and ReStyle-e4e."""

import argparse
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder4editing_reference import (
    TINY_RESTYLE,
    TYPES,
    Reference,
    make_generator,
    make_images,
    make_inverter,
    make_restyle,
    published_decoder,
    published_state,
    relative_error,
)

from encoder4editing import EncoderConfig, Inverter, ReStyle, load_inverter, save_inverter
from stylegan2 import CheckpointError

pytestmark = pytest.mark.slow

Checkpoint = dict[str, Any]
Change = Callable[[Checkpoint], object]

FORMATS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "e4e": ("Encoder4Editing", 3, {"start_from_latent_avg": True, "stylegan_size": 64}),
    "pSp": (
        "GradualStyleEncoder",
        3,
        {
            "input_nc": 3,
            "label_nc": 0,
            "output_size": 64,
            "start_from_latent_avg": True,
            "learn_in_w": False,
        },
    ),
    "ReStyle-pSp": ("BackboneEncoder", 6, {"input_nc": 6, "output_size": 64, "n_iters_per_batch": 5}),
    "ReStyle-pSp, FPN": ("GradualStyleEncoder", 6, {"input_nc": 6, "output_size": 64}),
    "ReStyle-e4e": ("ProgressiveBackboneEncoder", 6, {"input_nc": 6, "output_size": 64}),
}
ITERATIVE = [name for name in FORMATS if name.startswith("ReStyle")]
ONE_PASS = ["e4e", "pSp"]


def make(name: str) -> Inverter:
    """The inverter in a format's file; a ReStyle renders with the generator in the file."""
    encoder_type, channels, _ = FORMATS[name]
    config = dataclasses.replace(TINY_RESTYLE, **TYPES[encoder_type], input_channels=channels)
    return make_restyle(config) if channels == 6 else make_inverter(config)


def write(path: Path, name: str, *changes: Change) -> Path:
    """Write what the public code saves: encoder and generator in one state dict, mean latent, options."""
    encoder_type, _, options = FORMATS[name]
    inverter = make(name)
    checkpoint = {
        "state_dict": published_state(inverter) | published_decoder(make_generator(TINY_RESTYLE)),
        "latent_avg": inverter.latent_avg,
        "opts": {"encoder_type": encoder_type, "device": "cuda:0"} | options,
    }
    for change in changes:
        change(checkpoint)
    torch.save(checkpoint, path)
    return path


def assert_inverts_like(loaded: Inverter, expected: Inverter, tolerance: float = 1e-5) -> None:
    images = make_images(expected.input_size)
    with torch.no_grad():
        codes = loaded.invert(images)
    reference = Reference(expected)
    if isinstance(expected, ReStyle):
        theirs = reference.refine(images, expected.generator)[-1]
    else:
        theirs = reference(images)
    assert codes.dtype == torch.float32
    assert relative_error(codes, theirs) < tolerance


def options(**values: object) -> Change:
    """Set training options; None removes one."""

    def change(checkpoint: Checkpoint) -> None:
        together = checkpoint["opts"] | values
        checkpoint["opts"] = {key: value for key, value in together.items() if value is not None}

    return change


def without(prefix: str) -> Change:
    """Remove all tensors with that prefix; there must be one."""

    def change(checkpoint: Checkpoint) -> None:
        left = {k: t for k, t in checkpoint["state_dict"].items() if not k.startswith(prefix)}
        assert len(left) < len(checkpoint["state_dict"])
        checkpoint["state_dict"] = left

    return change


def with_(name: str, *shape: int) -> Change:
    """Add a tensor, or replace it by one of another shape."""
    return lambda checkpoint: checkpoint["state_dict"].update({name: torch.ones(shape)})


def average(value: object) -> Change:
    return lambda checkpoint: checkpoint.update(latent_avg=value)


# --- good files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["dict", "Namespace"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_the_inverter_that_was_saved(tmp_path: Path, name: str, container: str) -> None:
    def change(checkpoint: Checkpoint) -> None:
        if container == "Namespace":
            checkpoint["opts"] = argparse.Namespace(**checkpoint["opts"])

    path, expected = write(tmp_path / "file", name, change), make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_inverter(path)
    assert type(loaded) is type(expected)
    assert loaded.config == expected.config
    assert not loaded.training
    for key, tensor in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    if isinstance(loaded, ReStyle):
        assert loaded.iterations == 5
        assert loaded.generator.resolution == 64
    path.unlink()
    assert_inverts_like(loaded, expected)


@pytest.mark.parametrize("name", ITERATIVE)
def test_a_given_generator_is_used_instead_of_the_stored_one(tmp_path: Path, name: str) -> None:
    generator = make_generator(TINY_RESTYLE)
    loaded = load_inverter(write(tmp_path / "file", name, without("decoder.")), generator=generator)
    assert isinstance(loaded, ReStyle)
    assert loaded.generator is generator
    assert_inverts_like(loaded, make(name))


@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass_needs_no_generator(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "file", name, without("decoder."))
    assert_inverts_like(load_inverter(path), make(name))
    assert_inverts_like(load_inverter(path, generator=make_generator(TINY_RESTYLE)), make(name))


@pytest.mark.parametrize("shape", [(24,), (1, 24)], ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_an_average_of_one_vector_serves_all_styles(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    vector, expected = torch.linspace(-1, 1, 24), make(name)
    change = average(vector.reshape(shape)), options(learn_in_w=True)
    expected.latent_avg.copy_(vector.expand(10, 24))
    assert_inverts_like(load_inverter(write(tmp_path / "file", name, *change)), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_only_one_pass_encoders_may_not_start_from_the_average(tmp_path: Path, name: str) -> None:
    expected = make(name)
    if name in ONE_PASS:
        expected.latent_avg.zero_()
    path = write(tmp_path / "file", name, options(start_from_latent_avg=False))
    assert_inverts_like(load_inverter(path), expected)


@pytest.mark.parametrize("name", ["e4e", "ReStyle-pSp", "ReStyle-pSp, FPN"])
def test_without_its_type_the_likelier_encoder_is_chosen_and_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "file", name, options(encoder_type=None))
    with pytest.warns(UserWarning, match=rf"file does not say .* read as {FORMATS[name][0]}\.") as caught:
        loaded = load_inverter(path)
    assert caught[0].filename == __file__
    assert loaded.config == make(name).config


@pytest.mark.parametrize("name", FORMATS)
def test_half_precision_of_encoder_and_stored_generator(tmp_path: Path, name: str) -> None:
    loaded = load_inverter(write(tmp_path / "file", name), half=True)
    assert loaded.encoder.backbone.get_parameter("stem.conv.weight").dtype == torch.float16
    assert loaded.latent_avg.dtype == torch.float32
    if isinstance(loaded, ReStyle):
        assert loaded.generator.synthesis.constant.dtype == torch.float16
    assert_inverts_like(loaded, make(name), tolerance=1e-2)


# --- our own format ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_own_files_contain_everything_but_the_generator(tmp_path: Path, name: str, half: bool) -> None:
    expected = make(name)
    generator = None
    if isinstance(expected, ReStyle):
        expected.iterations, generator = 3, expected.generator
    if half:
        expected.use_half()
    save_inverter(expected, tmp_path / "own")
    loaded = load_inverter(tmp_path / "own", generator=generator, half=half)
    assert type(loaded) is type(expected)
    assert loaded.config == expected.config
    assert loaded.state_dict().keys() == expected.state_dict().keys()
    for key, tensor in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
        assert loaded.state_dict()[key].dtype == tensor.dtype
    if isinstance(loaded, ReStyle):
        assert loaded.iterations == 3
        assert loaded.generator is generator


def test_an_own_file_of_half_precision_loads_as_float32(tmp_path: Path) -> None:
    save_inverter(make("e4e").use_half(), tmp_path / "own")
    loaded = load_inverter(tmp_path / "own")
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    assert_inverts_like(loaded, make("e4e"), tolerance=5e-3)


def test_an_own_restyle_needs_its_generator(tmp_path: Path) -> None:
    save_inverter(make("ReStyle-pSp"), tmp_path / "own")
    with pytest.raises(CheckpointError, match=r"own holds a ReStyle encoder.*pass it as generator=…\.$"):
        load_inverter(tmp_path / "own")


@pytest.mark.parametrize("iterations", [0, 11, 2.5, "5", None, [5]])
def test_impossible_iterations_in_an_own_file_are_refused(tmp_path: Path, iterations: Any) -> None:
    inverter = make_restyle()
    inverter._iterations = iterations
    save_inverter(inverter, tmp_path / "own")
    with pytest.raises(CheckpointError, match=r"own cannot be used: iterations must be.*\.$"):
        load_inverter(tmp_path / "own", generator=inverter.generator)


# --- bad files ---------------------------------------------------------------------------------------------

BAD: dict[str, tuple[str, Change, str]] = {
    "ResNet backbone": (
        "ReStyle-pSp",
        options(encoder_type="ResNetBackboneEncoder"),
        "'ResNetBackboneEncoder', which cannot be read: supported are .* and BackboneEncoder",
    ),
    "codes in W": ("pSp", options(encoder_type="BackboneEncoderUsingLastLayerIntoW"), "IntoW.*supported are"),
    "type is no text": ("pSp", options(encoder_type=[1, 2]), "cannot be read: supported are"),
    "type is a long text": ("pSp", options(encoder_type="x\n" * 10**4), "cannot be read: supported are"),
    "three channels called six": ("pSp", options(input_nc=6), "takes '6' input channels.*takes 3"),
    "six channels called three": ("ReStyle-e4e", options(input_nc=3), "takes '3' input channels.*takes 6"),
    "channels are no number": ("pSp", options(input_nc=torch.zeros(9, 9)), "input channels"),
    "sketches": (
        "pSp",
        lambda c: (with_("encoder.input_layer.0.weight", 16, 1, 3, 3)(c), options(input_nc=1)(c)),
        "input_channels must be 3 or 6, not 1",
    ),
    "pyramid called backbone": ("ReStyle-pSp, FPN", options(encoder_type="BackboneEncoder"), "unexpected"),
    "backbone called pyramid": (
        "ReStyle-pSp",
        options(encoder_type="GradualStyleEncoder"),
        "lacks encoder.lateral_middle.weight",
    ),
    "no encoder": ("ReStyle-e4e", without("encoder."), "holds no encoder"),
    "missing key": ("ReStyle-pSp", without("encoder.body.3.res_layer.4.bias"), "lacks .*units.3.norm2.bias"),
    "unexpected key": ("ReStyle-e4e", with_("encoder.latlayer9.weight", 3), "unexpected .*latlayer9"),
    "wrong shape": ("ReStyle-e4e", with_("encoder.styles.4.linear.bias", 23), r"heads.4.*\[23\], not \[24\]"),
    "average of other styles": ("ReStyle-e4e", average(torch.ones(18, 24)), "no average latent"),
    "average is no tensor": ("ReStyle-e4e", average([0.0] * 24), "no average latent"),
    "no decoder": ("ReStyle-pSp", without("decoder."), "ReStyle encoder, .* pass it as generator=…"),
    "decoder without a tensor": ("ReStyle-pSp", without("decoder.conv1.conv.weight"), "lacks"),
    "decoder without a layer": ("ReStyle-e4e", without("decoder.convs.6."), "file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_one_clear_sentence(tmp_path: Path, case: str) -> None:
    name, change, reason = BAD[case]
    path = write(tmp_path / "file", name, change)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_inverter(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < len(str(path)) + 300


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / "file", name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match=r"damaged.*\.$"):
        load_inverter(path)


@pytest.mark.parametrize(
    ("fields", "resolution", "sizes"),
    [({}, 32, "10 styles of 24, but the generator takes 8 of 24"), ({"style_dim": 16}, 64, "takes 10 of 16")],
    ids=["styles", "style_dim"],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_generator_that_does_not_fit_is_refused(
    tmp_path: Path, fields: dict[str, Any], resolution: int, sizes: str, own: bool
) -> None:
    path = write(tmp_path / "file", "ReStyle-pSp")
    if own:
        save_inverter(load_inverter(path), path)
    config: EncoderConfig = dataclasses.replace(TINY_RESTYLE, **fields)
    with pytest.raises(CheckpointError, match=rf"file cannot be used: .*{sizes}\.$"):
        load_inverter(path, generator=make_generator(config, resolution))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x04K\x01.")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "torchscript"))
    for name in ("pickle", "torchscript"):
        with pytest.raises(CheckpointError, match=rf"{name} is a {name} file, which holds no inverter\.$"):
            load_inverter(tmp_path / name)
