"""Who is at the other end of a TLS connection: names to check, facts for metadata."""

from __future__ import annotations

import ipaddress
from typing import Any

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from l7mp.interfaces import Metadata
from l7mp.streams.tls_words import certificate_problem


class Judge:
    """Says of one peer whether its certificate will do, and remembers why not."""

    def __init__(self, name: str | None = None) -> None:
        """``name`` must be in the certificate (RFC 6125), if it is given."""
        self._name = name
        self.problem = ""

    def __call__(
        self, connection: SSL.Connection, cert: Any, code: int, depth: int, ok: int
    ) -> bool:
        """OpenSSL asks for each certificate, from the authority's to the peer's."""
        if not ok:
            self.problem = self.problem or certificate_problem(code)
        elif depth == 0 and self._name is not None:
            self.problem = name_problem(cert.to_cryptography(), self._name)
        return not self.problem


def name_problem(cert: x509.Certificate, name: str) -> str:
    """Why ``cert`` is not made out to ``name``; empty if it is."""
    try:
        if is_address(name):
            verify_certificate_ip_address(cert, name)
        else:
            verify_certificate_hostname(cert, ascii_name(name))
    except (CertificateError, VerificationError, ValueError):
        known = ", ".join(_names(cert)) or "nobody"
        return f"wrong name: the certificate is for {known}, not for {name}"
    return ""


def is_address(name: str) -> bool:
    """Whether ``name`` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def ascii_name(name: str) -> str:
    """A host name as it travels (RFC 5890); raises ``ValueError``."""
    name = name.rstrip(".")
    return name if name.isascii() else idna.encode(name, uts46=True).decode()


def facts_of(connection: SSL.Connection, is_server: bool) -> Metadata:
    """What metadata says under ``/TLS`` of an established connection."""
    facts: Metadata = {"version": connection.get_protocol_version_name()}
    sni = connection.get_servername()
    alpn = connection.get_alpn_proto_negotiated()
    cert = connection.get_peer_certificate()
    told = {
        "cipher": connection.get_cipher_name(),
        "sni": sni and sni.decode("ascii", "replace"),
        "alpn": alpn and alpn.decode("ascii", "replace"),
        "peer": cert and certificate_facts(cert.to_cryptography()),
    }
    if not is_server:
        del told["sni"]
    return facts | {key: value for key, value in told.items() if value}


def certificate_facts(cert: x509.Certificate) -> Metadata:
    """A certificate as metadata: subject, issuer, alternative names, fingerprint."""
    facts: Metadata = {
        "subject": cert.subject.rfc4514_string(),
        "issuer": cert.issuer.rfc4514_string(),
        "serial": f"{cert.serial_number:x}",
        "fingerprint": cert.fingerprint(hashes.SHA256()).hex(),
        "san": _alternatives(cert),
    }
    common = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if common:
        facts["cn"] = str(common[0].value)
    return facts


def _alternatives(cert: x509.Certificate) -> dict[str, list[str]]:
    kinds: dict[str, type[x509.GeneralName]] = {
        "dns": x509.DNSName,
        "uri": x509.UniformResourceIdentifier,
        "email": x509.RFC822Name,
        "ip": x509.IPAddress,
    }
    try:
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return {}
    found = {
        word: [str(one.value) for one in san if isinstance(one, kind)]
        for word, kind in kinds.items()
    }
    return {word: names for word, names in found.items() if names}


def _names(cert: x509.Certificate) -> list[str]:
    found = _alternatives(cert)
    return [*found.get("dns", ()), *found.get("ip", ())]
