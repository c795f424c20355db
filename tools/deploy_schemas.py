"""Write the schemas that the tests check deploy/ with: Kubernetes' Job and KubeRay's RayJob, made small.

    python -m tools.deploy_schemas DEFINITIONS RAYJOBS

DEFINITIONS: `v1.31.0-local-strict/_definitions.json` of the package kubernetes-validate 1.37.0 (Kubernetes'
own OpenAPI, Apache 2.0). RAYJOBS: `ray-operator/config/crd/bases/ray.io_rayjobs.yaml` of
github.com/ray-project/kuberay, commit feeaf72fa (Apache 2.0). Descriptions and the status are left out, what
occurs twice is written once, and a field that a schema does not list is an error.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).resolve().parent.parent / "tests/data"
JOB = "io.k8s.api.batch.v1.Job"
_LEAST = 200  # characters of a part that is worth a definition

Schema = dict[str, Any]


def main(definitions: str, rayjobs: str) -> None:
    """Write both."""
    found = json.loads(Path(definitions).read_text(encoding="utf-8"))["$defs"]
    _write("kubernetes-job", _job(found))
    resource = yaml.safe_load(Path(rayjobs).read_text(encoding="utf-8"))
    (version,) = (each for each in resource["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    del schema["properties"]["status"]
    _write("kuberay-rayjob", _shared(_plain(schema)))


def _job(definitions: dict[str, Schema]) -> Schema:
    """The Job, with the definitions that it needs."""
    needed: dict[str, Schema] = {}

    def take(name: str) -> None:
        if name not in needed:
            needed[name] = _plain(definitions[name])
            for reference in _references(needed[name]):
                take(reference.rpartition("/")[2])

    del definitions[JOB]["properties"]["status"]
    take(JOB)
    text = json.dumps({"$ref": f"#/$defs/{JOB}", "$defs": needed})
    schema: Schema = json.loads(text.replace("/api/_definitions.json#", "#"))
    return schema


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [each for part in schema for each in _references(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [each for part in schema.values() for each in _references(part)]


def _plain(schema: Any, *, names: bool = False) -> Any:
    """A schema without what is for people; names: it maps properties' names to schemas."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _plain(each) for name, each in schema.items()}
    kept = {
        name: _plain(each, names=name == "properties")
        for name, each in schema.items()
        if name not in ("description", "default", "format") and not name.startswith("x-kubernetes")
    }
    if schema.get("x-kubernetes-int-or-string"):
        kept = {"type": ["integer", "string"]}
    if "properties" in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


def _shared(schema: Schema) -> Schema:
    """The same schema, in which large parts that occur twice are definitions."""
    counts: Counter[str] = Counter()

    def visit(part: Any) -> None:
        if isinstance(part, dict):
            counts[json.dumps(part, sort_keys=True)] += 1
        for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            visit(each)

    visit(schema)
    often = [text for text, count in counts.items() if count > 1 and len(text) > _LEAST and '"type"' in text]
    names = {text: f"part{number}" for number, text in enumerate(often)}
    definitions: dict[str, Schema] = {}

    def replaced(part: Any, *, within: bool = False) -> Any:
        if isinstance(part, list):
            return [replaced(each) for each in part]
        if not isinstance(part, dict):
            return part
        name = names.get(json.dumps(part, sort_keys=True)) if not within else None
        if name is None:
            return {key: replaced(each, within=key == "properties") for key, each in part.items()}
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = {k: replaced(each, within=k == "properties") for k, each in part.items()}
        return {"$ref": f"#/$defs/{name}"}

    return {**replaced(schema), "$defs": definitions}


def _write(name: str, schema: Schema) -> None:
    path = DATA / f"{name}.schema.json"
    path.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
