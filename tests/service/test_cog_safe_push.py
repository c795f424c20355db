"""cog-safe-push.yaml: fields that the tool documents, inputs of ours, and cases that come out as it says.

The tool is on no package index and needs an account. So its fields stand here as its README documents them
(github.com/replicate/cog-safe-push, commit 2ea3b29), and its cases run on a server of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import skimage
import yaml
from running_server import ANSWER, ROOT, Server, data_url, serving, wait_until, without_gateway
from service_answers import content, sentence

from tools.openapi import expected_schemas, inputs

DOCUMENTED: dict[str, dict[str, type]] = {
    "config": {
        "model": str,
        "test_model": str,
        "test_hardware": str,
        "predict": dict,
        "train": dict,
        "deployment": dict,
        "parallel": int,
        "fast_push": bool,
        "use_cog_base_image": bool,
        "ignore_schema_compatibility": bool,
        "official_model": str,
    },
    "predict": {"compare_outputs": bool, "predict_timeout": int, "test_cases": list, "fuzz": dict},
    "fuzz": {"fixed_inputs": dict, "disabled_inputs": list, "iterations": int, "prompt": str},
}
"""Its fields and their types; any other is refused."""
CHECKS = {"exact_string", "match_url", "match_prompt", "jq_query", "error_contains"}
"""Of these a case may have one."""
TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
PICTURES = "https://raw.githubusercontent.com/scikit-image/scikit-image/v0.24.0/skimage/data/"

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "cog-safe-push.yaml").read_text())
PREDICT: dict[str, Any] = CONFIG["predict"]
CASES: list[dict[str, Any]] = PREDICT["test_cases"]


@pytest.mark.parametrize(
    ("part", "found"), [("config", CONFIG), ("predict", PREDICT), ("fuzz", PREDICT["fuzz"])]
)
def test_every_field_is_documented(part: str, found: dict[str, Any]) -> None:
    for name, value in found.items():
        assert type(value) is DOCUMENTED[part][name], name
    assert CONFIG["model"].count("/") == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case["inputs"]))
def test_every_case_has_inputs_of_ours_and_one_check(case: dict[str, Any]) -> None:
    assert case.keys() - {"inputs"} <= CHECKS
    assert len(case) <= 2
    check_inputs(case["inputs"])
    assert case["inputs"]["image"].startswith(PICTURES)


def check_inputs(given: dict[str, Any]) -> None:
    """Check names, and values as Cog does; the tool sends only scalars and lists."""
    schemas = expected_schemas()
    for name, value in given.items():
        kind, words = inputs()[name]
        assert isinstance(value, TYPES.get(kind.removesuffix(" | None"), (str,))), name
        assert value in schemas.get(name, {}).get("enum", [value]), name
        if "ge" in words:
            assert words["ge"] <= value <= words["le"], name


def test_what_is_not_fuzzed_exists() -> None:
    fuzz = PREDICT["fuzz"]
    check_inputs(fuzz["fixed_inputs"])
    assert set(fuzz["disabled_inputs"]) <= set(inputs())
    assert not set(fuzz["fixed_inputs"]) & set(fuzz["disabled_inputs"])


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Cog's own server, as in the container."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield without_gateway(server)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case["inputs"]))
def test_every_case_comes_out_as_it_says(cog: Server, case: dict[str, Any]) -> None:
    picture = Path(skimage.__file__).parent / "data" / case["inputs"]["image"].removeprefix(PICTURES)
    image = data_url(picture.read_bytes(), "image/png")
    wait_until(lambda: cog.status() == "READY", ANSWER, "the server to be ready")
    _, answer = cog.call("/predictions", {"input": {**case["inputs"], "image": image}})
    if "error_contains" in case:
        assert case["error_contains"] in sentence(answer)
    else:
        kinds = {"mp4": "video/mp4", "webp": "image/webp"}
        assert content(answer, kinds[case["inputs"].get("output_format", "mp4")])
