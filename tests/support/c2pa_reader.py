"""Reads content credentials with c2pa's own reader, as another program would: none of our code."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import Any

import c2pa
from cryptography import x509

UNTRUSTED = "signingCredential.untrusted"


def read(content: bytes) -> dict[str, Any]:
    """The whole manifest store of a file's bytes. Raises c2pa.C2paError if there is none."""
    with c2pa.Reader(None, io.BytesIO(content)) as reader:
        store: dict[str, Any] = json.loads(reader.json())
        return store


def state(content: bytes) -> str:
    """What c2pa says of a file: Valid or Invalid."""
    return str(read(content)["validation_state"])


def failures(content: bytes) -> list[str]:
    """The codes of all failures but that nobody trusts the signer."""
    found = read(content)["validation_results"]["activeManifest"]["failure"]
    return [each["code"] for each in found if each["code"] != UNTRUSTED]


def manifest(content: bytes) -> dict[str, Any]:
    """The active manifest."""
    store = read(content)
    found: dict[str, Any] = store["manifests"][store["active_manifest"]]
    return found


def actions(content: bytes) -> list[dict[str, Any]]:
    """The actions of the active manifest, in order."""
    (data,) = [each["data"] for each in manifest(content)["assertions"] if "actions" in each["label"]]
    found: list[dict[str, Any]] = data["actions"]
    return found


def certificates(content: bytes) -> list[x509.Certificate]:
    """The certificates in a file: all DER sequences in it that are one."""
    found, at = [], content.find(b"\x30\x82")
    while at >= 0:
        size = 4 + int.from_bytes(content[at + 2 : at + 4], "big")
        with suppress(ValueError):
            found.append(x509.load_der_x509_certificate(content[at : at + size]))
        at = content.find(b"\x30\x82", at + 1)
    return found
