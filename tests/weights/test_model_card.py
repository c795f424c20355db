"""The model card: front matter that the hub reads, what the record says, and text that stays text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from micromotion.weights.model_card import LICENCES, licence_tag, model_card, motion_card


def front_matter(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_a_card_says_what_the_record_says() -> None:
    about = {
        "training": {"data": "drawn heads", "generator": "a week"},
        "sources": {"ViT-B-32.pt": {"licence": "MIT"}, "mine.pt": {"parts": []}},
    }
    card = model_card("me/heads", "heads", about, ["smile", "wink"], "MIT; made from nothing else")
    assert front_matter(card) == {
        "license": "mit",
        "library_name": "micromotion",
        "pipeline_tag": "image-to-video",
        "tags": ["face-animation"],
    }
    for expected in (
        "# heads\n",
        "`smile`, `wink`",
        "--model hf://me/heads\n",
        'Animator.load("hf://me/heads")',
        "## What it was trained on\n\n- data: drawn heads\n- generator: a week\n",
        "## Limits\n",
        "## Licence\n\nMIT; made from nothing else\n- ViT-B-32.pt: MIT\n",
    ):
        assert expected in card
    assert "mine.pt" not in card


def test_what_a_record_does_not_say_is_said() -> None:
    card = model_card("me/heads", "heads", {}, [], "mit")
    assert "## What it was trained on\n\nIt does not say.\n" in card
    assert "## What it was learned from\n\nIt does not say.\n" in motion_card(
        "a/b", "c.safetensors", {}, "mit"
    )


@pytest.mark.parametrize(
    ("licence", "tag"),
    [
        ("MIT", "mit"),
        ("MIT; made by this repository from nothing else", "mit"),
        ("MIT License", "mit"),
        ("Apache 2.0", "apache-2.0"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("cc0-1.0.", "cc0-1.0"),
        ("mitigated", "other"),
        ("All rights reserved", "other"),
        ("…", "other"),
    ],
)
def test_a_licence_becomes_the_hubs_identifier(licence: str, tag: str) -> None:
    assert licence_tag(licence) == tag
    found = front_matter(model_card("me/a", "a", {}, [], licence))
    assert found["license"] == tag
    assert ("license_name" in found) == (tag == "other")
    assert all(licence_tag(each) == each for each in LICENCES)


def test_text_of_a_record_stays_text() -> None:
    """No headings, links, tags or second front matter come from a record."""
    evil = "x\n---\nlicense: other\n---\n# Heading\n<script>[a](javascript:b)`c`{repo}"
    about = {"training": evil, "sources": {evil: {"licence": evil}}}
    card = model_card("me/a", evil, about, [], "mit")
    assert front_matter(card)["license"] == "mit"
    assert "<script>" not in card
    assert "[a](" not in card
    assert "\n# Heading" not in card
    assert card.count("\n---\n") == 1
    assert "\\<script\\>\\[a\\](javascript:b)" in card
