"""The data set of the identity network: people, each in several pictures.

Identity is the skull, the features and the skin. Expression, pose, light, backdrop, clothes and glasses are
drawn anew for every picture; so is age, as ageing is one of the motions and must not change the identity.
Hair and beard stay the same in most pictures of a person: they count a little, as people do get a hair cut.

Pictures are rendered, or drawn at almost no cost by a generator trained on renders (--generator), whose
people are those that learned motions are applied to.
"""

import argparse
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from avatar.data.dataset import SHARD, SIZE, check, command, paint, shard_path, write
from avatar.renderer.factors import FACTORS, INDEX, MOTIONS, Z_DIM, fill_to_norm, sample_motion_z
from avatar.training.runs import half
from micromotion.video.pixels import quantise
from stylegan2 import Generator, load_generator

VIEWS = 8
NEW_HAIR = 0.35
"""Probability that a picture shows other hair than the person's own; the same for the beard."""
PASSING = (
    *(*MOTIONS, "mouth_open", "pitch", "roll", "gaze_x", "gaze_y"),
    *("light_azimuth", "light_elevation", "light_warmth", "fill"),
    *("background_hue", "background_value", "background_saturation"),
    *("clothes_hue", "clothes_value", "clothes_saturation", "collar"),
    *("glasses", "glasses_shape", "glasses_hue"),
)
"""The factors that are no part of an identity."""
HAIR = (
    *("hair_cut", "hair_colour", "hair_red", "hair_length", "hair_volume", "hair_curl", "hairline"),
    *("hair_part", "baldness"),
)
BEARD = ("beard", "moustache")
"""HAIR and BEARD: the factors that a person has for some time."""
TRAITS = tuple(f.name for f in FACTORS if f.name not in (*PASSING, *HAIR, *BEARD))
"""The factors that make an identity."""


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
    """Codes [people · views, Z_DIM]; the pictures of one person are adjacent."""
    z = torch.randn(people, Z_DIM, generator=rng).repeat_interleave(views, dim=0)
    for name in PASSING:
        drawn = name in MOTIONS or name == "mouth_open"
        z[:, INDEX[name]] = (
            sample_motion_z(name, len(z), rng) if drawn else torch.randn(len(z), generator=rng)
        )
    for names in (HAIR, BEARD):
        index = torch.tensor([INDEX[name] for name in names])
        other = torch.rand(len(z), 1, generator=rng) < NEW_HAIR
        z[:, index] = torch.where(other, torch.randn(len(z), len(names), generator=rng), z[:, index])
    return fill_to_norm(z)


def make_shard(
    folder: Path,
    index: int,
    seed: int,
    *,
    size: int = SIZE,
    device: str = "cpu",
    compiled: bool = True,
    generator: Path | None = None,
) -> None:
    """Write the pictures of SHARD / VIEWS people atomically, seeded by the shard's index.

    They are rendered, or drawn by the generator in the given file.
    """
    path = shard_path(folder, "people", index)
    if path.exists():
        return
    people = SHARD // VIEWS
    # a different random stream from that of dataset.make_shard
    z = draw(torch.Generator().manual_seed(seed * 1_000_003 + 500_000 + index), people)
    person = index * people + torch.arange(people).repeat_interleave(VIEWS)
    images = imagine(z, size, device, generator) if generator else paint(z, size, device, compiled)
    write(path, {"images": images, "z": z, "person": person})


@torch.inference_mode()
def imagine(z: Tensor, size: int, device: str, path: Path) -> Tensor:
    """A generator's pictures of codes [N, Z_DIM]: uint8 [N, 3, size, size]."""
    generator, images = _generator(path, device), []
    for part in z.split(16):
        w_plus = generator.mapping(part.to(device))[:, None].expand(-1, generator.num_styles, -1)
        with half(torch.device(device)):
            picture = generator.synthesize(w_plus, noise=None).float()
        images.append(quantise(F.adaptive_avg_pool2d(picture, size)).movedim(-1, 1).cpu())
    return torch.cat(images).contiguous()


@cache
def _generator(path: Path, device: str) -> Generator:
    return load_generator(path, device=device)


def load(
    folder: Path, rank: int = 0, world: int = 1, *, held_out: int = 4, validation: bool = False
) -> People:
    """A worker's share of the people, or those held out in the last shards, as in ``dataset.load``.

    People are numbered from 0. Raises FileNotFoundError if there is nothing to read, and ValueError if shards
    do not match this version's factors or each other.
    """
    shards = sorted(folder.glob("people-*.safetensors"))
    learned = shards[:-held_out]
    chosen = shards[-held_out:] if validation else learned[rank::world]
    if not chosen:
        raise FileNotFoundError(
            f"Too few shards of people in {folder}; make them with: python -m avatar.data.people {folder}"
        )
    size = check(chosen[0])
    for shard in chosen[1:]:
        check(shard, size)
    parts = [load_file(shard) for shard in chosen]
    images, z, person = (torch.cat([part[key] for part in parts]) for key in ("images", "z", "person"))
    return People(images, z, person, len(learned) * SHARD // VIEWS)


def main() -> None:
    """The command line of ``dataset.command``, with the option --generator."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--generator", type=Path)
    args, sys.argv[1:] = parser.parse_known_args()
    command(
        partial(make_shard, generator=args.generator),
        "people",
        f"Make {VIEWS} pictures of each of many people: rendered, or by the generator in --generator FILE",
        count=16_000,
    )


if __name__ == "__main__":
    main()
