"""What pictures are scored by while anchors are collected: CLIP's opinion on a sentence, and likeness.

The losses of StyleCLIP's latent optimisation (Patashnik et al. 2021, arXiv 2103.17249) with what
wuqiuche/micromotion-styleGAN made of them. Pictures go into CLIP as they are, in [-1, 1], without CLIP's own
normalisation, as there. Every size is read from the networks.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from encoder4editing.identity import ALIGNED_SIZE, IdentityNet
from micromotion.errors import OptionError
from micromotion.learn.pooling import area_pool
from micromotion.learn.template import EXAMPLE
from micromotion.weights.clip_model import KnownTokens

if TYPE_CHECKING:
    from clip.model import CLIP


class Scores(NamedTuple):
    """Losses of pictures, each [B], and the pictures as CLIP saw them, [B, 3, S, S] in [-1, 1]."""

    clip: Tensor
    identity: Tensor
    seen: Tensor


class TextLoss:
    """Scores pictures, the i-th of them against the i-th sentence and all against one person.

    Args:
        clip: in eval mode; says how well a picture fits a sentence.
        identity: in eval mode; says whether it is still the same person.
        sentences: one for each picture to come.
        person: the picture of the person, [1, 3, R, R] in [-1, 1].

    Raises:
        OptionError: the sentences are too long for CLIP, or it does not know a word of them.
    """

    def __init__(self, clip: "CLIP", identity: IdentityNet, sentences: Sequence[str], person: Tensor) -> None:
        self.clip, self.identity = clip, identity
        with torch.no_grad():
            self.texts = text_features(clip, sentences)
            self.person = self._likeness(person)

    def __call__(self, images: Tensor, which: slice = slice(None)) -> Scores:
        """Score images [B, 3, R, R], nominally in [-1, 1], against the sentences of `which`, differentiably.

        The CLIP loss is 1 − logits/100, the identity loss 1 − the dot product of the unit features.
        """
        seen = area_pool(images, self.clip.visual.input_resolution)
        features = F.normalize(self.clip.encode_image(seen), dim=1)
        fit = (features * self.texts[which]).sum(dim=1)
        alike = (self._likeness(images) * self.person).sum(dim=1)
        return Scores(1 - self.clip.logit_scale.exp() * fit / 100, 1 - alike, seen)

    def _likeness(self, images: Tensor) -> Tensor:
        """The identity features; large pictures are brought to the net's 256² here, where it costs less."""
        if images.shape[-1] > ALIGNED_SIZE:
            images = area_pool(images, ALIGNED_SIZE)
        return self.identity.features(images)


def text_features(clip: "CLIP", sentences: Sequence[str]) -> Tensor:
    """CLIP's features of sentences, [N, D] of unit length on its device. Raises as `tokenize`."""
    ids = tokenize(sentences, clip)
    return F.normalize(clip.encode_text(ids.to(clip.logit_scale.device)), dim=1)


def tokenize(sentences: Sequence[str], clip: "CLIP") -> Tensor:
    """The ids of the sentences' tokens, int64 [N, context length of the model].

    Raises OptionError, in one sentence, for a sentence that is too long for the model, or that has a word
    which a model of few words does not know.
    """
    with warnings.catch_warnings():  # clip needs the pkg_resources of the setuptools that we pin
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")
        import clip as package
    rows = []
    for sentence in sentences:
        try:
            rows.append(package.tokenize(sentence, clip.context_length))
        except RuntimeError as error:
            raise OptionError(
                f"The sentence {sentence!r:.120} is too long for this model's CLIP, which reads "
                f"{clip.context_length - 2} tokens, each a short word or a part of one: say less, "
                f'as in "{EXAMPLE}".'
            ) from error
    ids = torch.cat(rows)
    if isinstance(clip.token_embedding, KnownTokens):
        _require_known(ids, clip.token_embedding.tokens.cpu())
    return ids


def _require_known(ids: Tensor, known: Tensor) -> None:
    unknown = ids[~torch.isin(ids, known)].unique()
    if len(unknown):
        from clip.simple_tokenizer import SimpleTokenizer

        tokenizer = SimpleTokenizer()
        words = ", ".join(repr(tokenizer.decode([token]).strip()) for token in unknown.tolist()[:5])
        raise OptionError(
            f"This model's CLIP knows few words, and not {words}: say it in others, "
            f'as in "{EXAMPLE}", or take a model with the large CLIP.'
        )
