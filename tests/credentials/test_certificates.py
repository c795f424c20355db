"""Who signs: a root that this user keeps, a new key for each output, or a certificate that is given."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import c2pa_reader
import pytest
from certificate_files import KEYS, write_certificate
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from video_formats import everything, moving

from micromotion.credentials.certificates import kept_root, root_file, signing_certificate
from micromotion.credentials.claim import Claim
from micromotion.credentials.signing import check_credentials
from micromotion.errors import CredentialsError
from micromotion.video.writer import write_frames

CLAIM = Claim("avatar", (), shows_photo=True)


def video(folder: Path, name: str = "a.mp4") -> bytes:
    return write_frames(moving(1), folder / name, 30, claim=CLAIM).read_bytes()


def certificate() -> x509.Certificate:
    return x509.load_pem_x509_certificate(signing_certificate().chain)


# --- the root -----------------------------------------------------------------------------------------------


def test_the_root_is_made_once_and_only_its_owner_can_read_it() -> None:
    previous = os.umask(0)
    try:
        check_credentials()
    finally:
        os.umask(previous)
    path = root_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    before = path.read_bytes()
    check_credentials()
    assert path.read_bytes() == before


def test_the_certificate_names_nobody_and_does_not_expire(tmp_path: Path) -> None:
    (found,) = c2pa_reader.certificates(video(tmp_path))
    assert found.subject.rfc4514_string() == "CN=local signer,O=micromotion"
    assert found.issuer.rfc4514_string() == "CN=local root,O=micromotion"
    assert found.not_valid_after_utc.year == 9999, "without a timestamp, a file is valid as long as it"
    now = datetime.datetime.now(datetime.UTC)
    assert found.not_valid_before_utc == datetime.datetime.combine(now.date(), datetime.time(), datetime.UTC)


def test_each_output_has_a_key_of_its_own_and_nothing_leads_to_the_root(tmp_path: Path) -> None:
    one, other = video(tmp_path), video(tmp_path, "b.webp")
    leaves = [*c2pa_reader.certificates(one), *c2pa_reader.certificates(other)]
    assert len(leaves) == 2, "the root itself is in neither"
    assert leaves[0].public_key() != leaves[1].public_key()
    assert leaves[0].serial_number != leaves[1].serial_number
    root = kept_root()
    assert root is not None
    identifier = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for content, leaf in zip((one, other), leaves, strict=True):
        assert root.key.public_key().public_bytes_raw() not in content
        assert identifier not in content
        leaf.verify_directly_issued_by(root.certificate)


def test_the_files_of_a_folder_share_a_certificate(tmp_path: Path) -> None:
    write_frames(moving(3), tmp_path / "pngs", 30, claim=CLAIM)
    contents = [path.read_bytes() for path in (tmp_path / "pngs").iterdir()]
    assert len({c2pa_reader.certificates(each)[0].serial_number for each in contents}) == 1


FIRST_USE = """
import sys
sys.stdin.readline()
from micromotion.credentials.certificates import signing_certificate
sys.stdout.write(signing_certificate().chain.decode())
"""


@pytest.mark.slow
def test_processes_that_start_together_agree_on_one_root() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_USE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    chains = [process.communicate()[0] for process in processes]
    root = kept_root()
    assert root is not None
    for chain in chains:
        x509.load_pem_x509_certificate(chain.encode()).verify_directly_issued_by(root.certificate)
    assert list(root_file().parent.iterdir()) == [root_file()]


def a_file_instead(data: Path) -> None:
    data.write_bytes(b"")


def no_folder(data: Path) -> None:
    data.mkdir()
    (data / "credentials").write_bytes(b"")


def a_damaged_root(data: Path) -> None:
    (data / "credentials").mkdir(parents=True)
    (data / "credentials" / "root.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")


def a_folder_as_root(data: Path) -> None:
    (data / "credentials" / "root.pem").mkdir(parents=True)


@pytest.mark.parametrize("make", [a_file_instead, no_folder, a_damaged_root, a_folder_as_root])
def test_where_no_root_can_be_kept_it_is_in_memory(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    make(data)
    out.mkdir()
    monkeypatch.setenv("MICROMOTION_DATA", str(data))
    before = everything(data)
    assert c2pa_reader.state(video(out)) == "Valid"
    assert everything(data) == before
    assert kept_root() is None


@pytest.mark.slow
def test_in_a_read_only_folder_it_is_in_memory(tmp_path: Path) -> None:
    """In a namespace of its own, as root may write anywhere."""
    (tmp_path / "data").mkdir()
    code = "from micromotion.credentials.signing import check_credentials; check_credentials()"
    mount = f"mount -t tmpfs -o ro none {tmp_path}/data"
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("needs namespaces")
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        env={**os.environ, "MICROMOTION_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_home_it_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROMOTION_DATA", "~nobody-of-this-name")
    assert c2pa_reader.state(video(tmp_path)) == "Valid"


def test_another_users_root_did_not_sign_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = certificate()
    monkeypatch.setenv("MICROMOTION_DATA", str(tmp_path / "other"))
    check_credentials()
    other = kept_root()
    assert other is not None
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(other.certificate)


# --- given --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_given_certificate_signs(tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_certificate(tmp_path, algorithm=algorithm)
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", f"{files[0]} , {files[1]}")
    content = video(tmp_path)
    assert c2pa_reader.state(content) == "Valid"
    signature = c2pa_reader.manifest(content)["signature_info"]
    assert (signature["alg"].lower(), signature["common_name"]) == (algorithm, "A Signer")
    assert len(c2pa_reader.certificates(content)) == 2, "with its issuer's"
    assert not root_file().exists()


def swapped(folder: Path) -> str:
    certificate, key = write_certificate(folder)
    return f"{key},{certificate}"


def other_key(folder: Path) -> str:
    (folder / "other").mkdir()
    return f"{write_certificate(folder)[0]},{write_certificate(folder / 'other')[1]}"


def given(**options: object) -> Callable[[Path], str]:
    return lambda folder: ",".join(map(str, write_certificate(folder, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: "cert.pem", "must name two files"),
        (lambda folder: "a.pem,b.pem,c.pem", "must name two files"),
        (lambda folder: ",", "must name two files"),
        (lambda folder: f"{folder}/none.pem,{folder}/key.pem", "none.pem.* cannot be read, no such file"),
        (lambda folder: f"{folder},{folder}", "cannot be read, is a directory"),
        (lambda folder: "/dev/null,/dev/null", "/dev/null.* holds no certificate"),
        (swapped, "key.pem, .* holds no certificate"),
        (other_key, "its key does not belong to the first certificate"),
        (given(password=b"secret"), "the key in it is encrypted"),
        (given(days=(-30, -1)), "it is valid from .* to .*, which is not now"),
        (given(days=(1, 30)), "it is valid from .* to .*, which is not now"),
        (given(purpose="server"), "could not be signed"),
    ],
)
def test_an_unusable_certificate_is_one_sentence_before_any_frame(
    tmp_path: Path, make: Callable[[Path], str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", make(tmp_path))
    with pytest.raises(CredentialsError, match=reason) as caught:
        check_credentials()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_no_frame_is_taken_where_the_certificate_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", f"{tmp_path}/a.pem,{tmp_path}/b.pem")
    frames = moving(3)
    with pytest.raises(CredentialsError):
        write_frames(frames, tmp_path / "a.mp4", 30, claim=CLAIM)
    assert len(list(frames)) == 3
    assert everything(tmp_path) == {}


# --- nobody's name ------------------------------------------------------------------------------------------


WRITE = """
import sys
from video_formats import moving
from micromotion.credentials.claim import Claim
from micromotion.video.writer import write_frames
for path in sys.argv[1:]:
    write_frames(moving(1), path, 30, claim=Claim("avatar", (), shows_photo=True))
"""


@pytest.mark.slow
def test_no_path_user_or_host_is_in_a_file(tmp_path: Path) -> None:
    """Written by a user with a name, on a host with a name, from a folder with a name."""
    command = ["unshare", "--uts", "--map-root-user", "sh", "-c", 'hostname a-host-name && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        command = []
    folder = tmp_path / "a-folder-name"
    folder.mkdir()
    environment = {"HOME": str(folder), "USER": "a-user-name", "LOGNAME": "a-user-name"}
    paths = [str(folder / name) for name in ("a-file-name.mp4", "a-file-name.gif", "a-file-name.webp")]
    done = subprocess.run(
        [*command, sys.executable, "-c", WRITE, *paths],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[1] / "support",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for path in paths:
        content = Path(path).read_bytes()
        told = json.dumps(c2pa_reader.read(content)).encode()
        for secret in (b"a-host-name", b"a-user-name", b"a-folder-name", b"a-file-name"):
            assert secret not in content + told
