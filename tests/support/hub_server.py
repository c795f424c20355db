"""A server on this machine that speaks the hub's API as `huggingface_hub` 2.4 calls it, with repositories.

    with HubServer() as hub:
        hub.repositories["me/model"] = Repository({"bundle.json": b"..."})
        hub.add("/api/repos/create", Status(503))  # a fault in the place of any answer, by its path

Large files lie elsewhere, on "localhost", to which the server redirects as the hub does to its storage. There
is no Xet storage: the library is told to do without (see `use_server`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from misbehaving_server import Exchange, File, MisbehavingServer, Request, Status

from micromotion.weights.bundle_record import ABOUT, about_text, read_about

TOKEN = "hf_" + "secretsecretsecret"
"""Whoever sends it is the owner of all repositories."""
LFS = (".safetensors", ".bin", ".pkl")


def use_server(monkeypatch: pytest.MonkeyPatch, base: str, home: Path) -> None:
    """Let the library use this hub, with a cache in `home` and without waiting long; also in other processes.

    It reads the environment when it is imported, so here its constants are set as well.
    """
    from huggingface_hub import constants, file_download

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    environment = {"HF_ENDPOINT": base, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    template = base + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", base)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}))
    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setattr(constants, name, True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(constants, name, 1)
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 1)
    use_cache(monkeypatch, home)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


def use_cache(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Let the library use another cache."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HUB_OFFLINE=1 does."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def bundle_files(folder: Path, **about: object) -> dict[str, bytes]:
    """The files of a repository that holds this bundle; about replaces entries of its record."""
    parts = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.safetensors"))}
    record = json.loads(about_text(folder.name, read_about(folder), parts)) | {"name": "random"} | about
    return {ABOUT: json.dumps(record).encode(), **{part: path.read_bytes() for part, path in parts.items()}}


@dataclass
class Repository:
    """A repository: its files at each commit, by path; `main` is the last. gated: it has terms to accept."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.commit(self.files)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def main(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: Mapping[str, bytes]) -> str:
        """Add files; returns the commit."""
        after = {**self.main, **files} if self.commits else dict(files)
        listed = [(path, hashlib.sha256(content).hexdigest()) for path, content in sorted(after.items())]
        commit = hashlib.sha1(json.dumps([len(self.commits), listed]).encode()).hexdigest()
        self.commits[commit] = after
        return commit

    def at(self, revision: str) -> str | None:
        """The commit of a revision."""
        return self.head if revision == "main" else revision if revision in self.commits else None


class HubExchange(Exchange):
    """Answers with the behaviour added for the path, or else as the hub."""

    body = b""

    def _answer(self) -> None:
        owner: HubServer = self.server.owner  # type: ignore[assignment]
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with owner.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            owner.requests.append(Request(self.path, headers))
            owner.asked_for.append(f"{self.command} {path}")
        behaviour = owner.behaviours.get(f"{self.command} {path}") or owner.behaviours.get(path)
        try:
            (behaviour or owner.answer)(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client disconnected
        finally:
            self.close_connection = True

    def do_GET(self) -> None:  # noqa: N802 (its name in the base class)
        self._answer()

    def do_HEAD(self) -> None:  # noqa: N802 (its name in the base class)
        self._answer()

    def do_POST(self) -> None:  # noqa: N802 (its name in the base class)
        self._answer()

    def do_PUT(self) -> None:  # noqa: N802 (its name in the base class)
        self._answer()

    def write(self, data: bytes) -> None:
        if self.command != "HEAD":
            super().write(data)

    def send(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        text = json.dumps(value).encode()
        self.begin(status, {"Content-Type": "application/json", "Content-Length": len(text)})
        self.write(text)


class HubServer(MisbehavingServer):
    """The hub: `repositories` by owner/name, `storage` by SHA-256."""

    handler = HubExchange

    def __init__(self) -> None:
        super().__init__()
        self.repositories: dict[str, Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.asked_for: list[str] = []
        self.lies: dict[str, Callable[[bytes], bytes]] = {}
        self.sizes: dict[str, int] = {}

    def lie(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """Send other bytes for a file, under the right hash and size."""
        self.lies[path] = change

    @property
    def storage_base(self) -> str:
        """The address of the storage: another host than the hub's, as far as the library can see."""
        return self.base.replace("127.0.0.1", "localhost")

    def answer(self, exchange: Exchange) -> None:
        assert isinstance(exchange, HubExchange)
        path = unquote(urlsplit(exchange.path).path)
        for pattern, respond in self.ROUTES:
            if found := re.fullmatch(pattern, f"{exchange.command} {path}"):
                respond(self, exchange, *found.groups())
                return
        Status(404)(exchange)

    # --- reading ---

    def _resolve(self, exchange: HubExchange, repo: str, revision: str, path: str) -> None:
        repository = self._readable(exchange, repo)
        if repository is None:
            return
        commit = repository.at(revision)
        if commit is None:
            _refuse(exchange, 404, "RevisionNotFound")
            return
        if path not in repository.commits[commit]:
            _refuse(exchange, 404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        content = repository.commits[commit][path]
        headers: dict[str, str] = {"X-Repo-Commit": commit}
        size = self.sizes.get(path, len(content))
        if not path.endswith(LFS):
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            shown = self.lies.get(path, bytes)(content)
            exchange.begin(200, {**headers, "ETag": f'"{blob}"', "Content-Length": size})
            exchange.write(shown)
            return
        oid = hashlib.sha256(content).hexdigest()
        self.storage[oid] = self.lies.get(path, bytes)(content)
        headers |= {
            "X-Linked-ETag": f'"{oid}"',
            "X-Linked-Size": str(size),
            "Location": f"{self.storage_base}/storage/{oid}?Signature=signed-by-the-hub",
        }
        Status(302, headers)(exchange)

    def _stored(self, exchange: HubExchange, oid: str) -> None:
        if exchange.command == "PUT":
            self.storage[oid] = exchange.body
            Status(200, body=b"")(exchange)
        elif oid in self.storage:
            File(self.storage[oid])(exchange)
        else:
            Status(403)(exchange)

    def _info(self, exchange: HubExchange, repo: str) -> None:
        repository = self._readable(exchange, repo)
        if repository is not None:
            exchange.send({"id": repo, "sha": repository.head, "private": repository.private})

    # --- writing ---

    def _create(self, exchange: HubExchange) -> None:
        if not _is_owner(exchange):
            _refuse(exchange, 401)
            return
        wanted = json.loads(exchange.body)
        repo = f"{wanted['organization']}/{wanted['name']}"
        if repo in self.repositories:
            exchange.send({"error": "You already created this model repo", "url": f"{self.base}/{repo}"}, 409)
            return
        self.repositories[repo] = Repository(
            {".gitattributes": b"*.safetensors filter=lfs\n"}, private=wanted.get("visibility") == "private"
        )
        exchange.send({"url": f"{self.base}/{repo}"})

    def _validate(self, exchange: HubExchange) -> None:
        import yaml

        text = json.loads(exchange.body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        about = yaml.safe_load(found[1]) if found else None
        wrong = [] if isinstance(about, dict) and "license" in about else [{"message": "no license"}]
        exchange.send({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def _preupload(self, exchange: HubExchange, repo: str) -> None:
        if self._writable(exchange, repo) is None:
            return
        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(LFS) else "regular",
                "shouldIgnore": False,
            }
            for each in json.loads(exchange.body)["files"]
        ]
        exchange.send({"files": files})

    def _batch(self, exchange: HubExchange, repo: str) -> None:
        if self._writable(exchange, repo) is None:
            return
        objects: list[dict[str, Any]] = []
        for each in json.loads(exchange.body)["objects"]:
            if each["oid"] not in self.storage:
                upload = {"href": f"{self.storage_base}/storage/{each['oid']}", "header": {}}
                each["actions"] = {"upload": upload, "verify": {"href": f"{self.base}/verify", "header": {}}}
            objects.append(each)
        exchange.send({"objects": objects, "transfer": "basic"})

    def _verify(self, exchange: HubExchange) -> None:
        wanted = json.loads(exchange.body)
        content = self.storage.get(wanted["oid"], b"")
        right = (len(content), hashlib.sha256(content).hexdigest()) == (wanted["size"], wanted["oid"])
        exchange.send({}, 200 if right else 422)

    def _commit(self, exchange: HubExchange, repo: str) -> None:
        repository = self._writable(exchange, repo)
        if repository is None:
            return
        files: dict[str, bytes] = {}
        for line in exchange.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.storage[value["oid"]]
        commit = repository.commit(files)
        exchange.send({"commitUrl": f"{self.base}/{repo}/commit/{commit}", "commitOid": commit})

    def _readable(self, exchange: HubExchange, repo: str) -> Repository | None:
        """The repository; None once an answer has said that there is none, or that it may not be read."""
        repository = self.repositories.get(repo)
        if repository is None or (repository.private and not _is_owner(exchange)):
            _refuse(exchange, 401 if not _is_owner(exchange) else 404, "RepoNotFound")
        elif repository.gated and not _is_owner(exchange):
            _refuse(exchange, 403, "GatedRepo")
        else:
            return repository
        return None

    def _writable(self, exchange: HubExchange, repo: str) -> Repository | None:
        if not _is_owner(exchange):
            _refuse(exchange, 403)
            return None
        return self._readable(exchange, repo)

    ROUTES: tuple[tuple[str, Callable[..., None]], ...] = (
        (r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _resolve),
        (r"(?:GET|PUT) /storage/([0-9a-f]{64})", _stored),
        (r"GET /api/models/([^/]+/[^/]+)", _info),
        (r"POST /api/repos/create", _create),
        (r"POST /api/validate-yaml", _validate),
        (r"POST /api/models/([^/]+/[^/]+)/preupload/main", _preupload),
        (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", _batch),
        (r"POST /verify", _verify),
        (r"POST /api/models/([^/]+/[^/]+)/commit/main", _commit),
    )


def _is_owner(exchange: HubExchange) -> bool:
    return exchange.headers.get("Authorization") == f"Bearer {TOKEN}"


def _refuse(
    exchange: HubExchange, status: int, code: str = "", headers: Mapping[str, str] | None = None
) -> None:
    more = {"X-Error-Code": code} if code else {}
    Status(status, {**more, **(headers or {})}, b"")(exchange)
