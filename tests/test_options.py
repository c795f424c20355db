"""All options are defined once: every interface has the same names, defaults, limits and help texts."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from shown import shown
from typer.main import get_command
from typer.testing import CliRunner

from micromotion import Animator
from micromotion.cli.main import app
from micromotion.errors import OptionError
from micromotion.options import OPTIONS, AnimateKeywords, AnimateOptions, options_from


def command_options() -> dict[str, Any]:
    """The options of `micromotion animate`, by the parameter's name."""
    commands: Any = get_command(app)
    animate = commands.commands["animate"]
    return {each.name: each for each in animate.params}


def test_options_are_checked_when_made_and_immutable() -> None:
    options = AnimateOptions(strength=-2, frames=1, seed=0)
    with pytest.raises(FrozenInstanceError):
        options.strength = 9.0  # type: ignore[misc]  # wrong on purpose
    for name, field in OPTIONS.items():
        for wrong in (
            *(edge + step for edge, step in zip(field.metadata.get("limits", ()), (-1, 1), strict=False)),
            "x",
        ):
            if "limits" in field.metadata or "choices" in field.metadata or name == "strength":
                with pytest.raises(OptionError, match=f"^{name} must be"):
                    AnimateOptions(**{name: wrong})


def test_the_keywords_that_type_checkers_see_are_the_options() -> None:
    keywords = get_type_hints(AnimateKeywords)
    assert {name: kind for name, kind in keywords.items() if name != "frame"} == get_type_hints(
        AnimateOptions
    )


def test_the_command_has_every_option_with_its_default_and_help() -> None:
    known = command_options()
    for each in fields(AnimateOptions):
        option = known[each.name]
        assert option.default == each.default, each.name
        assert option.help == each.metadata["help"], each.name
        assert option.opts == [f"--{each.name.replace('_', '-')}"]


def test_keywords_win_over_options(animator: Animator, latent: torch.Tensor) -> None:
    video = animator.animate(latent, "smile", AnimateOptions(frames=3, fps=7), fps=12)
    assert (len(video), video.fps) == (3, 12)


def test_an_unknown_option_is_refused_with_the_nearest_name(animator: Animator, latent: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="no option 'strenght': did you mean 'strength'"):
        animator.animate(latent, strenght=2)  # type: ignore[call-arg]  # wrong on purpose


def test_frame_is_the_old_name_of_view() -> None:
    with pytest.warns(DeprecationWarning, match="view"):
        assert options_from({"frame": "crop"}).view == "model"
    with pytest.warns(DeprecationWarning, match="view"):
        assert options_from({"frame": "photo"}).view == "photo"
    with pytest.raises(OptionError, match="frame must be crop or photo, not 'model'"):
        options_from({"frame": "model"})
    with pytest.raises(OptionError, match="not both"):
        options_from({"frame": "photo", "view": "photo"})


@pytest.mark.slow
def test_the_command_still_accepts_frame(random_bundle: Path, astronaut_file: Path, tmp_path: Path) -> None:
    def run(*chosen: str) -> str:
        folder = tmp_path / "-".join(chosen).strip("-")
        given = ["--model", str(random_bundle), "--frames", "1", "--strength", "0.1", "-o", str(folder)]
        result = CliRunner().invoke(app, ["animate", str(astronaut_file), *given, *chosen])
        assert (result.exit_code, result.stderr) == (0, "")
        (picture,) = folder.iterdir()
        return shown(picture)

    assert run("--frame", "photo") == run("--view", "photo")
    assert run("--frame", "crop") == run("--view", "model")
    assert "--frame " not in CliRunner().invoke(app, ["animate", "--help"]).stdout
