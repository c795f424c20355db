"""Update the parts of openapi.json that follow from predict.py: `python -m tools.openapi`.

It follows Cog's rules for reading the inputs without running the file.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TYPES = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "Path": {"type": "string", "format": "uri"},
}
KEYS = {
    "default": "default",
    "description": "description",
    "ge": "minimum",
    "le": "maximum",
    "max_length": "maxLength",
    "accept": "x-cog-accept",
    "deprecated": "deprecated",
}
FIXED = {  # what Cog writes for every model
    "PredictionRequest",
    "PredictionResponse",
    "Status",
    "HTTPValidationError",
    "ValidationError",
}


def run_method() -> tuple[ast.FunctionDef, str]:
    """The syntax tree of Predictor.run, and its source text."""
    source = (ROOT / "predict.py").read_text()
    predictor = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    assert predictor.name == "Predictor"
    return next(n for n in predictor.body if isinstance(n, ast.FunctionDef) and n.name == "run"), source


def arguments() -> dict[str, tuple[str, dict[str, ast.expr]]]:
    """Each input by name, in order: its type's name, and the syntax of its arguments to Input(...)."""
    method, _ = run_method()
    inputs = method.args.args[1:]
    assert len(inputs) == len(method.args.defaults), "every input needs Input(...)"
    found = {}
    for argument, call in zip(inputs, method.args.defaults, strict=True):
        assert argument.annotation is not None
        assert isinstance(call, ast.Call)
        assert ast.unparse(call.func) == "Input"
        assert not call.args, "Cog's parser ignores arguments without a keyword"
        found[argument.arg] = (
            ast.unparse(argument.annotation),
            {str(word.arg): word.value for word in call.keywords},
        )
    return found


def inputs() -> dict[str, tuple[str, dict[str, Any]]]:
    """As `arguments`, with values instead of syntax."""
    return {
        name: (kind, {word: ast.literal_eval(value) for word, value in words.items()})
        for name, (kind, words) in arguments().items()
    }


def schema_type(kind: str) -> dict[str, Any]:
    """Cog's schema for an annotation: `X | None` is an optional X, and nullable."""
    bare = kind.removesuffix(" | None")
    return TYPES[bare] if bare == kind else {**TYPES[bare], "nullable": True}


def expected_schemas() -> dict[str, Any]:
    """The schemas in openapi.json that follow from predict.py."""
    properties: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    required = []
    for order, (name, (kind, words)) in enumerate(inputs().items()):
        choices = words.pop("choices", None)
        if choices:
            about = {"title": name, "description": "An enumeration.", **schema_type(kind)}
            schemas[name] = {**about, "enum": choices}
            shape: dict[str, Any] = {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}
        else:
            title = " ".join(word[:1].upper() + word[1:] for word in name.split("_"))
            shape = {"title": title, **schema_type(kind)}
        properties[name] = {**shape, "x-order": order, **{KEYS[word]: value for word, value in words.items()}}
        if "default" not in words:
            required.append(name)
    output = run_method()[0].returns
    assert isinstance(output, ast.Name)
    return {
        "Input": {"title": "Input", "type": "object", "properties": properties, "required": required},
        "Output": {"title": "Output", **TYPES[output.id]},
        **schemas,
    }


def stored() -> dict[str, Any]:
    document = json.loads((ROOT / "openapi.json").read_text())
    assert isinstance(document, dict)
    return document


def cog_yaml() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "cog.yaml").read_text())
    assert isinstance(document, dict)
    return document


def write() -> None:
    """Bring openapi.json up to date with predict.py and cog.yaml; the rest stays as `cog build` wrote it."""
    document = stored()
    old = document["components"]["schemas"]
    rest = {name: schema for name, schema in old.items() if name in FIXED}
    document["components"]["schemas"] = {**expected_schemas(), **rest}
    document["info"]["version"] = cog_yaml()["build"]["sdk_version"]
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (ROOT / "openapi.json").write_text(text)


if __name__ == "__main__":
    write()
