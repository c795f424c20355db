"""`micromotion verify`: what it says, and its exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import c2pa
import numpy as np
import pytest
from certificate_files import write_certificate
from commands import run
from misbehaving_server import MisbehavingServer
from PIL import Image
from typer.testing import CliRunner
from video_formats import moving

from micromotion.cli.main import app
from micromotion.credentials.claim import Claim
from micromotion.credentials.signing import credentials_for
from micromotion.credentials.verify import Verdict, verify
from micromotion.video.picture import write_picture
from micromotion.video.writer import write_frames

CLAIM = Claim.of("avatar", ["smile"], np.array([[0], [1]]), shows_photo=True)


def said(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_frames(moving(3), tmp_path / "a.mp4", 30, claim=CLAIM)


def test_a_valid_file(video: Path) -> None:
    assert said(video) == (
        0,
        f"{video}: valid, unchanged since it was signed.\n"
        "  Made with: micromotion 0.1.0\n"
        "  Done: c2pa.opened\n"
        "  Done: c2pa.edited: The face in a photo was moved by a machine-learning model: smile 0 to 1.\n"
        "  Source: partly made by AI (compositeWithTrainedAlgorithmicMedia)\n"
        "  Model: avatar\n"
        "  Signed by: local signer, micromotion (by this user, on this machine)\n",
    )


def test_what_a_model_drew(tmp_path: Path) -> None:
    write_picture(Image.new("RGB", (8, 8)), tmp_path / "a.png", Claim("ffhq", (), shows_photo=False))
    code, text = said(tmp_path / "a.png")
    assert code == 0
    assert "  Done: c2pa.created: A face was drawn" in text
    assert "  Source: made by AI (trainedAlgorithmicMedia)\n" in text


def test_a_changed_file(video: Path) -> None:
    content = bytearray(video.read_bytes())
    content[content.index(b"mdat") + 100] ^= 1
    video.write_bytes(content)
    code, text = said(video)
    assert code == 1
    assert text.startswith(f"{video}: CHANGED since it was signed.\n")
    assert "this machine" not in text


def test_changed_credentials(video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content.replace(b"smile 0 to 1", b"smile 0 to 0"))
    assert said(video)[1].startswith(f"{video}: CHANGED since it was signed.\n")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write_frames(moving(3), tmp_path / "a.webp", 30, claim=CLAIM)
    path.write_bytes(path.read_bytes()[:-5])
    assert said(path) == (
        1,
        f"{path}: its content credentials are NOT VALID; RIFF chunk declared size exceeds file size.\n",
    )


@pytest.mark.parametrize("content", [b"", b"hello\n", bytes(1000)])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    code, text = said(tmp_path / "a.mp4")
    assert (code, text.count("\n")) == (1, 1)
    assert "no content credentials" in text


def test_a_file_without_any(tmp_path: Path) -> None:
    path = write_frames(moving(1), tmp_path / "a.gif", 30)
    assert said(path) == (1, f"{path}: no content credentials.\n")


def test_a_misleading_suffix_does_not_matter(video: Path) -> None:
    assert said(video.rename(video.with_suffix(".png")))[0] == 0
    assert said(video.with_suffix(".png").rename(video.with_name("noending")))[0] == 0


def test_several_files_are_valid_only_together(video: Path, tmp_path: Path) -> None:
    write_frames(moving(2), tmp_path / "pngs", 30, claim=CLAIM)
    pictures = sorted((tmp_path / "pngs").iterdir())
    assert said(video, *pictures)[0] == 0
    write_frames(moving(1), tmp_path / "b.mp4", 30)
    code, text = said(*pictures, tmp_path / "b.mp4", video)
    assert code == 1
    assert text.count(": valid, ") == 3
    assert text.count("no content credentials") == 1


def test_json(video: Path) -> None:
    code, text = said(video, "--json")
    assert (code, text.count("\n")) == (0, 1)
    found = json.loads(text)
    assert (found["file"], found["state"], found["local"]) == (str(video), "valid", True)
    assert found["steps"][1]["source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert found["steps"][1]["motions"] == [["smile", 0.0, 1.0]]


@pytest.mark.parametrize("name", ["none.mp4", "."])
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    code, text = said(tmp_path / name)
    assert code == 1
    assert text.startswith(f"micromotion: {tmp_path / name} cannot be read: ")
    assert text.count("\n") == 1


def test_elsewhere_the_signer_is_not_known(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_DATA", str(tmp_path / "another-users"))
    code, text = said(video)
    assert code == 0
    assert "  Signed by: local signer, micromotion (not known on this machine)\n" in text
    assert not (tmp_path / "another-users").exists()


def test_a_given_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_certificate(tmp_path)
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", ",".join(map(str, files)))
    path = write_frames(moving(1), tmp_path / "a.mp4", 30, claim=CLAIM)
    assert "  Signed by: A Signer, A Studio (not known on this machine)\n" in said(path)[1]


@pytest.mark.slow
def test_another_programs_credentials_are_shown(tmp_path: Path) -> None:
    """And what it says cannot move the cursor of a terminal."""
    credentials = credentials_for(CLAIM)
    assert credentials is not None
    certificate = credentials._certificate
    info = c2pa.C2paSignerInfo(certificate.algorithm, certificate.chain, certificate.key, None)
    source = write_frames(moving(1), tmp_path / "source.gif", 30)
    definition = {
        "claim_generator_info": [{"name": "Other\x1b[2J", "version": "7"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {
                    "actions": [
                        {
                            "action": "c2pa.created",
                            "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
                            "parameters": {"micromotion": 3},
                        }
                    ]
                },
            }
        ],
    }
    with (
        c2pa.Context.from_dict({}, signer=c2pa.Signer.from_info(info)) as context,
        c2pa.Builder(definition, context) as builder,
        source.open("rb") as before,
        (tmp_path / "a.gif").open("w+b") as after,
    ):
        builder.sign("image/gif", before, after)
    code, text = said(tmp_path / "a.gif")
    assert code == 0
    assert "  Made with: Other?[2J 7\n  Done: c2pa.created\n  Source: digitalCapture\n" in text
    assert "Model" not in text


def test_no_network_is_asked(tmp_path: Path, server: MisbehavingServer) -> None:
    """A file may name an address where its credentials are."""
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/"'
        f' dcterms:provenance="{server.url("/a")}"/>'
        "</rdf:RDF></x:xmpmeta>"
    )
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, xmp=xmp.encode())
    why = "it says that they are on a server, which is not asked"
    assert said(path) == (1, f"{path}: no content credentials; {why}.\n")
    assert server.requests == []


def test_a_verdict_is_what_was_read(video: Path) -> None:
    verdict = verify(video)
    assert isinstance(verdict, Verdict)
    assert (verdict.state, verdict.program, verdict.problems) == ("valid", "micromotion 0.1.0", ())
    assert verdict.steps[1].motions == CLAIM.motions


@pytest.mark.slow
def test_a_real_process_has_the_exit_codes(video: Path) -> None:
    assert run("verify", video).returncode == 0
    done: subprocess.CompletedProcess[str] = run("verify", video.parent / "none")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
