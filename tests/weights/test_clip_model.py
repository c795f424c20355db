"""CLIP from all its formats, compared to the `clip` package's own network with the same weights."""

import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refusals
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from micromotion.weights.clip_model import load_clip, save_clip
from micromotion.weights.convert import kind_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning"),
]

SIZES: dict[str, Any] = {
    "embed_dim": 24,
    "image_resolution": 32,
    "vision_layers": 2,
    "vision_width": 128,
    "vision_patch_size": 8,
    "context_length": 10,
    "vocab_size": 100,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 3,
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXTS = torch.randint(0, 100, (2, 10), generator=torch.Generator().manual_seed(0))


def fresh_clip() -> Any:
    """A small CLIP of the package with nonzero biases, its weights exact in float16."""
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CLIP(**SIZES).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.3 * torch.randn(parameter.shape))
                parameter.copy_(parameter.half().float())
    return model


@pytest.fixture(scope="module")
def original() -> Any:
    return fresh_clip()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript file like OpenAI's: traced in float16, with the sizes as buffers."""
    from clip.model import convert_weights

    model = fresh_clip()
    del model.context_length, model.vocab_size
    for name, size in (("input_resolution", 32), ("context_length", 10), ("vocab_size", 100)):
        model.register_buffer(name, torch.tensor(size))
    convert_weights(model)
    images = IMAGES.half()
    calls = {"forward": (images, TEXTS), "encode_image": (images,), "encode_text": (TEXTS,)}
    path = tmp_path_factory.mktemp("clip") / "ViT-B-32.pt"
    with torch.no_grad():
        torch.jit.save(torch.jit.trace_module(model, calls, check_trace=False), path)
    return path


@torch.no_grad()
def assert_equal(model: Any, original: Any) -> None:
    """Check that features of pictures and sentences, and the logits, are equal."""
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    pairs = [
        (model.encode_image(IMAGES), original.encode_image(IMAGES)),
        (model.encode_text(TEXTS), original.encode_text(TEXTS)),
        (model(IMAGES, TEXTS)[0], original(IMAGES, TEXTS)[0]),
    ]
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


assert_refused = partial(refusals.assert_refused, load_clip)


def test_openais_archive_gives_the_same_features(published: Path, original: Any) -> None:
    assert_equal(load_clip(published), original)


def test_openais_archive_is_recognised(published: Path) -> None:
    assert kind_of(published) == "clip"


def test_a_state_dict_gives_the_same_features(tmp_path: Path, original: Any) -> None:
    path = tmp_path / "clip.pt"
    sizes = {"input_resolution": torch.tensor(32), "vocab_size": torch.tensor(100)}
    for legacy in (True, False):
        torch.save(original.state_dict() | sizes, path, _use_new_zipfile_serialization=not legacy)
        assert_equal(load_clip(str(path)), original)


@pytest.mark.parametrize("half", [False, True])
def test_saved_files_survive_a_round_trip(half: bool, tmp_path: Path, original: Any) -> None:
    path = tmp_path / "clip.safetensors"
    save_clip(original, path)
    if half:
        with_metadata(path, {name: tensor.half() for name, tensor in load_file(path).items()})
    assert_equal(load_clip(path), original)
    assert list(tmp_path.iterdir()) == [path]


def with_metadata(path: Path, state: dict[str, Tensor], kind: str = "clip") -> None:
    save_file(state, path, {"format": "micromotion/1", "kind": kind, "config": "{}"})


def fresh_resnet() -> Any:
    """A small CLIP with a ResNet for the pictures, with random statistics and gains."""
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = CLIP(**SIZES | {"vision_layers": (1, 2, 1, 1), "vision_width": 4}).eval()
        for name, tensor in model.state_dict().items():
            if "running_var" in name or name.endswith("bn3.weight"):
                tensor.uniform_(0.5, 2)
    return model


def test_a_resnet_survives_a_round_trip_too(tmp_path: Path) -> None:
    original = fresh_resnet()
    save_clip(original, tmp_path / "clip.safetensors")
    torch.save(original.state_dict(), tmp_path / "clip.pt")
    for file in ("clip.safetensors", "clip.pt"):
        assert_equal(load_clip(tmp_path / file), original)
    assert kind_of(tmp_path / "clip.pt") == "clip"


def test_half_precision_files_give_nearly_the_same_features(tmp_path: Path) -> None:
    original = fresh_resnet()
    save_clip(original, tmp_path / "clip.safetensors")
    whole = (tmp_path / "clip.safetensors").stat().st_size
    save_clip(original, tmp_path / "clip.safetensors", half=True)
    assert (tmp_path / "clip.safetensors").stat().st_size < 0.6 * whole
    with torch.no_grad():
        found, exact = (
            model(IMAGES, TEXTS)[0] for model in (load_clip(tmp_path / "clip.safetensors"), original)
        )
    torch.testing.assert_close(found, exact, atol=1e-2, rtol=1e-2)
    assert not torch.equal(found, exact)


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        (lambda s: s.pop("visual.layer1.0.conv1.weight"), "lacks visual.layer1.0.conv1.weight"),
        (lambda s: s.pop("visual.bn1.running_mean"), "lacks visual.bn1.running_mean"),
        (lambda s: [s.pop(name) for name in list(s) if name.startswith("visual.layer3.")], "0 layers"),
        (lambda s: s.update({"visual.layer1.0.conv1.weight": torch.ones(5, 4, 1, 1)}), "width 5"),
        (lambda s: s.update({"visual.attnpool.positional_embedding": torch.ones(10**4, 1)}), "impossible"),
        (lambda s: s.update({"visual.attnpool.positional_embedding": torch.ones(7, 128)}), "positional"),
    ],
)
def test_bad_resnets_are_refused(
    change: Callable[[dict[str, Any]], object], mention: str, tmp_path: Path
) -> None:
    state = dict(fresh_resnet().state_dict())
    change(state)
    torch.save(state, tmp_path / "bad.pt")
    assert_refused(tmp_path / "bad.pt", mention)


def test_words_do_not_attend_to_later_words(published: Path) -> None:
    """The mask is not in the file, and without it CLIP would still give plausible features."""
    model = load_clip(published)
    texts = TEXTS.clone()
    texts[:, 4] = 99  # the end of the sentence, whose features count
    with torch.no_grad():
        before = model.encode_text(texts)
        texts[:, 5:] = 0
        after = model.encode_text(texts)
        texts[:, 3] = 0
        assert torch.equal(before, after)
        assert not torch.equal(before, model.encode_text(texts))


def test_pictures_get_gradients(published: Path) -> None:
    images = IMAGES.clone().requires_grad_()
    load_clip(published)(images, TEXTS)[0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0


def test_loading_draws_no_random_numbers_and_runs_no_code(
    published: Path, tmp_path: Path, original: Any
) -> None:
    bare = tmp_path / "bare.pt"
    with zipfile.ZipFile(published) as source, zipfile.ZipFile(bare, "w") as target:
        assert target.fp is not None
        for name in source.namelist():
            entry = zipfile.ZipInfo(name)
            entry.extra = bytes(-(target.fp.tell() + 30 + len(name)) % 64)
            target.writestr(entry, b"raise this" if "/code/" in name else source.read(name))
    state = torch.random.get_rng_state()
    assert_equal(load_clip(bare), original)
    assert torch.equal(state, torch.random.get_rng_state())


# --- what is refused --------------------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    state = dict(fresh_clip().state_dict())
    change(state)
    return state


def stretched(name: str, *shape: int) -> Callable[[dict[str, Any]], object]:
    """Expand one number to the tensor's shape."""
    return lambda state: state.update({name: torch.ones(1).expand(*shape)})


BAD: dict[str, tuple[Callable[[dict[Any, Any]], object], str]] = {
    "no transformer for pictures": (lambda s: s.pop("visual.proj"), "vision transformer"),
    "nothing": (lambda s: s.clear(), "vision transformer"),
    "missing": (lambda s: s.pop("visual.ln_pre.weight"), "lacks visual.ln_pre.weight"),
    "missing size": (lambda s: s.pop("text_projection"), "lacks text_projection"),
    "unexpected": (lambda s: s.update(extra=torch.ones(1)), "unexpected extra"),
    "wrong shape": (lambda s: s.update(logit_scale=torch.ones(2)), "shape [2], not []"),
    "integers": (lambda s: s.update(logit_scale=torch.tensor(1)), "logit_scale"),
    "text": (lambda s: s.update(logit_scale="text"), "not of a CLIP model"),
    "numbered names": (lambda s: s.update({7: torch.ones(1)}), "not of a CLIP model"),
    "without data": (lambda s: s.update(logit_scale=torch.ones((), device="meta")), "not of a CLIP model"),
    "odd width": (stretched("ln_final.weight", 65), "impossible"),
    "no width": (stretched("ln_final.weight", 1, 0), "impossible"),
    "flat": (stretched("visual.conv1.weight", 1), "impossible"),
    "endless sentences": (stretched("positional_embedding", 10**6, 64), "impossible"),
    "endless pictures": (stretched("visual.positional_embedding", 10**6, 128), "impossible"),
    "endless width": (stretched("visual.conv1.weight", 10**6, 3, 8, 8), "impossible"),
    "no layers": (lambda s: [s.pop(name) for name in list(s) if name.startswith("transformer.")], "0 layers"),
    "endless layers": (
        lambda s: s.update({f"transformer.resblocks.{i}.x": torch.ones(1) for i in range(200)}),
        "200 layers",
    ),
    "numbers repeated": (stretched("token_embedding.weight", 10**6, 64), "more numbers"),
    "a picture that is no square": (stretched("visual.positional_embedding", 15, 128), "shape [15, 128]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_models_are_refused(name: str, tmp_path: Path) -> None:
    change, mention = BAD[name]
    path = tmp_path / "bad.pt"
    torch.save(edited(change), path)
    assert_refused(path, mention)


def test_archives_of_other_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert_refused(path, "vision transformer")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/data.pkl", pickle.dumps([1]))
        archive.writestr("other/constants.pkl", pickle.dumps([1]))
    assert_refused(path, "no module")


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.pt", "no model file")
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps({"visual.proj": 1}, 4))
    assert_refused(path, "pickle")
    with_metadata(path, {"visual.proj": torch.ones(1)}, "stylegan2")
    assert_refused(path, "not of a clip model")
    with_metadata(path, {"visual.proj": torch.ones(1)})
    assert_refused(path, "lacks")


def test_truncated_archives_are_refused(published: Path, tmp_path: Path) -> None:
    whole, path = published.read_bytes(), tmp_path / "cut.pt"
    for kept in np.linspace(5, len(whole) - 1, 25).astype(int):
        path.write_bytes(whole[:kept])
        assert_refused(path)


def test_flipped_bytes_are_refused_or_harmless(published: Path, tmp_path: Path) -> None:
    """Most of the file is weights and code; only the pickle and the zip directory can do harm."""
    with zipfile.ZipFile(published) as archive:
        contents = archive.start_dir
    path = Path(shutil.copy(published, tmp_path / "bad.pt"))
    places = [(0, 20_000)] * 30 + [(contents, path.stat().st_size)] * 30
    assert refusals.count_of_flipped(load_clip, path, places) > 20
