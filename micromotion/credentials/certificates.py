"""Who signs: a certificate that is given, or one made here for this one output.

`MICROMOTION_CREDENTIALS` is `CERTIFICATES.pem,KEY.pem`, or `off`, or not set. If it is not set, each output
is signed with a new key, which is forgotten afterwards. Its certificate names no person or machine, only the
day. It is issued by a root of this user, kept in the folder of user data (`credentials/root.pem`: an Ed25519
key and its certificate, mode 0600), or in memory where nothing can be kept.

Nothing in an output leads to another one, or to the root: the root's certificate and key identifier are left
out, and an Ed25519 signature does not reveal its key, as an ECDSA signature would. Only who has the root can
tell that a file was signed under it; `micromotion verify` does.

Without a timestamp from a server, a file is valid only as long as its certificate is: so these do not expire.
"""

from __future__ import annotations

import datetime
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from micromotion.credentials.claim import PROGRAM
from micromotion.errors import CredentialsError, OutputError
from micromotion.runtime.folders import data_folder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

VARIABLE = "MICROMOTION_CREDENTIALS"
OFF = "off"

_NEVER = datetime.datetime(9999, 12, 31, 23, 59, 59)  # no expiry (RFC 5280, 4.1.2.5)
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class Certificate(NamedTuple):
    """What c2pa signs with: its name of the algorithm, the certificates from the signer's own on, the key."""

    algorithm: str
    chain: bytes
    """PEM."""
    key: bytes
    """PEM, PKCS #8, not encrypted."""


class Root(NamedTuple):
    """Issues the certificates made here."""

    key: Ed25519PrivateKey
    certificate: x509.Certificate


def switched_off() -> bool:
    """Whether MICROMOTION_CREDENTIALS is `off`."""
    return os.environ.get(VARIABLE, "").strip().lower() == OFF


def signing_certificate() -> Certificate:
    """The given certificate, or else a new one. Raises CredentialsError if the given one cannot be used."""
    given = os.environ.get(VARIABLE, "").strip()
    return read_certificate(given) if given else issue(local_root() or make_root())


# --- made here ----------------------------------------------------------------------------------------------


def root_file() -> Path:
    """The path of the root, which may not exist yet. Raises as `data_folder`."""
    return data_folder() / "credentials" / "root.pem"


def local_root() -> Root | None:
    """This user's root, made on first use; None if it can be neither read nor kept."""
    try:
        path = root_file()
        with suppress(FileNotFoundError):
            return _read_root(path)
        _keep(make_root(), path)
        return _read_root(path)  # another process may have been first
    except (OSError, OutputError, ValueError, TypeError):
        return None


def kept_root() -> Root | None:
    """This user's root if there is one; makes none."""
    with suppress(OSError, OutputError, ValueError, TypeError):
        return _read_root(root_file())
    return None


def make_root() -> Root:
    """A new root, in memory."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name("local root")
    builder = _builder(name, name).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(issues=True), critical=True)
    builder = builder.add_extension(identifier, critical=False)
    return Root(key, builder.sign(key, None))


def issue(root: Root) -> Certificate:
    """A new key and its certificate, as C2PA's certificate profile wants it (C2PA 2.2, 14.5.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _builder(_name("local signer"), root.certificate.subject).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(issues=False), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
    )
    builder = builder.add_extension(identifier, critical=False)
    # C2PA requires the extension; the root's identifier in it would lead from one output to the next.
    builder = builder.add_extension(x509.AuthorityKeyIdentifier(None, None, None), critical=False)
    return Certificate("es256", _pem(builder.sign(root.key, None)), _private_pem(key))


def _builder(subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    """A certificate without key and extensions, valid from the beginning of this day (UTC), without end."""
    from cryptography import x509

    today = datetime.datetime.now(datetime.UTC).date()
    midnight = datetime.datetime.combine(today, datetime.time())
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(midnight).not_valid_after(_NEVER)


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, PROGRAM)
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, issues: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not issues,
        key_cert_sign=issues,
        crl_sign=issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _keep(root: Root, path: Path) -> None:
    """Write a root, readable by its owner alone, unless another process has written one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_private_pem(root.key) + _pem(root.certificate))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, never replaces
    finally:
        temporary.unlink(missing_ok=True)


def _read_root(path: Path) -> Root:
    """Raises OSError if it cannot be read, ValueError or TypeError if it is damaged."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = path.read_bytes()
    key = load_pem_private_key(content, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return Root(key, x509.load_pem_x509_certificate(content))


# --- given --------------------------------------------------------------------------------------------------


def read_certificate(given: str) -> Certificate:
    """The certificate of `CERTIFICATES.pem,KEY.pem`: the signer's, then its issuers'; its private key.

    Raises CredentialsError if a file cannot be read or they do not fit together. Whether C2PA accepts the
    certificate is seen when it signs.
    """
    paths = _paths(given)
    if len(paths) != 2:
        raise CredentialsError(
            f"{VARIABLE} must name two files, CERTIFICATES.pem,KEY.pem, or be '{OFF}', not {given!r:.200}."
        )
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain, secret = (_read(path) for path in paths)
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise _unusable(paths[0], "it holds no certificate in PEM format") from error
    try:
        key = load_pem_private_key(secret, None)
    except TypeError as error:
        raise _unusable(paths[1], "the key in it is encrypted: give it without a password") from error
    except Exception as error:  # ValueError, or cryptography's UnsupportedAlgorithm
        raise _unusable(paths[1], "it holds no private key in PEM format") from error
    if key.public_key() != certificates[0].public_key():
        raise _unusable(paths[1], f"its key does not belong to the first certificate in {paths[0]}")
    first, last = certificates[0].not_valid_before_utc, certificates[0].not_valid_after_utc
    if not first <= datetime.datetime.now(datetime.UTC) <= last:
        raise _unusable(paths[0], f"it is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}, which is not now")
    return Certificate(_algorithm(key, paths[1]), b"".join(map(_pem, certificates)), _private_pem(key))


def given_files() -> list[str]:
    """The files that MICROMOTION_CREDENTIALS names, as messages show them."""
    paths = _paths(os.environ.get(VARIABLE, ""))
    return [str(path) for path in paths] if len(paths) == 2 else []


def _paths(given: str) -> list[Path]:
    return [_expanded(Path(part.strip())) for part in given.split(",") if part.strip()]


def _expanded(path: Path) -> Path:
    with suppress(RuntimeError):  # no such home
        return path.expanduser()
    return path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unusable(path, f"it cannot be read, {reason.lower()}") from error


def _algorithm(key: PrivateKeyTypes, path: Path) -> str:
    """c2pa's name of the algorithm for a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise _unusable(path, "C2PA takes keys on the curves P-256, P-384, P-521, Ed25519, and RSA of 2048 bits")


def _unusable(path: Path, reason: str) -> CredentialsError:
    return CredentialsError(f"{path}, which {VARIABLE} names, cannot be used: {reason}.")


# --- PEM ----------------------------------------------------------------------------------------------------


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
