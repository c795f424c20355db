"""Reads a file's content credentials, its own or another program's, and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from micromotion.credentials.certificates import kept_root
from micromotion.credentials.claim import TERMS, Played, plain
from micromotion.credentials.manifest import read_parameters
from micromotion.errors import CredentialsError

State = Literal["valid", "changed", "invalid", "none"]

_UNTRUSTED = "signingCredential.untrusted"
_CHANGED = ("mismatch", "missing")  # ends of the codes of C2PA's failures that say so


@dataclass(frozen=True)
class Step:
    """One action of the manifest."""

    action: str
    """Such as c2pa.edited."""
    source_type: str | None
    """The IPTC digital source type: its term, or the URI of another vocabulary."""
    description: str | None
    model: str | None = None
    """The model's name, in ours."""
    motions: tuple[Played, ...] = ()
    """The motions with their lowest and highest strengths, in ours."""


@dataclass(frozen=True)
class Verdict:
    """What a file's credentials say, and whether they hold.

    state: "valid"; "changed", the file or its credentials were changed after signing; "invalid" for another
    reason; "none", there are none. local: signed under this user's own root.
    """

    state: State
    problems: tuple[str, ...] = ()
    program: str | None = None
    steps: tuple[Step, ...] = ()
    signer: str | None = None
    local: bool = False


def verify(path: Path) -> Verdict:
    """Read and check the credentials of a file of any format that c2pa knows, without a network.

    Whether the signer is who the certificate says is not checked. Raises CredentialsError if the file cannot
    be read.
    """
    import c2pa

    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(_settings()) as context,
            c2pa.Reader(None, file, context=context) as reader,
        ):
            return _verdict(reader)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CredentialsError(f"{path} cannot be read: {reason}.") from error
    except c2pa.C2paError.ManifestNotFound:
        return Verdict("none")
    except c2pa.C2paError.NotSupported:
        return Verdict("none", ("the file is of no format that carries any",))
    except c2pa.C2paError as error:
        kind, _, reason = _plain(error).partition(": ")
        if kind == "Remote":
            return Verdict("none", ("it says that they are on a server, which is not asked",))
        return Verdict("invalid", (reason.rpartition(": ")[2],))


def _settings() -> dict[str, Any]:
    """c2pa's: no network; this user's own root is trusted."""
    from cryptography.hazmat.primitives.serialization import Encoding

    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if (root := kept_root()) is not None:
        settings["trust"] = {"user_anchors": root.certificate.public_bytes(Encoding.PEM).decode()}
    return settings


def _verdict(reader: Any) -> Verdict:
    manifest = reader.get_active_manifest() or {}
    state = reader.get_validation_state()
    failures = [
        each
        for each in (reader.get_validation_results() or {}).get("activeManifest", {}).get("failure", [])
        if each.get("code") != _UNTRUSTED
    ]
    changed = any(each.get("code", "").endswith(_CHANGED) for each in failures)
    programs = manifest.get("claim_generator_info") or [{}]
    signature = manifest.get("signature_info") or {}
    names = [signature.get("common_name"), signature.get("issuer")]
    return Verdict(
        state="valid" if state in ("Valid", "Trusted") else "changed" if changed else "invalid",
        problems=tuple(dict.fromkeys(_plain(each.get("explanation") or each["code"]) for each in failures)),
        program=_joined(programs[0].get("name"), programs[0].get("version")),
        steps=tuple(_steps(manifest)),
        signer=_joined(*names, separator=", "),
        local=state == "Trusted",
    )


def _steps(manifest: Mapping[str, Any]) -> list[Step]:
    found = []
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            found += [_step(action) for action in assertion.get("data", {}).get("actions", [])]
    return found


def _step(action: Mapping[str, Any]) -> Step:
    source, description = action.get("digitalSourceType"), action.get("description")
    model, motions = read_parameters(action.get("parameters"))
    return Step(
        _plain(action.get("action", "")),
        None if source is None else _plain(source).removeprefix(TERMS),
        None if description is None else _plain(description),
        model,
        motions,
    )


def _joined(*parts: object, separator: str = " ") -> str | None:
    return separator.join(_plain(part) for part in parts if part) or None


def _plain(text: object) -> str:
    """Untrusted text on one line, for a terminal."""
    return plain(text, 1000)
