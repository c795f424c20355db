"""Captions: sentences that state what a head shows, and how wrong each is for each head.

A caption is drawn for a head from the table in ``avatar.data.wordings``. It carries its facts as ranges of
*readings*, numbers computed from a head's factors, so that it can be tested against any other head: a
training batch must not count a caption as wrong for a head that it fits as well as its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from avatar.data.wordings import DEGREES, FRAMES, NOUNS, OTHER, SAYINGS, SPAN, Degree, Range, Saying
from avatar.renderer.factors import FACTORS, Factors
from avatar.renderer.sdf import smoothstep

READINGS = (
    *("smile", "anger", "eyes_closed", "age", "mouth_open", "right", "left", "turn", "up", "down"),
    *("glasses", "beard", "moustache", "cut", "baldness", "grey", "fair", "skin_tone"),
)

STEP = 0.05
"""Tolerance of a percentage: they are stated in tens."""
IDIOM, LIST, PLAIN = 0.4, 0.35, 0.02
"""Shares of captions: one fact in a full sentence; a list of facts among the others; nothing stated."""
COUNTS = (0.45, 0.35, 0.20)  # of one, two and three facts

T = TypeVar("T")


@dataclass(frozen=True)
class Caption:
    """A sentence, and what must hold for it to be true."""

    text: str
    facts: tuple[Range, ...]


def read(f: Factors) -> Tensor:
    """The readings [B, len(READINGS)] of heads with these factors."""
    tone = f["skin_tone"]
    values = {
        "right": f["yaw"].clamp(min=0),
        "left": (-f["yaw"]).clamp(min=0),
        "turn": f["yaw"].abs(),
        "down": f["pitch"].clamp(min=0),
        "up": (-f["pitch"]).clamp(min=0),
        "cut": 10 * f["hair_cut"],
        "grey": smoothstep(0.15, 0.95, f["age"]),
        # as the renderer darkens hair with the skin
        "fair": f["hair_colour"] * (1 - 0.55 * smoothstep(0.55, 1.0, tone)),
    }
    return torch.cat([values[name] if name in values else f[name] for name in READINGS], dim=1)


def captions(
    readings: Tensor, rng: torch.Generator, about: Sequence[str | None] | None = None
) -> list[Caption]:
    """A caption for each head.

    Args:
        readings: [B, len(READINGS)], from ``read``.
        rng: source of all random choices.
        about: for each head a topic that its caption states if there are words for it, or None for any.
    """
    wanted = about or [None] * len(readings)
    return [
        caption(dict(zip(READINGS, values, strict=True)), rng, topic)
        for values, topic in zip(readings.tolist(), wanted, strict=True)
    ]


def caption(values: Mapping[str, float], rng: torch.Generator, about: str | None = None) -> Caption:
    """A caption that is true of a head with these readings, ``about`` a topic of the tables (None: any)."""
    if about is None and _chance(PLAIN, rng):
        return Caption(_frame("", rng), ())
    if _chance(IDIOM, rng) and (about is None or about in DEGREES):
        degree = _degree(about or _pick(tuple(DEGREES), rng), values, rng)
        word, fact = _percent(degree.reading, values[degree.reading], rng)
        return Caption(_fill(_pick(degree.whole, rng), word, verbatim=degree.whole[:1]), (fact,))
    topics = _topics(about, rng)
    sayings = [saying for topic in topics for saying in _sayings(topic, values, rng)]
    if not sayings:
        return caption(values, rng)
    text = _list(sayings, rng) if _chance(LIST, rng) else _sentence(sayings, rng)
    return Caption(text, tuple(dict.fromkeys(fact for saying in sayings for fact in saying.when)))


def misses(said: Sequence[Caption], readings: Tensor) -> Tensor:
    """How wrong captions are for heads, [heads, captions]: 0 is true, and every fact adds up to 1.

    The degree of a motion counts by its difference: "100% smile" is wrong by 1 for a serious face, and by a
    half for one that half smiles.
    """
    most = max(1, *(len(c.facts) for c in said))
    always: Range = (READINGS[0], -1e9, 1e9)
    facts = [[*c.facts, *([always] * (most - len(c.facts)))] for c in said]
    index = torch.tensor([[READINGS.index(name) for name, _, _ in row] for row in facts])
    bounds = torch.tensor([[(low, high, SPAN.get(name, 1.0)) for name, low, high in row] for row in facts])
    low, high, span = bounds.to(readings.device).unbind(dim=2)
    value = readings[:, index.to(readings.device)]
    outside = torch.maximum(low - value, value - high).clamp(min=0)
    return (outside / span).clamp(max=1).sum(dim=2)


def topic_of(factor: int) -> str | None:
    """The topic that states a factor, given by its index in FACTORS; None if there are no words for it."""
    if factor < 0:
        return None
    name = FACTORS[factor].name
    also = {"pitch": "nod", "moustache": "beard", "hair_cut": "hair", "hair_colour": "hair colour"}
    topic = also.get(name, name)
    return topic if topic in SAYINGS else None


def ends(motion: str) -> tuple[str, str]:
    """The captions that a motion's anchors are collected with: at its full degree and at none."""
    template = DEGREES[motion].whole[0]
    return template.format(degree="100%"), template.format(degree="no")


def wordings() -> Iterator[str]:
    """Every wording that a caption may contain, except the words of OTHER."""
    percent = [f"{p}%" for p in range(0, 101, 10)]
    yield from (*NOUNS, *FRAMES, *percent, "no a an with and , . who is 10%, 10%.")
    for degree in DEGREES.values():
        yield from (*degree.whole, *degree.before, *degree.after, *degree.alone)
    for sayings in SAYINGS.values():
        for saying in sayings:
            yield from (*saying.before, *saying.after, *saying.alone)


def _topics(about: str | None, rng: torch.Generator) -> list[str]:
    count = 1 + int(torch.multinomial(torch.tensor(COUNTS), 1, generator=rng))
    names = tuple(SAYINGS)
    chosen = [names[i] for i in torch.randperm(len(names), generator=rng)[:count].tolist()]
    if about is not None and about not in chosen:
        chosen[int(torch.randint(count, (1,), generator=rng))] = about
    return chosen


def _sayings(topic: str, values: Mapping[str, float], rng: torch.Generator) -> list[Saying]:
    """At most one saying of a topic: in words, or as a percentage; a percentage where no words fit."""
    true = [s for s in SAYINGS[topic] if all(low <= values[name] <= high for name, low, high in s.when)]
    if topic in DEGREES and (not true or _chance(0.3, rng)):
        degree = _degree(topic, values, rng)
        word, fact = _percent(degree.reading, values[degree.reading], rng)
        before, after, alone = (
            tuple(_fill(text, word) for text in texts)
            for texts in (degree.before, degree.after, degree.alone)
        )
        # "no" before a noun would deny the noun: "no aged person"
        return [Saying((fact,), before if word != "no" else (), after, alone)]
    return [_pick(true, rng)] if true else []


def _percent(reading: str, value: float, rng: torch.Generator) -> tuple[str, Range]:
    tens = round(10 * value)
    word = f"{10 * tens}%" if tens or _chance(0.3, rng) else "no"
    return word, (reading, tens / 10 - STEP, tens / 10 + STEP)


def _degree(topic: str, values: Mapping[str, float], rng: torch.Generator) -> Degree:
    """Wordings of a motion's degree; for a turn, now and then those of the other side, with degree 0.

    Few heads look straight ahead, so "turned no to the right" would otherwise hardly ever be learned.
    """
    if topic not in ("yaw", "yaw_left"):
        return DEGREES[topic]
    other = _chance(0.25, rng)
    return DEGREES["yaw_left" if (values["left"] > 0) != other else "yaw"]


def _fill(text: str, word: str, verbatim: Sequence[str] = ()) -> str:
    """Put a degree into a wording and adapt the article before it, except in ``verbatim`` sentences."""
    if text not in verbatim:
        text = text.replace("a {degree}", "no" if word == "no" else _article(word) + word)
    return text.replace("{degree}", word)


def _list(sayings: Sequence[Saying], rng: torch.Generator) -> str:
    """ "very old, eyes closed", sometimes after "a person"."""
    parts = [_pick(s.alone or s.before or s.after, rng) for s in sayings]
    if _chance(0.3, rng):
        parts.insert(0, _frame("", rng))
    return ", ".join(parts)


def _sentence(sayings: Sequence[Saying], rng: torch.Generator) -> str:
    """ "a smiling person with glasses and no beard": at most one wording goes before the noun."""
    adjective, rest = "", []
    for saying in sayings:
        can_lead = bool(saying.before) and not adjective
        if can_lead and (not saying.after or _chance(0.4, rng)):
            adjective = _pick(saying.before, rng)
        else:
            rest.append(saying)
    subject = _frame(adjective, rng)
    after = [_pick(s.after, rng) for s in rest if s.after]
    alone = [_pick(s.alone, rng) for s in rest if not s.after]
    return ", ".join([subject + (" with " + " and ".join(after) if after else ""), *alone])


def _frame(adjective: str, rng: torch.Generator) -> str:
    noun = _pick(OTHER, rng) if _chance(0.06, rng) else _pick(NOUNS, rng)
    words = f"{adjective} {noun}".strip()
    return _pick(FRAMES, rng) + _article(words) + words


def _article(words: str) -> str:
    if words == "someone":
        return ""
    return "an " if words[0] in "aeio8" else "a "


def _pick(options: Sequence[T], rng: torch.Generator) -> T:
    return options[int(torch.randint(len(options), (1,), generator=rng))]


def _chance(probability: float, rng: torch.Generator) -> bool:
    return float(torch.rand(1, generator=rng)) < probability
