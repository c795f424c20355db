"""`micromotion learn` end to end: files and output, interrupted and resumed, and failures."""

import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, run_at_a_terminal
from learn_networks import SENTENCE, save_learning_bundle
from PIL import Image
from random_networks import RESOLUTION
from shown import shown
from typer.testing import CliRunner

from micromotion.animator import Animator
from micromotion.cli.main import app
from micromotion.motion.anchors import Anchors
from micromotion.motion.playable import load_motion
from micromotion.runtime.folders import learned_folder
from micromotion.weights.bundle import find_bundle

pytestmark = pytest.mark.slow

FACE = str(Path(__file__).parents[2] / "docs/face.jpg")
SHORT = ["--degrees", "no,50%,100%", "--steps", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_learning_bundle(tmp_path_factory.mktemp("learning"))


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICROMOTION_DEBUG", raising=False)


def command(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process: its exit code, stdout and stderr."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.stdout, done.stderr


def learn(*arguments: object) -> tuple[int, str, str]:
    """`micromotion learn text` in this process."""
    return command("learn", "text", *arguments)


def assert_told(code: int, output: str, errors: str, words: str) -> None:
    *progress, sentence = errors.splitlines()
    assert (code, output) == (1, "")
    assert re.search(words, sentence), sentence
    assert sentence.startswith("micromotion: ")
    assert sentence.endswith(".")
    assert all(line.startswith("Step ") for line in progress)


# --- files --------------------------------------------------------------------------------------------------


def test_a_sentence_becomes_a_micromotion_that_plays(model: Path, astronaut_file: Path) -> None:
    code, output, errors = learn(SENTENCE, "--name", "grin", "--model", model, *SHORT, "--path", "curve")
    assert code == 0, errors
    path = learned_folder("random") / "grin.safetensors"
    first, *_, preview, play = output.splitlines()
    assert first == f"Learned: grin, 3 anchors, in {path}"
    assert preview == f"Preview: {path.with_suffix('.png')}"
    assert play == f"Play it: micromotion animate PHOTO --motion grin --model {model}"
    assert sorted(each.name for each in path.parent.iterdir()) == ["grin.png", "grin.safetensors"]
    about = Anchors.load(path).provenance
    assert (about["template"], about["seed"], about["path"]) == (SENTENCE, 0, "curve")
    with Image.open(path.with_suffix(".png")) as sheet:
        assert sheet.width > 3 * RESOLUTION
    assert command("motions", "--model", model) == (0, "grin (learned)\n", "")

    animate = ["animate", astronaut_file, "--model", model, "--frames", 3]
    assert command(*animate, "--motion", "grin") == (0, "Video: astronaut-grin.mp4\n", "")
    shared = path.rename("from a friend.safetensors")
    assert command(*animate, "--motion", shared) == (0, "Video: astronaut-from a friend.mp4\n", "")
    assert shown(Path("astronaut-from a friend.mp4")) == shown(Path("astronaut-grin.mp4"))
    assert_told(*command("animate", astronaut_file, "--motion", shared), "learned for another model")


def test_the_options_reach_the_collection(model: Path) -> None:
    seen = {}
    for name, options in {
        "plain": [],
        "again": [],
        "seed": ["--seed", "3"],
        "steps": ["--steps", "5"],
        "compatible": ["--compatible"],
    }.items():
        code, _, errors = learn(SENTENCE, "-n", name, "--model", model, *SHORT, *options)
        assert code == 0, errors
        seen[name] = Anchors.load(learned_folder("random") / f"{name}.safetensors")
    assert np.array_equal(seen["plain"].w_plus, seen["again"].w_plus)
    for name in ("seed", "steps", "compatible"):
        assert not np.array_equal(seen["plain"].w_plus[:2], seen[name].w_plus[:2]), name
    assert all(float(each.degrees[-1]) == 1.0 for each in seen.values())


def test_a_preview_can_be_written_elsewhere(model: Path) -> None:
    code, output, _ = learn(SENTENCE, "-n", "grin", "--model", model, *SHORT, "--preview", "look.webp")
    assert code == 0
    assert "Preview: look.webp" in output
    assert Image.open("look.webp").format == "WEBP"
    assert [each.name for each in learned_folder("random").iterdir()] == ["grin.safetensors"]


def test_a_name_is_replaced_only_by_force(model: Path) -> None:
    arguments = [SENTENCE, "-n", "grin", "--model", model, *SHORT]
    assert learn(*arguments)[0] == 0
    path = learned_folder("random") / "grin.safetensors"
    before = path.read_bytes()
    assert_told(*learn(*arguments, "--seed", 2), "already exists in .*--force")
    assert path.read_bytes() == before
    assert learn(*arguments, "--seed", 2, "--force")[0] == 0
    assert path.read_bytes() != before


# --- from pictures and from a video, on the embedded avatar ------------------------------------------------


@pytest.fixture(scope="module")
def smiling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the avatar's smile on a photo: smile.mp4, and five pictures from rest to full motion."""
    folder = tmp_path_factory.mktemp("smiling")
    animator = Animator.load("avatar", "cpu")
    code = animator.encode(FACE)
    animator.animate(code, "smile", frames=24).save(folder / "smile.mp4")
    animator.animate(code, "smile", frames=5).save(folder / "pictures")
    return folder


def likeness(name: str) -> float:
    """The cosine between a learned motion and the avatar's own smile."""
    learned = load_motion(learned_folder("avatar") / f"{name}.safetensors").offset(1.0)
    smile = load_motion(find_bundle("avatar").motions["smile"]).offset(1.0)
    return float((learned * smile).sum() / learned.norm() / smile.norm())


def test_pictures_become_a_micromotion(smiling: Path) -> None:
    pictures = sorted((smiling / "pictures").glob("*.png"))
    code, output, errors = command("learn", "images", *pictures, "-n", "grin", "--device", "cpu")
    assert code == 0, errors
    assert output.startswith("Learned: grin, 5 anchors, in ")
    assert errors == "Used: 5 pictures.\n"
    assert likeness("grin") > 0.6
    assert "grin (learned)" in command("motions")[1].splitlines()
    assert command("learn", "images", *reversed(pictures), "-n", "frown", "--device", "cpu")[0] == 0
    assert likeness("frown") < -0.6


def test_a_video_becomes_a_micromotion(smiling: Path) -> None:
    code, output, errors = command(
        "learn", "video", smiling / "smile.mp4", "-n", "grin", "--count", 7, "--path", "curve"
    )
    assert code == 0, errors
    assert output.startswith("Learned: grin, 7 anchors, in ")
    assert re.match(r"Used: \d+ frames\.\n", errors)
    assert likeness("grin") > 0.6
    assert Anchors.load(learned_folder("avatar") / "grin.safetensors").provenance["file"] == "smile.mp4"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["video", "gone.mp4"], "gone"),
        (["video", "text.mp4"], "text"),
        (["video", "text.mp4", "--count", "1"], "count must be"),
        (["images", "gone.png", "gone too.png"], "gone"),
        (["images", FACE], "2 to 128 pictures"),
        (["images", FACE, FACE], "without a motion"),
    ],
)
def test_unusable_inputs_are_refused(arguments: list[str], words: str) -> None:
    Path("text.mp4").write_text("This is only text.\n" * 99)
    assert_told(*command("learn", *arguments, "-n", "grin", "--device", "cpu"), words)
    assert not list(learned_folder("avatar").glob("*"))


# --- interrupted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_resumes_bit_exactly(model: Path, number: int, code: int) -> None:
    """The same command ends bit-identically to an uninterrupted run, and leaves nothing else."""
    arguments = ["learn", "text", SENTENCE, "--model", str(model), *SHORT, "--steps", "60"]
    folder = learned_folder("random")
    with subprocess.Popen(
        [*COMMAND, *arguments, "--name", "grin"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not list(folder.glob(".grin-*/progress.safetensors")):
            time.sleep(0.002)
        process.send_signal(number)
        output, errors = process.communicate(timeout=300)
    assert (process.returncode, output) == (code, ""), errors
    assert "micromotion: interrupted; give the same command again to resume." in errors.splitlines()
    assert "Traceback" not in errors
    assert [each.name[:6] for each in folder.iterdir()] == [".grin-"]

    # In separate processes like the first, since the bits depend on the number of threads.
    again, whole = (
        subprocess.run([*COMMAND, *arguments, "--name", name], capture_output=True, text=True, timeout=300)
        for name in ("grin", "whole")
    )
    assert (again.returncode, whole.returncode) == (0, 0), again.stderr
    first = re.search(r"Step (\d+) of 60", again.stderr)
    assert first is None or int(first[1]) > 1
    resumed, whole_run = (Anchors.load(folder / f"{name}.safetensors").w_plus for name in ("grin", "whole"))
    assert np.array_equal(resumed, whole_run)
    assert not list(folder.glob(".*"))


# --- progress -----------------------------------------------------------------------------------------------


def test_a_terminal_shows_losses_of_each_degree(model: Path) -> None:
    code, output, shown = run_at_a_terminal("learn", "text", SENTENCE, "-n", "grin", "--model", model, *SHORT)
    assert code == 0
    assert output.startswith("Learned: grin")
    for words in (b"4/4", b"degree", b"CLIP", b"distance", b"identity", b"100%"):
        assert words in shown


def test_without_a_terminal_progress_is_printed_in_lines(model: Path) -> None:
    _, _, errors = learn(SENTENCE, "-n", "grin", "--model", model, *SHORT)
    lines = errors.splitlines()
    assert len(lines) == 2, "the first step and the last"
    for step, line in zip((1, 4), lines, strict=True):
        assert re.fullmatch(
            rf"Step {step} of 4: loss no [\d.]+, 50% [\d.]+, 100% [\d.]+(, \d+ (s|min) left)?", line
        )


def test_help_does_not_import_torch() -> None:
    check = "import sys, micromotion.cli.learn; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
    for each in ("text", "video", "images"):
        done = CliRunner().invoke(app, ["learn", each, "--help"])
        assert done.exit_code == 0
        assert "Examples" in done.stdout


# --- how it fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a smile", "-n", "grin"], r"lacks \{degree\}"),
        (["a {__import__('os')} smile", "-n", "grin"], "has an unknown placeholder"),
        ([SENTENCE, "-n", "../grin"], "name may have only letters"),
        ([SENTENCE, "-n", "smile"], "already has its own micromotion"),
        ([SENTENCE, "-n", "grin", "--degrees", "no"], "2 to 100 degrees"),
        ([SENTENCE, "-n", "grin", "--degrees", "50%,no"], "must increase"),
        ([SENTENCE, "-n", "grin", "--degrees=-50%,no"], "must be above 0%"),
        ([SENTENCE, "-n", "grin", "--seed", "-1"], "seed must be"),
        ([SENTENCE, "-n", "grin", "--steps", "0"], "steps must be"),
        ([SENTENCE, "-n", "grin", "--preview", "grin.mp4"], "not the name of a picture"),
        ([SENTENCE, "-n", "grin", "--preview", "/nowhere/grin.png"], "cannot be written"),
        ([SENTENCE, "-n", "grin", "--model", "nonsense"], "no model 'nonsense'"),
        ([SENTENCE, "-n", "grin", "--device", "abacus"], "device must be"),
    ],
)
def test_a_wrong_value_is_refused_before_any_work(arguments: list[str], words: str) -> None:
    assert_told(*learn(*arguments), words)
    assert not list(learned_folder("avatar").glob("*"))


def test_a_model_that_cannot_learn_is_refused(tmp_path: Path) -> None:
    bare = save_learning_bundle(tmp_path / "bare", networks=False)
    assert_told(*learn(SENTENCE, "-n", "grin", "--model", bare, *SHORT), "'random' has no CLIP")


def test_words_unknown_to_the_model_are_refused(model: Path) -> None:
    assert_told(*learn("a {degree} zeppelin", "-n", "grin", "--model", model, *SHORT), "zeppelin|cannot read")


def test_damaged_progress_is_reported(model: Path) -> None:
    assert learn(SENTENCE, "-n", "grin", "--model", model, *SHORT)[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("micromotion.cli.learn._save", _interrupt)
        assert learn(SENTENCE, "-n", "other", "--model", model, *SHORT)[0] != 0
    (kept,) = learned_folder("random").glob(".other-*/*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-5])
    assert_told(*learn(SENTENCE, "-n", "other", "--model", model, *SHORT), "cannot be read: delete the file")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def no_more_than(kilobytes: int) -> Callable[[], None]:
    """A function that limits the size of a process's files, like an almost full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))


def test_a_full_disk_is_reported_and_leaves_no_partial_file(model: Path) -> None:
    arguments = ["learn", "text", SENTENCE, "--name", "grin", "--model", str(model), *SHORT]
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, preexec_fn=no_more_than(kilobytes=1)
    )
    assert_told(done.returncode, done.stdout, done.stderr, "cannot be (saved|written)")
    folder = learned_folder("random")
    assert not list(folder.rglob("*.safetensors"))
    assert command(*arguments)[0] == 0
    load_motion(folder / "grin.safetensors")


# --- no motion ----------------------------------------------------------------------------------------------


def test_anchors_without_a_motion_are_not_learned(model: Path) -> None:
    """The learning rate of the first step is 0, so one step moves nothing."""
    short = [*SHORT[:2], "--steps", "1", *SHORT[4:]]
    told = command("learn", "text", SENTENCE, "--name", "grin", "--model", model, *short)
    assert_told(*told, "No motion was learned for 'grin': its 3 anchors all show the same face; use more")
    assert list(learned_folder("random").iterdir()) == []
    assert not list(Path.cwd().iterdir())
