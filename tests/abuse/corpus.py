"""The whole corpus in a fixed order, and a sample with every kind."""

from __future__ import annotations

import random
from itertools import chain

from abuse.checkpoints import checkpoints
from abuse.items import Item
from abuse.names import names
from abuse.pictures import pictures
from abuse.requests import fetched, requests
from abuse.templates import templates
from abuse.tensors import bundles, uploads
from abuse.videos import driving, videos
from abuse.world import World


def corpus(world: World) -> list[Item]:
    """Every item; the names are unique."""
    photo = world.folder / "photo.jpg"
    items = list(
        chain(
            requests(world.photo),
            fetched(world.elsewhere.base),
            templates(world.photo),
            uploads(world.photo, world.styles, world.style_dim),
            pictures(world.picture),
            bundles(world.model, photo),
            checkpoints(),
            names(world.model, photo),
            videos(world.model, world.picture),
            driving(world.photo, world.picture),
        )
    )
    assert len({(item.group, item.name) for item in items}) == len(items)
    return items


def sample(items: list[Item], per_group: dict[str, int], seed: int) -> list[Item]:
    """A number of items per group, drawn by the seed, in the corpus's order."""
    rng = random.Random(seed)
    chosen: set[int] = set()
    for group, count in per_group.items():
        places = [place for place, item in enumerate(items) if item.group == group]
        chosen.update(rng.sample(places, min(count, len(places))))
    return [items[place] for place in sorted(chosen)]
