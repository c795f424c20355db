"""Recipes of micromotions: the five that come with FFHQ, and files that must be refused."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from micromotion.errors import MotionError
from micromotion.motion import recipe as recipe_module
from micromotion.motion.recipe import MAX_BYTES, Recipe, find_recipes, load_recipe

ROOT = Path(__file__).resolve().parents[2]
DEGREES = 'degrees = [["no", 0], ["10%", 0.1], ["100%", 1.0]]'
GOOD = f'template = "a person with {{degree}} smile"\n{DEGREES}\n'


def written(folder: Path, text: str | bytes, name: str = "smile.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(MotionError, match=words) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the five -----------------------------------------------------------------------------------------------


def test_the_five_motions_of_ffhq_have_recipes() -> None:
    recipes = find_recipes("ffhq")
    assert list(recipes) == ["aging", "angry", "eyesClose", "headsTurn", "smile"]
    assert all(recipe.name == name for name, recipe in recipes.items())
    assert all(recipe.published == f"{name}.d_latent" for name, recipe in recipes.items())
    assert all(recipe.scale == 5 for recipe in recipes.values())


def test_the_manifest_has_the_published_directions() -> None:
    manifest = tomllib.loads((ROOT / "weights/manifest.toml").read_text(encoding="utf-8"))
    assert {recipe.published for recipe in find_recipes("ffhq").values()} <= manifest["files"].keys()


def test_the_sentences_are_those_of_the_original() -> None:
    """README.md and main.py of wuqiuche/micromotion-styleGAN."""
    words = ["no", "10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%", "100%"]
    templates = {
        "smile": "a person with {} smile",
        "aging": "a {} old person with gray hair",
        "eyesClose": "a person with eyes {} closed",
        "angry": "{} angry",
    }
    recipes = find_recipes("ffhq")
    for name, template in templates.items():
        sentences, numbers = zip(*recipes[name].sentences(), strict=True)
        assert list(sentences) == [template.format(degree) for degree in words]
        assert list(numbers) == pytest.approx([i / 10 for i in range(11)])
        assert recipes[name].seed == 1
    assert recipes["headsTurn"].template is None
    assert recipes["headsTurn"].sentences() == []
    assert recipes["headsTurn"].clip


def test_missing_keys_default_to_the_originals_values(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe == Recipe(
        name="smile",
        template="a person with {degree} smile",
        degrees=(("no", 0.0), ("10%", 0.1), ("100%", 1.0)),
        seed=1,
        truncation=0.7,
        steps=40,
        learning_rate=0.1,
        ramp_up=0.05,
        ramp_down=0.25,
        l2=0.008,
        identity=0.005,
        scale=5.0,
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    values = {
        "seed": 7,
        "truncation": 0.5,
        "steps": 3,
        "learning_rate": 0.2,
        "ramp_up": 0.1,
        "ramp_down": 0.5,
        "l2": 0.0,
        "identity": 1,
        "scale": 8,
    }
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    recipe = load_recipe(written(tmp_path, f'{GOOD}{lines}published = "smile.d_latent"\n'))
    assert {key: getattr(recipe, key) for key in values} == values
    assert recipe.published == "smile.d_latent"


def test_provenance_contains_only_what_is_known() -> None:
    smile = find_recipes("ffhq")["smile"].provenance("https://example.org/d", "MIT")
    assert smile["template"] == "a person with {degree} smile"
    assert smile["degrees"] == "no, 10%, 20%, 30%, 40%, 50%, 60%, 70%, 80%, 90%, 100%"
    assert (smile["source"], smile["licence"], smile["scale"]) == ("https://example.org/d", "MIT", 5.0)
    assert smile["strength 1"] == "4.95 times the published direction"
    turn = find_recipes("ffhq")["headsTurn"].provenance("https://example.org/d", "MIT")
    assert turn["collected from"] == "a video"
    assert not {"template", "degrees", "seed", "steps"} & turn.keys()
    assert "seed" not in smile


def test_text_in_a_recipe_is_not_evaluated(tmp_path: Path) -> None:
    """The original passes its template to eval; here only the degree's placeholder is replaced."""
    text = GOOD.replace("a person with", "__import__('os').system('true') %s %(x)s $x").replace(
        '"10%"', '"%d"'
    )
    sentences = load_recipe(written(tmp_path, text)).sentences()
    assert sentences[1] == ("__import__('os').system('true') %s %(x)s $x %d smile", 0.1)


def test_recipes_are_read_without_torch() -> None:
    code = "import sys; from micromotion.motion.recipe import find_recipes; find_recipes('ffhq')['smile'];"
    subprocess.run(
        [sys.executable, "-c", f"{code} assert 'torch' not in sys.modules"], check=True, timeout=60
    )


# --- finding them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["avatar", "nowhere", "", ".", "..", "../anchors/ffhq", "/", "ffhq/", "a\0b"]
)
def test_other_models_have_no_recipes(name: str) -> None:
    assert find_recipes(name) == {}


def test_the_installed_recipes_come_before_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = (tmp_path / "installed", tmp_path / "checkout")
    for root, motion in zip(roots, ("wink", "yawn"), strict=True):
        (root / "anchors/mine").mkdir(parents=True)
        written(root / "anchors/mine", GOOD, f"{motion}.toml")
    (roots[0] / "anchors/mine/wink.safetensors").write_bytes(b"")
    monkeypatch.setattr(recipe_module, "ROOTS", roots)
    assert list(find_recipes("mine")) == ["wink"]
    written(roots[0] / "anchors/mine", "nonsense", "bad.toml")
    with pytest.raises(MotionError, match=r"bad\.toml is not valid TOML"):
        find_recipes("mine")


# --- bad ones -----------------------------------------------------------------------------------------------


def changed(line: str) -> str:
    """The good recipe with one key changed or added."""
    key = line.split("=")[0].strip()
    return "".join(f"{each}\n" for each in GOOD.splitlines() if not each.startswith(f"{key} ")) + line


BAD_RECIPES = {
    "empty": ("", "either a template or a clip"),
    "both": (GOOD + 'clip = "a smile"', "either a template or a clip"),
    "no degrees": ('template = "{degree}"', "needs degrees"),
    "a clip with degrees": (f'clip = "a smile"\n{DEGREES}', "belong to a template"),
    "unknown key": (GOOD + "sead = 3", "unknown key 'sead'; known are template"),
    "its own name": (GOOD + 'name = "smile"', "unknown key 'name'"),
    "unknown table": (GOOD + "[published]\nurl = 1", "published must be a line"),
    "no place": (changed('template = "a smile"'), "must contain {degree} once"),
    "two places": (changed('template = "{degree} {degree}"'), "must contain {degree} once"),
    "another brace": (changed('template = "{degree} {x}"'), "no other brace"),
    "an attribute": (changed('template = "{degree.__class__}"'), "must contain {degree} once"),
    "an open brace": (changed('template = "{degree} {"'), "no other brace"),
    "doubled braces": (changed('template = "{{degree}}"'), "no other brace"),
    "a close brace": (changed('template = "{degree} }"'), "no other brace"),
    "no text": (changed("template = 3"), "template must be a line"),
    "blank text": (changed('template = "  "'), "template must be a line"),
    "two lines": (changed('template = "{degree}\\nsmile"'), "template must be a line"),
    "too long": (changed(f'template = "{{degree}}{"x" * 300}"'), "1 to 300 characters"),
    "one degree": (changed('degrees = [["no", 0.0]]'), "2 to 100 pairs"),
    "too many": (changed(f"degrees = {[[str(i), i / 100] for i in range(101)]}"), "2 to 100 pairs"),
    "degrees no list": (changed("degrees = 3"), "2 to 100 pairs"),
    "no pairs": (changed('degrees = ["no", "100%"]'), "must be a list of pairs"),
    "not increasing": (changed('degrees = [["a", 1], ["b", 0]]'), "must increase"),
    "equal": (changed('degrees = [["a", 1], ["b", 1.0]]'), "must increase"),
    "NaN degree": (changed('degrees = [["a", 0], ["b", nan]]'), "must be a number from -10 to 10"),
    "degree a word": (changed('degrees = [["a", 0], ["b", "1"]]'), "degrees must be a number"),
    "degree without words": (changed('degrees = [["", 0], ["b", 1]]'), "the words of degrees must be"),
    "seed no number": (GOOD + "seed = true", "seed must be a whole number"),
    "seed negative": (GOOD + "seed = -1", "seed must be a whole number from 0"),
    "seed real": (GOOD + "seed = 1.0", "seed must be a whole number"),
    "seed endless": (GOOD + f"seed = 0x{'f' * 40_000}", "seed must be a whole number"),
    "scale infinite": (GOOD + "scale = inf", "scale must be a number"),
    "scale zero": (GOOD + "scale = 0", "scale must be a number"),
    "scale endless": (GOOD + f"scale = 0x{'f' * 40_000}", "scale must be a number"),
    "steps": (GOOD + "steps = 0", "steps must be"),
    "truncation": (GOOD + "truncation = 1.5", "truncation must be"),
    "ramps": (GOOD + "ramp_up = 0.6\nramp_down = 0.6", "their sum must not exceed 1"),
    "a date": (GOOD + "l2 = 2024-01-01", "l2 must be a number"),
    "published above": (GOOD + 'published = "../d_latent"', "not a path"),
    "published absolute": (GOOD + 'published = "/etc/passwd"', "not a path"),
    "published hidden": (GOOD + 'published = ".."', "not a path"),
    "published of Windows": (GOOD + 'published = "a\\\\b"', "not a path"),
    "twice": (GOOD + "seed = 1\nseed = 1", "not valid TOML"),
    "no TOML": ("{", "not valid TOML"),
    "endless decimal": (GOOD + f"seed = {'9' * 9000}", "not valid TOML"),
    "too deep": ("x = " + "[" * 20_000, "not valid TOML"),
}


@pytest.mark.parametrize(("text", "words"), BAD_RECIPES.values(), ids=BAD_RECIPES.keys())
def test_bad_recipes_are_refused(text: str, words: str, tmp_path: Path) -> None:
    refused(written(tmp_path, text), words)


def test_files_that_are_not_recipes_are_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, b"\xff\xfe\x00"), "not text in UTF-8")
    refused(written(tmp_path, b"#" * (MAX_BYTES + 1)), "larger than 64 kB")
    refused(tmp_path / "missing.toml", "missing.toml does not exist")
    refused(tmp_path / ("long" * 999), "not accessible")
    refused(tmp_path, "a folder or a device")
    refused(Path("/dev/zero"), "a folder or a device")
