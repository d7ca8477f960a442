"""Certificates for tests: an authority, and what it signs, as files."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class Certs:
    """One authority of our own, and files below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self._other: trustme.CA | None = None

    @property
    def other_ca(self) -> str:
        """An authority that has signed nothing of ours."""
        path = self.folder / "other-ca.pem"
        if self._other is None:
            self._other = trustme.CA()
            self._other.cert_pem.write_to_path(str(path))
        return str(path)

    def pem(self, *names: str, file: str = "", cn: str = "") -> str:
        """A file with a key and a certificate for ``names``; more with ``cn``."""
        made = self.authority.issue_cert(*names, common_name=cn or None)
        path = self.folder / (file or f"{names[0].replace('*', 'any')}.pem")
        made.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def expired(self, name: str) -> str:
        """The same, of which the time is over."""
        made = self.authority.issue_cert(name, not_before=LONG_AGO, not_after=LONG_AGO)
        path = self.folder / "expired.pem"
        made.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def client(self, cert: str = "", alpn: list[str] | None = None) -> ssl.SSLContext:
        """What Python's own clients need to trust us."""
        context = ssl.create_default_context(cafile=self.ca)
        if cert:
            context.load_cert_chain(cert)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def server(self, cert: str, ca: str = "") -> ssl.SSLContext:
        """What Python's own servers need."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
        if ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(ca)
        return context


def certificate(path: str) -> x509.Certificate:
    """The first certificate of a file."""
    return x509.load_pem_x509_certificates(Path(path).read_bytes())[0]


def encrypted_key(path: str) -> bytes:
    """The key of a file, with a passphrase."""
    key = serialization.load_pem_private_key(Path(path).read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
