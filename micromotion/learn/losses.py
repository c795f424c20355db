"""The losses of collecting anchors from text: CLIP's match with a sentence, and identity.

The losses of StyleCLIP's latent optimisation (Patashnik et al. 2021, arXiv 2103.17249) as modified in
wuqiuche/micromotion-styleGAN. As there, CLIP gets pictures in [-1, 1], without its own normalisation. All
sizes are read from the networks.
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
    """Losses of pictures, each [B], and the pictures as given to CLIP, [B, 3, S, S] in [-1, 1]."""

    clip: Tensor
    identity: Tensor
    seen: Tensor


class TextLoss:
    """Scores pictures: the i-th against the i-th sentence, and all against one person.

    Args:
        clip: in eval mode; scores how well a picture matches a sentence.
        identity: in eval mode; scores whether it is still the same person.
        sentences: one per picture.
        person: the picture of the person, [1, 3, R, R] in [-1, 1].

    Raises:
        OptionError: a sentence is too long for CLIP, or has a word that it does not know.
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
        """The identity features; large pictures are first pooled to the network's 256², which is cheaper."""
        if images.shape[-1] > ALIGNED_SIZE:
            images = area_pool(images, ALIGNED_SIZE)
        return self.identity.features(images)


def text_features(clip: "CLIP", sentences: Sequence[str]) -> Tensor:
    """CLIP's features of sentences, [N, D] of unit length on its device. Raises as `tokenize`."""
    ids = tokenize(sentences, clip)
    return F.normalize(clip.encode_text(ids.to(clip.logit_scale.device)), dim=1)


def tokenize(sentences: Sequence[str], clip: "CLIP") -> Tensor:
    """The sentences' token ids, int64 [N, context length of the model].

    Raises OptionError for a sentence that is too long for the model, or has a word outside its vocabulary.
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
                f"{clip.context_length - 2} tokens, each a short word or a part of one: shorten it, "
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
            f"This model's CLIP has a small vocabulary without {words}: use other words, "
            f'as in "{EXAMPLE}", or a model with the large CLIP.'
        )
