"""CLIP, which scores how well a picture fits a sentence (Radford et al. 2021, arXiv 2103.00020).

The network is that of the `clip` package. Its own loader would execute OpenAI's TorchScript files; here they
are read as data, and every size is inferred from the shapes of the tensors.
"""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.checkpoints.layout import Contents, Sought, contents_of, find
from stylegan2.checkpoints.storage import (
    CheckpointError,
    State,
    assign_state,
    file_kind,
    is_ours,
    read_safetensors,
    skeleton,
    write_safetensors,
)
from stylegan2.checkpoints.unpickling import Inert, read_torchscript, walk
from stylegan2.errors import about

if TYPE_CHECKING:
    from clip.model import CLIP

KIND = "clip"
CLIP_MODEL = Sought(
    "a CLIP model with a vision transformer or a ResNet",
    ("visual.conv1.weight", "token_embedding.weight", "text_projection"),
)
HEAD_WIDTH = 64  # of an attention head, in all of OpenAI's models
MAX_WIDTH, MAX_LAYERS, MAX_TOKENS = 8192, 128, 4096
KNOWN = "token_embedding.tokens"
SIZES = {"input_resolution", "context_length", "vocab_size"}  # OpenAI's files repeat them as tensors


class KnownTokens(nn.Embedding):
    """An embedding of some of the tokens of `clip.tokenize`; all others share the row of token 0.

    A small model knows few words, and OpenAI's 49,408 rows would be most of its file. It takes the same ids.

    Args:
        tokens: int64 [N], the tokens with a row of their own, ascending from 0.
        width: length of a row.
    """

    tokens: Tensor

    def __init__(self, tokens: Tensor, width: int) -> None:
        super().__init__(len(tokens), width)
        self.register_buffer("tokens", tokens)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] to [..., width]."""
        rows = torch.searchsorted(self.tokens, ids.contiguous()).clamp(max=len(self.tokens) - 1)
        return F.embedding(rows * (self.tokens[rows] == ids), self.weight)


def load_clip(path: str | Path, *, device: str | torch.device = "cpu") -> "CLIP":
    """Read a CLIP model with a vision transformer or a ResNet as image encoder: float32, in eval mode.

    Supports OpenAI's TorchScript files (`ViT-B-32.pt`), PyTorch and safetensors files of its state dict,
    however wrapped (see `stylegan2.checkpoints.layout`), and our own safetensors; float16 weights are
    converted. A file that lists its `token_embedding.tokens` gets `KnownTokens`. Raises CheckpointError, one
    sentence, for any other file and for a missing, damaged or misfitting one. Needs the packages clip and
    torchvision.
    """
    path = Path(path)
    state = _read(path, device)
    with about(path):
        model = _lay_out(state)
    assign_state(model, state, path)
    with about(path):
        _check_tokens(model.token_embedding)
    mask = model.build_attention_mask().to(device)  # a plain attribute, which no file holds
    for block in model.transformer.resblocks:
        block.attn_mask = mask
    return model.to(device).eval()


def save_clip(model: "CLIP", path: str | Path, *, half: bool = False) -> None:
    """Write a CLIP model atomically as safetensors that `load_clip` reads. Raises OSError.

    With `half`, matrices and convolutions are stored as float16; loading converts them to float32.
    """
    state = model.state_dict()
    if half:
        state = {
            name: tensor.half() if tensor.ndim > 1 and tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
    write_safetensors(path, KIND, {}, state)


def _read(path: Path, device: str | torch.device) -> State:
    """The state dict in a file; on `device` if in our own format, else on the CPU."""
    if is_ours(path):
        return read_safetensors(path, KIND, device)[1]
    if file_kind(path) == "torchscript":
        module = read_torchscript(path)
        with about(path):
            return _from_torchscript(module)
    contents = contents_of(path, "CLIP model")
    with about(path):
        return _from_public(contents)


def _from_torchscript(root: Any) -> State:
    """The parameters among the attributes of a TorchScript module and its submodules."""
    if type(root) is not Inert:
        raise CheckpointError("is a TorchScript archive, but holds no module")
    state = {}
    for module, record in walk(root, _attributes):
        for name, value in _attributes(record).items():
            if isinstance(value, Tensor) and name != "attn_mask" and not (module == "" and name in SIZES):
                state[f"{module}.{name}" if module else name] = value
    return state


def _attributes(record: Inert) -> dict[str, Any]:
    return record.state if isinstance(record.state, dict) else {}


def _from_public(contents: Contents) -> State:
    return {name: tensor for name, tensor in find(contents, CLIP_MODEL).state.items() if name not in SIZES}


def _lay_out(state: State) -> "CLIP":
    """A CLIP without weights, sized by the tensors' shapes."""
    vision = _resnet(state) if "visual.attnpool.positional_embedding" in state else _transformer(state)
    text_width = _width(state, "ln_final.weight")
    sizes = vision | {
        "embed_dim": _size(state, "text_projection", 1),
        "context_length": _size(state, "positional_embedding", 0, MAX_TOKENS),
        "vocab_size": _size(state, "token_embedding.weight", 0, 1 << 20),
        "transformer_width": text_width,
        "transformer_heads": text_width // HEAD_WIDTH,
        "transformer_layers": _count(state, "transformer.resblocks."),
    }
    with warnings.catch_warnings():  # clip needs the pkg_resources of the setuptools that we pin
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")
        from clip.model import CLIP
    with skeleton():
        model = CLIP(**sizes)
        if KNOWN in state:
            known = torch.empty(_size(state, KNOWN, 0, 1 << 20), dtype=torch.int64)
            model.token_embedding = KnownTokens(known, text_width)
        return model


def _transformer(state: State) -> dict[str, Any]:
    """The sizes of a vision transformer (such as ViT-B/32)."""
    if "visual.proj" not in state:
        raise CheckpointError("holds no CLIP model with a vision transformer or a ResNet")
    patch = _size(state, "visual.conv1.weight", 3)
    patches = _size(state, "visual.positional_embedding", 0, MAX_TOKENS) - 1
    return {
        "image_resolution": patch * round(patches**0.5),
        "vision_layers": _count(state, "visual.transformer.resblocks."),
        "vision_width": _width(state, "visual.conv1.weight"),
        "vision_patch_size": patch,
    }


def _resnet(state: State) -> dict[str, Any]:
    """The sizes of CLIP's ResNet (such as RN50), whose attention heads have the same width."""
    width = _size(state, "visual.layer1.0.conv1.weight", 0)
    if width % 2:
        raise CheckpointError(f"describes an impossible CLIP model: a ResNet of width {width}")
    positions = _size(state, "visual.attnpool.positional_embedding", 0, MAX_TOKENS) - 1
    return {
        "image_resolution": 32 * round(positions**0.5),
        "vision_layers": tuple(_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)),
        "vision_width": width,
        "vision_patch_size": None,
    }


def _size(state: State, name: str, dim: int, most: int = MAX_WIDTH) -> int:
    if name not in state:
        raise CheckpointError(f"lacks {name}")
    shape = state[name].shape
    if len(shape) <= dim or not 1 <= shape[dim] <= most:
        raise CheckpointError(f"describes an impossible CLIP model: {name} has shape {list(shape)}")
    return shape[dim]


def _width(state: State, name: str) -> int:
    width = _size(state, name, 0)
    if width % HEAD_WIDTH:
        raise CheckpointError(f"describes an impossible CLIP model: {name} has length {width}")
    return width


def _count(state: State, prefix: str) -> int:
    """How many numbered parts follow a prefix."""
    numbered = re.compile(re.escape(prefix) + r"(\d{1,3})\.")
    found = {number[1] for name in state if (number := numbered.match(name))}
    if not 1 <= len(found) <= MAX_LAYERS:
        raise CheckpointError(f"describes an impossible CLIP model of {len(found)} layers")
    return len(found)


def _check_tokens(embedding: nn.Embedding) -> None:
    if isinstance(embedding, KnownTokens):
        tokens = embedding.tokens
        if tokens[0] != 0 or bool((tokens[1:] <= tokens[:-1]).any()):
            raise CheckpointError("describes an impossible CLIP model: its tokens do not ascend from 0")
