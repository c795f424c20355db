"""Write a prediction's result, within its time limit, and log what it contains."""

from __future__ import annotations

from pathlib import Path

from micromotion.animation import Video
from micromotion.runtime.progress import progress_lines
from micromotion.service.deadline import Deadline
from micromotion.video.picture import write_picture


def render(video: Video, output: Path, at: float, deadline: Deadline) -> None:
    """Write a video; or, to a PNG, its frame at a moment in seconds, the last one for -1.

    Raises TimeLimitError, OptionError, and what rendering raises.
    """
    if video.likeness is not None:
        print(f"Likeness: {video.likeness.describe()}.")
    width, height = video.size
    if output.suffix == ".png":
        print(f"Rendering a still of {width}×{height}.")
        deadline.check("rendering")
        write_picture(video.still(None if at == -1 else at), output, video.claim)
        return
    print(f"Rendering {len(video)} frames of {width}×{height}, {video.fps:.4g} per second.")
    report = progress_lines("Rendered", "frames", len(video))
    video.save(output, on_frame=deadline.watch("rendering", report), on_scaled=print)
