"""How a listener or a cluster is to speak TLS: names of files, never secrets."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from l7mp.model.base import Declared, Items
from l7mp.model.explain import Says, complaint
from l7mp.model.types import Seconds

File = Annotated[
    str,
    Field(min_length=1, pattern=r"^[^\x00]+$", examples=["/etc/l7mp/tls.pem"]),
    Says("the path of a file", "must be the path of a file"),
]
"""The path of a PEM file."""

ServerName = Annotated[
    str,
    Field(pattern=r"^[^\s\x00/]+$", examples=["example.org", "192.0.2.1"]),
    Says("a name", "must be a host name or an IP address"),
]
"""What a certificate is made out to."""

Pattern = Annotated[
    str,
    Field(
        pattern=r"^(\*\.)?[^\s\x00/*]+$", examples=["www.example.org", "*.example.org"]
    ),
    Says("a name", 'must be a host name, or one such as "*.example.org"'),
]
"""A host name, or all names with one label more."""

Alpn = Annotated[
    str,
    Field(pattern=r"^[\x21-\x7e]{1,255}$", examples=["h2", "http/1.1"]),
    Says("a protocol's name", "must be a protocol's name of 1 to 255 characters"),
]
"""An application protocol (RFC 7301)."""

Version = Literal["TLSv1.2", "TLSv1.3"]

HANDSHAKE = 10
"""Seconds that a client may take for its handshake."""


class Identity(Declared):
    """A certificate and its private key."""

    cert: File
    """A PEM file: the certificate, then those that lead to the authority."""
    key: File | None = None
    """A PEM file with the private key, not encrypted; if missing, ``cert`` has both."""

    @property
    def key_file(self) -> str:
        """Where the private key is."""
        return self.key or self.cert


class _Common(Declared):
    """What both sides can say."""

    ca: File | None = None
    """A PEM file, or a directory of such, with the authorities to trust."""
    alpn: Items[Alpn] | None = None
    """Application protocols, the best first (ALPN, RFC 7301)."""
    min_version: Version = "TLSv1.2"
    """The oldest version to speak."""
    ciphers: Annotated[str, Field(min_length=1)] | None = None
    """Ciphers of TLS 1.2, as a list of OpenSSL's; its default if missing."""


class TLSServer(_Common, Identity):
    """Speak TLS with clients; files are read again when they change."""

    client_cert: Literal["none", "optional", "required"] = "none"
    """Whether clients show a certificate, which one of ``ca`` must have signed."""
    sni: dict[Pattern, Identity] | None = None
    """Other certificates, by the name that the client asks for (RFC 6066)."""
    handshake_timeout: Seconds = HANDSHAKE
    """Seconds that a client may take for its handshake; 0: any time."""

    @model_validator(mode="after")
    def _has_authorities(self) -> Self:
        if self.client_cert != "none" and self.ca is None:
            hint = 'add "ca", the PEM file of the authorities that sign for clients'
            raise complaint("client certificates need authorities to check them", hint)
        if self.client_cert == "none" and self.ca is not None:
            hint = 'add "client_cert: required" (or optional), or remove "ca"'
            raise complaint('"ca" does nothing where clients show no certificate', hint)
        return self

    def files(self) -> list[str]:
        """Every file that is named."""
        identities = [self, *(self.sni or {}).values()]
        files = [name for one in identities for name in (one.cert, one.key_file)]
        return list(dict.fromkeys([*files, *([self.ca] if self.ca else ())]))


class TLSClient(_Common):
    """Speak TLS with the endpoint; files are read again when they change."""

    server_name: ServerName | None = None
    """The name to ask for and to find in the certificate; the address if missing."""
    verify: bool = True
    """Whether the certificate must be valid, trusted and made out to the name."""
    cert: File | None = None
    """The certificate to show if asked for one, as for a listener."""
    key: File | None = None
    """Its private key, if not in the same file."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.key is not None and self.cert is None:
            raise complaint('"key" needs its certificate', 'add "cert"')
        if self.ca is not None and not self.verify:
            hint = 'remove "ca" or "verify: false"'
            raise complaint('"ca" does nothing where nothing is verified', hint)
        return self

    @property
    def identity(self) -> Identity | None:
        """What to show to servers that ask."""
        return None if self.cert is None else Identity(cert=self.cert, key=self.key)

    def files(self) -> list[str]:
        """Every file that is named."""
        return [name for name in (self.cert, self.key, self.ca) if name is not None]


def identity_for(name: str, table: dict[str, Identity]) -> Identity | None:
    """Whose certificate a client that asks for ``name`` is shown; exact names first."""
    wanted = name.lower().rstrip(".")
    lowered = {pattern.lower(): one for pattern, one in table.items()}
    _, dot, parent = wanted.partition(".")
    return lowered.get(wanted) or (lowered.get(f"*.{parent}") if dot else None)
