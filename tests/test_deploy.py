"""deploy/: the manifests are valid for Kubernetes and KubeRay, and what they run is a command of ours."""

from __future__ import annotations

import json
import shlex
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_blocks import check_usage
from jsonschema import Draft202012Validator

from micromotion.batch.shard import Shard, parse_shard

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = {"indexed-job": "kubernetes-job", "rayjob": "kuberay-rayjob"}
"""Each manifest, and its schema (`tools/deploy_schemas.py`)."""


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"deploy/{name}.yaml").read_text(encoding="utf-8"))
    return found


def errors(name: str, content: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / f"tests/data/{SCHEMAS[name]}.schema.json").read_text(encoding="utf-8"))
    return [error.message for error in Draft202012Validator(schema).iter_errors(content)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_manifests_are_valid(name: str) -> None:
    assert {path.stem for path in (ROOT / "deploy").glob("*.yaml")} == set(SCHEMAS)
    assert errors(name, manifest(name)) == []


def test_a_wrong_manifest_is_found() -> None:
    """Shows that the test above can fail, also deep within a pod."""
    job, ray = manifest("indexed-job"), manifest("rayjob")
    wrong = deepcopy(job)
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    assert "imagee" in errors("indexed-job", wrong)[0]
    wrong = deepcopy(job)
    wrong["spec"]["completions"] = "many"
    assert errors("indexed-job", wrong)
    wrong = deepcopy(ray)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["env"] = [{}]
    assert errors("rayjob", wrong)
    wrong = deepcopy(ray)
    wrong["spec"]["entryPoint"] = wrong["spec"].pop("entrypoint")
    assert "entryPoint" in errors("rayjob", wrong)[0]


def test_their_commands_are_valid() -> None:
    words = shlex.split(manifest("rayjob")["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "micromotion"]
    check_usage(words[3:])
    (container,) = manifest("indexed-job")["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["python", "-m", "micromotion"]
    check_usage([*container["command"][3:], *container["args"]])


def test_the_shares_of_the_job_are_its_completions() -> None:
    spec = manifest("indexed-job")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    text = container["args"][container["args"].index("--shard") + 1]
    last = parse_shard(text, {"JOB_COMPLETION_INDEX": str(spec["completions"] - 1)})
    assert last == Shard(spec["completions"], spec["completions"])


def test_the_version_of_ray_is_that_of_the_extra() -> None:
    version = manifest("rayjob")["spec"]["rayClusterSpec"]["rayVersion"]
    for file in ("pyproject.toml", "deploy/requirements.txt"):
        assert f"]=={version}" in (ROOT / file).read_text(encoding="utf-8"), file
