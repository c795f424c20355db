"""The stages of a prediction on a CPU: what is measured, compared with what, and the targets."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.stages import ours, peers
from benchmarks.stages.race import Contender, Result, free_memory, race

RIVALS = {
    "the original": peers.ORIGINAL,
    "NVIDIA's reference path": peers.NVIDIA,
    "rosinality": peers.ROSINALITY,
}
SYNTHESIS = {
    "the original": peers.original_synthesis,
    "NVIDIA's reference path": peers.nvidia_synthesis,
    "rosinality": peers.rosinality_synthesis,
}

TEXT_MEMORY = 12e9
"""Bytes that must be free for the original's text-anchor step to be measured."""


@dataclass(frozen=True)
class Stage:
    """`limit` is the target: at most so many times the floor or, without a floor, so many seconds.

    `scale` converts a contender's time, by its name, to the same amount of work. If not `together`, since
    memory does not suffice for all contenders at once, they run one after the other.
    """

    name: str
    ours: Contender
    rivals: tuple[Contender, ...] = ()
    floor: Contender | None = None
    limit: float | None = None
    keep: bool = True
    rounds: int = 3
    together: bool = True
    scale: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class StageRow:
    """A measured stage: ours first, then the rivals; and the floor."""

    stage: Stage
    results: list[Result]
    floor: Result | None

    @property
    def share(self) -> float | None:
        """Our median as a multiple of the floor."""
        return self.results[0].median / self.floor.median if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        reached = self.results[0].median if self.share is None else self.share
        return None if self.stage.limit is None else reached <= self.stage.limit


def measure(stage: Stage) -> StageRow:
    """Run the contenders of a stage, in turns if `together`."""
    everyone = [stage.ours, *stage.rivals, *([stage.floor] if stage.floor else [])]
    groups = [everyone] if stage.together else [[each] for each in everyone]
    results = [each for group in groups for each in race(group, rounds=stage.rounds, keep=stage.keep)]
    scale = dict(stage.scale)
    for result in results:
        result.seconds = [seconds * scale.get(result.name, 1.0) for seconds in result.seconds]
    floor = results.pop() if stage.floor else None
    return StageRow(stage, results, floor)


def stages(size: str, folder: Path | None, threads: int) -> Iterator[Stage]:
    """The rows of the table; `size` is "full" or "tiny", `folder` holds the peers' checkouts."""
    for stage in (*_synthesis(size, folder), *_others(size, folder)):
        rivals = tuple(replace(each, threads=threads) for each in stage.rivals)
        floor = replace(stage.floor, threads=threads) if stage.floor else None
        yield replace(stage, ours=replace(stage.ours, threads=threads), rivals=rivals, floor=floor)


def _synthesis(size: str, folder: Path | None) -> Iterator[Stage]:
    resolution = ours.networks.RESOLUTIONS[size]
    for dtype, limit in (("float32", 1.35), ("bfloat16", 1.4)):
        rivals = tuple(
            Contender(name, SYNTHESIS[name], (place, resolution, dtype), rounds=2)
            for name, repository in RIVALS.items()
            if (place := peers.checkout(folder, repository))
        )
        plain = Contender("our reference path", ours.synthesis, (size, dtype, None, False))
        for keep in (True, False):
            if dtype == "bfloat16" and not keep:
                rivals = ()  # once is enough
            yield Stage(
                f"synthesis {resolution}², {dtype}, {'our' if keep else 'the default'} allocator",
                Contender("ours", ours.synthesis, (size, dtype)),
                (plain, *rivals),
                Contender("floor", ours.synthesis_floor, (size, dtype)),
                limit,
                keep,
                8 if size == "full" else 2,
            )


def _others(size: str, folder: Path | None) -> Iterator[Stage]:
    e4e, original = peers.checkout(folder, peers.E4E), peers.checkout(folder, peers.ORIGINAL)
    roomy = size == "tiny" or free_memory() > TEXT_MEMORY
    yield Stage(
        "e4e inversion, 256²",
        Contender("ours", ours.inversion, (size,)),
        (Contender("e4e's code", peers.e4e_inversion, (e4e,)),) if e4e else (),
        Contender("floor", ours.inversion_floor, (size,)),
        1.5,
        rounds=7,
    )
    yield Stage(
        "robust PCA, 18 × 11 × 512",
        Contender("ours", ours.pca),
        (
            Contender("its eigenvectors and two of its products", ours.pca_floor),
            *(
                [Contender("the original", peers.original_pca, (original, ours.anchors()))]
                if original
                else []
            ),
        ),
        limit=0.01,
        rounds=15,
    )
    yield Stage(
        "a text-anchor step, 11 degrees",
        Contender("ours", ours.text_step, (size,)),
        (Contender("the original", ours.text_original, (original, size), rounds=1),)
        if original and roomy
        else (),
        Contender("floor", ours.text_floor, (size,)),
        1.2,
        together=False,
        rounds=2,
        scale=(("ours", 11 / 3), ("floor", 11 / 3), ("the original", 11.0)),
    )
    frames, side = (90, 1024) if size == "full" else (2, 32)
    yield Stage(
        f"signing an MP4 of {frames} frames, {side}²",
        Contender("ours", ours.signing, (frames, side)),
        limit=0.05,
        rounds=7,
    )
    yield Stage(
        "import micromotion", Contender("ours", ours.importing, ("micromotion",)), limit=0.3, rounds=7
    )
    full = original if size == "full" else None
    yield Stage(
        "cold start",
        Contender("ours", ours.cold_start, (size,)),
        (Contender("the original", peers.original_start, (full,)),) if full else (),
        limit=6.0,
        rounds=2,
    )
    yield Stage("whole prediction, 90 frames", Contender("ours", ours.prediction, (90,)), rounds=3)


def growth(size: str, threads: int) -> dict[str, list[StageRow]]:
    """How the cost grows: a table of rows for each quantity that it grows with."""

    def alone(name: str, contender: Contender, rounds: int = 4) -> StageRow:
        return measure(Stage(name, contender, rounds=rounds))

    sides = (256, 512, 1024) if size == "full" else (32,)
    counts = (30, 90, 300) if size == "full" else (2, 4)
    many = (100, 1000) if size == "full" else (2, 4)
    work = {"rendering": ours.rendering, "encoding": ours.encoding, "the whole prediction": ours.prediction}
    return {
        "pixels: one frame in float32": [
            alone(f"{side}²", Contender("ours", ours.synthesis, (size, "float32", side), threads))
            for side in sides
        ],
        f"threads: one frame of {sides[-1]}² in float32": [
            alone(f"{count}", Contender("ours", ours.synthesis, (size, "float32"), count))
            for count in (1, 2, 4)
            if count <= threads
        ],
        "frames: a prediction with the embedded model": [
            alone(f"{count}", Contender("ours", ours.prediction, (count,), threads), 1) for count in counts
        ],
        f"parts: {counts[1]} frames with the embedded model": [
            alone(name, Contender("ours", make, (counts[1],), threads)) for name, make in work.items()
        ],
        "memory: a prediction with the embedded model": [
            alone(f"{count} frames", Contender("ours", ours.prediction, (count,), threads), 0)
            for count in many
        ],
    }
