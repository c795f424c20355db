"""predict.py, openapi.json, cog.yaml and the library agree; predict.py is read by Cog's own static rules."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import tokenize
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from packaging.requirements import Requirement

from tools.openapi import FIXED, ROOT, arguments, cog_yaml, expected_schemas, inputs, run_method, stored


@pytest.fixture(scope="module")
def predictor() -> Any:
    """The class itself, imported as Cog does."""
    spec = importlib.util.spec_from_file_location("predict", ROOT / "predict.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Predictor


def test_openapi_json_matches_predict_py() -> None:
    schemas = stored()["components"]["schemas"]
    expected = expected_schemas()
    assert {name: schemas.get(name) for name in expected} == expected
    assert set(schemas) == set(expected) | FIXED
    assert list(schemas["Input"]["properties"]) == list(arguments())


def test_openapi_json_is_valid_for_the_server() -> None:
    document = stored()
    assert document["info"]["version"] == cog_yaml()["build"]["sdk_version"]
    assert set(document["paths"]) == {
        "/",
        "/health-check",
        "/predictions",
        "/predictions/{prediction_id}/cancel",
    }
    schemas = document["components"]["schemas"]
    assert schemas["PredictionRequest"]["properties"]["input"] == {"$ref": "#/components/schemas/Input"}
    assert schemas["PredictionResponse"]["properties"]["output"] == {"$ref": "#/components/schemas/Output"}
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for each in node for found in _references(each)]
    if isinstance(node, dict):
        return [node["$ref"]] if "$ref" in node else _references(list(node.values()))
    return []


def test_every_value_is_a_literal_that_cog_reads_correctly() -> None:
    """Cog takes the text between quotes verbatim, and 90 or -5.0 as numbers; all else is unsafe."""
    _, source = run_method()
    for name, (_, words) in arguments().items():
        for word, value in words.items():
            for part in value.elts if isinstance(value, ast.List) else [value]:
                text = ast.get_source_segment(source, part)
                assert text is not None
                tokens = [
                    token
                    for token in tokenize.generate_tokens(io.StringIO(text).readline)
                    if token.type in (tokenize.STRING, tokenize.NUMBER, tokenize.NAME, tokenize.OP)
                ]
                where = f"{name}: {word}={text}"
                if isinstance(ast.literal_eval(part), str):
                    assert len(tokens) == 1, where
                    assert text[0] in "\"'", where
                    assert "\\" not in text, where
                else:
                    assert text == repr(ast.literal_eval(part)), where


def test_cog_reads_the_same_when_it_runs(predictor: Any) -> None:
    parameters = list(inspect.signature(predictor.run).parameters.values())[1:]
    assert [each.name for each in parameters] == list(inputs())
    for parameter in parameters:
        kind, words = inputs()[parameter.name]
        annotation = getattr(parameter.annotation, "__name__", str(parameter.annotation))
        assert annotation.removeprefix("cog.types.") == kind
        field = {key: value for key, value in vars(parameter.default).items() if value is not None}
        assert field == {key: value for key, value in words.items() if value is not None}


def test_every_input_is_described_and_bounded() -> None:
    for name, (kind, words) in inputs().items():
        assert words["description"].endswith("."), name
        assert ("default" in words) == (name != "image"), name
        if kind.removesuffix(" | None") in ("int", "float"):
            default = words["ge"] if words["default"] is None else words["default"]
            assert words["ge"] <= default <= words["le"], name
        elif kind == "str":
            assert words["default"] in words.get("choices", [words["default"]]), name
            assert "choices" in words or words["max_length"] > 0, name


@pytest.mark.parametrize("name", ["strength", "frames", "fps", "face", "seed", "refine"])
def test_limits_are_those_of_the_library(name: str) -> None:
    from micromotion.errors import OptionError
    from micromotion.options import AnimateOptions

    words = inputs()[name][1]
    lowest = 0 if name == "seed" else words["ge"]  # -1 stands for None there
    make: Callable[..., AnimateOptions] = AnimateOptions
    make(**{name: lowest})
    make(**{name: words["le"]})
    for outside in (lowest - 1, words["le"] + 1):
        with pytest.raises(OptionError, match=name):
            make(**{name: outside})


def test_defaults_are_those_of_the_library() -> None:
    from micromotion.options import OPTIONS

    service = {name: words.get("default") for name, (_, words) in inputs().items()}
    assert service.pop("seed") == -1
    assert service.pop("faces") == ""
    assert OPTIONS["seed"].default is OPTIONS["faces"].default is None
    assert service.keys() >= OPTIONS.keys() - {"aligned", "seed", "faces"}
    for name in service.keys() & OPTIONS.keys():
        assert service[name] == OPTIONS[name].default, name


def test_motions_are_those_of_the_model_and_custom() -> None:
    from micromotion.weights.bundle import find_bundle

    choices = inputs()["motion"][1]["choices"]
    assert set(choices) == {*find_bundle("avatar").motions, "custom"}


def test_the_templates_description_has_its_time_limit() -> None:
    module = ast.parse((ROOT / "predict.py").read_text())
    limit = next(
        n.value for n in module.body if isinstance(n, ast.Assign) and _names(n) == ["COLLECTING_LIMIT"]
    )
    minutes = ast.literal_eval(limit) / 60
    assert f"at most {minutes:g} minutes" in inputs()["template"][1]["description"]


def _names(assignment: ast.Assign) -> list[str]:
    return [target.id for target in assignment.targets if isinstance(target, ast.Name)]


def test_the_published_names_are_motions_of_today() -> None:
    from micromotion.service.published import MICROMOTION

    _, words = inputs()["micromotion"]
    today = set(inputs()["motion"][1]["choices"]) - {"custom"}
    assert set(words["choices"]) == {"", *today}
    assert f"{MICROMOTION!r} if no name is given" in words["description"]


def test_choices_are_those_of_the_library() -> None:
    from micromotion.options import OPTIONS, VIEWS

    for name in ("view", "loop", "easing"):
        assert inputs()[name][1]["choices"] == list(OPTIONS[name].metadata["choices"]), name
    assert inputs()["frame"][1]["choices"] == ["", *VIEWS]
    assert inputs()["frame"][1]["deprecated"]


def test_a_timeline_may_be_as_long_as_the_library_reads_and_its_example_can_be_read() -> None:
    from micromotion.motion.timeline_text import MAX_TEXT, parse_timeline

    words = inputs()["timeline"][1]
    assert words["max_length"] == MAX_TEXT
    example = words["description"].partition("as in '")[2].partition("'")[0]
    assert parse_timeline(example).motions == ("smile", "eyesClose")


def test_a_motion_file_may_be_as_large_as_the_library_reads() -> None:
    from micromotion.motion.files import MAX_BYTES

    assert f"at most {MAX_BYTES >> 20} MB" in inputs()["motion_file"][1]["description"]


def test_a_driving_video_has_the_bounds_and_options_of_the_library() -> None:
    from micromotion.drive.options import DRIVE_OPTIONS, MAX_DRIVING_FRAMES, DriveOptions
    from micromotion.drive.read import MAX_SECONDS

    service = {name: words for name, (_, words) in inputs().items()}
    about = service["driving_video"]["description"]
    assert f"at most {MAX_SECONDS} seconds and {MAX_DRIVING_FRAMES} frames" in about
    assert set(DRIVE_OPTIONS) <= set(service)
    defaults = DriveOptions()
    assert service["parts"]["default"] == ",".join(defaults.parts)
    assert (service["rest"]["default"], defaults.rest) == (-1, None)
    for name in ("strength", "mirror", "view", "size", "face", "clip_face", "audio"):
        assert service[name]["default"] == getattr(defaults, name), name
    for name in ("face", "clip_face", "rest"):
        low, high = DRIVE_OPTIONS[name].metadata["limits"]
        assert (max(service[name]["ge"], 0), service[name]["le"]) == (low, high), name
    assert service["view"]["choices"] == list(DRIVE_OPTIONS["view"].metadata["choices"])


def test_output_formats_are_written_by_the_library() -> None:
    from micromotion.video.picture import check_picture
    from micromotion.video.writer import check_output

    for each in inputs()["output_format"][1]["choices"]:
        (check_picture if each == "png" else check_output)(f"video.{each}")


def test_a_list_of_faces_may_be_as_long_as_the_library_reads_and_its_examples_can_be_read() -> None:
    from micromotion.face_selection import MAX_FACES, MAX_FACES_TEXT, parse_faces

    words = inputs()["faces"][1]
    assert words["max_length"] == MAX_FACES_TEXT
    assert f"At most {MAX_FACES} move" in words["description"]
    examples = words["description"].split("'")[1::2]
    assert [parse_faces(example).numbers for example in examples] == [None, (0, 2), (0, 1)]


def test_a_still_may_show_any_moment_of_a_video() -> None:
    from micromotion.options import MAX_FRAMES

    assert inputs()["at"][1]["le"] == MAX_FRAMES  # at one frame per second


def test_cog_yaml_points_at_the_predictor_and_pins_cog() -> None:
    document = cog_yaml()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    build = document["build"]
    assert document["run"] == "predict.py:Predictor"
    assert build["gpu"] is True
    assert tuple(map(int, build["python_version"].split("."))) >= (3, 11)
    assert project["optional-dependencies"]["service"] == [f"cog=={build['sdk_version']}"]
    assert version("cog") == build["sdk_version"]


def test_the_container_installs_what_the_project_needs() -> None:
    """Every dependency, pinned to one version that the project allows; torch 2.11.0 has CUDA 13.0."""
    lines = (ROOT / cog_yaml()["build"]["python_requirements"]).read_text().splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            name, exact = line.split("==")
            pins[name] = exact
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {need.name: need for need in map(Requirement, project["dependencies"])}
    assert set(pins) == set(needed)
    for name, need in needed.items():
        assert need.specifier.contains(pins[name]), name
    assert (pins["torch"], cog_yaml()["build"]["cuda"]) == ("2.11.0", "13.0")
