"""The data set of the identity network: people, each rendered several times as they might be met.

What makes a person is skull, features, skin, hair and beard. What they do, how they are lit, where they stand
and what they wear, glasses too, is drawn anew for every picture; so is age, as growing older is one of the
motions and must leave a person who they are.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from avatar.dataset import SHARD, SIZE, check, command, paint, write
from avatar.factors import INDEX, MOTIONS, Z_DIM, fill_to_norm, sample_motion_z

VIEWS = 8
PASSING = (
    *(*MOTIONS, "mouth_open", "pitch", "roll", "gaze_x", "gaze_y"),
    *("light_azimuth", "light_elevation", "light_warmth", "fill"),
    *("background_hue", "background_value", "background_saturation"),
    *("clothes_hue", "clothes_value", "clothes_saturation", "collar"),
    *("glasses", "glasses_shape", "glasses_hue"),
)
"""The factors that do not belong to a person."""


@dataclass
class People:
    """Pictures of people: images uint8 [N, 3, S, S]; z float32 [N, Z_DIM]; person int64 [N].

    ``count``: how many people there are in all the shards that training uses, whichever worker has them.
    """

    images: Tensor
    z: Tensor
    person: Tensor
    count: int

    def __len__(self) -> int:
        return len(self.z)


def draw(rng: torch.Generator, people: int, views: int = VIEWS) -> Tensor:
    """Codes [people · views, Z_DIM]; the pictures of one person follow each other."""
    z = torch.randn(people, Z_DIM, generator=rng).repeat_interleave(views, dim=0)
    for name in PASSING:
        drawn = name in MOTIONS or name == "mouth_open"
        z[:, INDEX[name]] = (
            sample_motion_z(name, len(z), rng) if drawn else torch.randn(len(z), generator=rng)
        )
    return fill_to_norm(z)


def make_shard(
    folder: Path, index: int, seed: int, *, size: int = SIZE, device: str = "cpu", compiled: bool = True
) -> None:
    """Render SHARD / VIEWS people, seeded by the shard's own number; whole or not at all."""
    path = folder / f"people-{index:05d}.safetensors"
    if path.exists():
        return
    people = SHARD // VIEWS
    # another stream than that of dataset.make_shard
    z = draw(torch.Generator().manual_seed(seed * 1_000_003 + 500_000 + index), people)
    person = index * people + torch.arange(people).repeat_interleave(VIEWS)
    write(path, {"images": paint(z, size, device, compiled), "z": z, "person": person})


def load(
    folder: Path, rank: int = 0, world: int = 1, *, held_out: int = 4, validation: bool = False
) -> People:
    """A worker's share of the people, or those held out, in the last shards, as ``dataset.load`` has it.

    People are numbered from 0. Raises FileNotFoundError where there is nothing to read, and ValueError where
    shards do not fit today's factors or each other.
    """
    shards = sorted(folder.glob("people-*.safetensors"))
    learned = shards[:-held_out]
    chosen = shards[-held_out:] if validation else learned[rank::world]
    if not chosen:
        raise FileNotFoundError(
            f"Too few shards of people in {folder}; make them with: python -m avatar.people {folder}"
        )
    size = check(chosen[0])
    for shard in chosen[1:]:
        check(shard, size)
    parts = [load_file(shard) for shard in chosen]
    images, z, person = (torch.cat([part[key] for part in parts]) for key in ("images", "z", "person"))
    return People(images, z, person, len(learned) * SHARD // VIEWS)


if __name__ == "__main__":
    command(make_shard, "people", f"Render people, {VIEWS} pictures of each", count=16_000)
