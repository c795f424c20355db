"""Names of outputs: not an option's name, and no file that the command reads, by any path."""

import os
from pathlib import Path

import pytest
from commands import assert_fails
from typer.testing import CliRunner

from micromotion.cli.main import app
from micromotion.errors import OutputError
from micromotion.video.output_names import check_apart, default_name, is_same


@pytest.fixture
def table(desk: Path, astronaut_file: Path, random_bundle: Path) -> Path:
    """A folder with a photo under several names, a motion and a timeline under two, and an empty folder."""
    Path("photo.webp").write_bytes(astronaut_file.read_bytes())
    Path("photo.png").write_bytes(astronaut_file.read_bytes())
    Path("folder").mkdir()
    Path("folder/soft.webp").symlink_to("../photo.webp")
    Path("hard.webp").hardlink_to("photo.webp")
    Path("here").symlink_to(".")
    Path("empty").mkdir()
    Path("my.safetensors").write_bytes((random_bundle / "anchors" / "smile.safetensors").read_bytes())
    Path("motion.webp").symlink_to("my.safetensors")
    Path("motion.png").hardlink_to("my.safetensors")
    Path("plan.webp").write_text("0.2s smile")
    Path("model.webp").symlink_to(random_bundle / "generator.safetensors")
    Path("model.png").symlink_to(random_bundle / "anchors" / "smile.safetensors")
    return desk


SAME = ["photo.webp", "./folder/../photo.webp", "hard.webp", "folder/soft.webp", "here/hard.webp"]


@pytest.mark.slow
@pytest.mark.parametrize("output", SAME)
def test_the_photo_is_not_replaced(table: Path, random_bundle: Path, output: str) -> None:
    common = ["animate", "photo.webp", "--model", random_bundle, "--frames", 2]
    for photo in ("photo.webp", "folder/soft.webp", table / "hard.webp"):
        for options in (
            ["-o", output],
            ["-o", "x.mp4", "--sheet", output],
            ["--strengths", "1", "-o", output],
        ):
            common[1] = photo
            assert f"{Path(output)} is the photo itself" in assert_fails(table, *common, *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-t", "@plan.webp", "-o", "./plan.webp"], "plan.webp is the timeline's file"),
        (["-m", "my.safetensors", "-o", "motion.webp"], "motion.webp is the file of the motion"),
        (["-m", "my.safetensors=0.5", "--sheet", "motion.png"], "motion.png is the file of the motion"),
        (["-t", "0.1s my.safetensors", "-o", "motion.webp"], "motion.webp is the file of the motion"),
        (["-o", "model.webp"], "model.webp is a file of the model 'random'"),
        (["--sheet", "model.png"], "model.png is the file of the motion smile"),
        (["-o", "new.webp", "--sheet", "here/new.webp"], "here/new.webp is the video already"),
        (["-o", "empty", "--sheet", "here/empty/sheet.png"], "sheet.png lies in empty"),
    ],
)
def test_nothing_else_is_replaced(table: Path, random_bundle: Path, options: list[str], said: str) -> None:
    assert said in assert_fails(table, "animate", "photo.webp", "--model", random_bundle, *options)


def test_learning_and_inspecting_replace_nothing(
    table: Path, random_bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--model", random_bundle, "--name", "wink"]
    pictures = ["learn", "images", "photo.png", "folder/soft.webp", *common]
    for preview in ("photo.png", "hard.webp"):
        said = assert_fails(table, *pictures, "--preview", preview)
        assert f"{preview} is one of the pictures themselves" in said
    said = assert_fails(table, "learn", "video", "folder/soft.webp", *common, "--preview", "photo.webp")
    assert "the video itself" in said
    said = assert_fails(table, "learn", "text", "a {degree} smile", *common, "--preview", "model.webp")
    assert "a file of the model" in said
    home = cache.with_name(f"{cache.name}-data") / "motions" / "random"
    (home / "wink.png").hardlink_to("photo.png")  # the preview's default path
    assert "one of the pictures themselves" in assert_fails(table, *pictures)
    (home / "wink.png").unlink()
    Path("preview.png").symlink_to(home / "wink.safetensors")
    assert "is the micromotion already" in assert_fails(table, *pictures, "--preview", "preview.png")
    inspect = ["inspect", "my.safetensors", "--model", random_bundle, "-o", "motion.png"]
    assert "motion.png is the micromotion's own file" in assert_fails(table, *inspect)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("-", "Nothing is written to standard output"),
        ("--compare", "'--compare' looks like an option"),
        ("-m", "'-m' looks like an option"),
        ("", "'' is not a valid output name"),
        (".", "the current folder"),
        ("here/../desk/", "the current folder"),
        ("new.mp4/", "a folder, but ends in .mp4"),
        ("a" * 300, "File name too long"),
        ("~nobody-at-all/x.mp4", "create it first"),
    ],
)
def test_suspicious_names_are_refused(
    desk: Path, random_bundle: Path, astronaut_file: Path, output: str, said: str
) -> None:
    if output.startswith("here"):
        Path("here").mkdir()
        os.chdir("here")
        Path("inner").mkdir()
        os.chdir("inner")
        output = "../inner/"
    assert said in assert_fails(desk, "animate", astronaut_file, "--model", random_bundle, "-o", output)


@pytest.mark.slow
def test_the_home_folder_is_expanded_without_a_shell(
    desk: Path, random_bundle: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = desk.parent / "home"
    (home / "model").mkdir(parents=True)
    for part in random_bundle.glob("*.*"):
        (home / "model" / part.name).write_bytes(part.read_bytes())
    (home / "model" / "anchors").symlink_to(random_bundle / "anchors")
    (home / "me.jpg").write_bytes(astronaut_file.read_bytes())
    (home / "plan.txt").write_text("0.1s smile")
    monkeypatch.setenv("HOME", str(home))
    common = ["animate", "~/me.jpg", "--model=~/model", "--timeline=@~/plan.txt", "--fps", "10"]
    result = CliRunner().invoke(app, [*common, "--output=~/out.webp", "--sheet=~/sheet.png"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(path.name for path in home.glob("*.*")) == ["me.jpg", "out.webp", "plan.txt", "sheet.png"]
    assert list(desk.iterdir()) == []


def test_the_default_name_is_within_the_length_limit() -> None:
    assert default_name(Path("a/me.jpg"), "-smile.mp4") == Path("me-smile.mp4")
    long = default_name(Path("ü" * 125 + ".jpg"), "-smile.mp4")
    assert len(os.fsencode(long)) in (254, 255)
    assert long.name.endswith("ü-smile.mp4")


def test_outputs_are_compared_with_each_other(tmp_path: Path) -> None:
    new, link = tmp_path / "new.png", tmp_path / "link.png"
    link.symlink_to(new)
    assert is_same(new, link)
    assert not is_same(new, tmp_path / "other.png")
    check_apart([(new, "the video"), (tmp_path / "other.png", "the sheet")], [(tmp_path / "in.png", "it")])
    with pytest.raises(OutputError, match=r"link\.png is the video already"):
        check_apart([(new, "the video"), (link, "the sheet")], [])
    new.write_bytes(b"photo")
    with new.open("rb") as file, pytest.raises(OutputError, match="the photo itself"):
        check_apart([(link, "the video")], [(f"/proc/self/fd/{file.fileno()}", "the photo itself")])
