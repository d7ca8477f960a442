"""From what a configuration says of TLS to OpenSSL's contexts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime

from l7mp.errors import LocalError
from l7mp.model.tls import Identity, TLSClient, TLSServer, identity_for
from l7mp.streams.tls_files import Reloaded
from l7mp.streams.tls_peer import Judge, ascii_name, is_address
from l7mp.streams.tls_words import tls_loss

Warn = Callable[[str], None]

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

_DTLS_1_2 = 0xFEFD
"""The version as it is on the wire, for which pyOpenSSL has no name."""

_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    # Sessions are not resumed: each handshake looks at the certificates of today.
    | SSL.OP_NO_TICKET
)

MTU = 1232
"""Octets of the datagrams of a handshake, which fit into any packet of IPv6."""

_CLIENTS = {
    "none": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


class NoProtocol(Exception):
    """The client offers application protocols, and none of ours is among them."""


# -- files ------------------------------------------------------------------------


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise LocalError(
            f"cannot read the {what} {path}: {error.strerror};"
            " it must be a PEM file that this process may read"
        ) from error


def _use(context: SSL.Context, identity: Identity) -> None:
    """Let ``context`` show a certificate."""
    try:
        certs = x509.load_pem_x509_certificates(_read(identity.cert, "certificate"))
    except ValueError as error:
        raise LocalError(
            f"{identity.cert} has no usable certificate: {error};"
            ' it must be a PEM file with "BEGIN CERTIFICATE"'
        ) from error
    key = _private_key(identity.key_file)
    leaf, *chain = certs
    try:
        context.use_certificate(leaf)
        for cert in chain:
            context.add_extra_chain_cert(cert)
    except SSL.Error as error:
        raise LocalError(
            f"OpenSSL does not take the certificate in {identity.cert}:"
            f" {tls_loss(error).detail}; have a stronger one made"
        ) from error
    try:
        context.use_privatekey(key)
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise LocalError(
            f"the private key {identity.key_file} does not belong to the first"
            f" certificate in {identity.cert}; name the key that it was made with"
        ) from error


def _private_key(path: str) -> Any:
    data = _read(path, "private key")
    try:
        return load_pem_private_key(data, None)
    except TypeError as error:
        raise LocalError(
            f"the private key {path} is encrypted or of no use for TLS; store it"
            f" without a passphrase: openssl pkey -in {path} -out plain.pem"
        ) from error
    except ValueError as error:
        raise LocalError(
            f"{path} has no usable private key;"
            ' it must be a PEM file with "BEGIN PRIVATE KEY"'
        ) from error


def _trust(context: SSL.Context, ca: str) -> None:
    if os.path.isdir(ca):
        context.load_verify_locations(None, ca)
        return
    _read(ca, "file of authorities")
    try:
        context.load_verify_locations(ca)
    except SSL.Error as error:
        raise LocalError(
            f"{ca} has no usable certificate of an authority;"
            ' it must be a PEM file with "BEGIN CERTIFICATE"'
        ) from error


class Cookies(Protocol):
    """What DTLS gives to peers so that they prove where they are."""

    def cookie(self, connection: SSL.Connection) -> bytes:
        """For the peer that is greeted."""

    def is_cookie(self, connection: SSL.Connection, said: bytes) -> bool:
        """Whether that is it."""


def _datagram_context(method: int, tls: TLSServer | TLSClient) -> SSL.Context:
    if tls.min_version != "TLSv1.2":
        raise LocalError(
            f"over datagrams there is DTLS 1.2 only, not what {tls.min_version}"
            " corresponds to: leave min_version out"
        )
    context = SSL.Context(method)
    context.set_min_proto_version(_DTLS_1_2)
    for option in (SSL.OP_NO_QUERY_MTU, SSL.OP_COOKIE_EXCHANGE):
        context.set_options(cast(int, option))
    return context


def _stream_context(method: int, tls: TLSServer | TLSClient) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[tls.min_version])
    return context


def _context(tls: TLSServer | TLSClient, *, datagrams: bool) -> SSL.Context:
    """What both sides have in common."""
    is_server = isinstance(tls, TLSServer)
    if datagrams:
        method = SSL.DTLS_SERVER_METHOD if is_server else SSL.DTLS_CLIENT_METHOD
        context = _datagram_context(method, tls)
    else:
        method = SSL.TLS_SERVER_METHOD if is_server else SSL.TLS_CLIENT_METHOD
        context = _stream_context(method, tls)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"l7mp")
    if tls.ciphers is not None:
        try:
            context.set_cipher_list(tls.ciphers.encode())
        except SSL.Error as error:
            raise LocalError(
                f'OpenSSL knows no cipher in "{tls.ciphers}";'
                " `openssl ciphers` lists them"
            ) from error
    return context


# -- the sides ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Contexts:
    """A server's, the usual one and those for other names."""

    usual: SSL.Context
    named: dict[str, SSL.Context]


class ServerTLS:
    """Makes the server's end of connections, as ``tls`` says at that time."""

    def __init__(
        self,
        tls: TLSServer,
        alpn: Sequence[str],
        warn: Warn,
        clock: IReactorTime,
        cookies: Cookies | None = None,
    ) -> None:
        """
        ``alpn`` are the protocols to speak where ``tls`` names none.

        With ``cookies`` connections are of datagrams (DTLS), without of bytes.  Raises ``LocalError`` that names the file that is of no use.
        """
        self.tls = tls
        self._cookies = cookies
        self._alpn = [name.encode() for name in tls.alpn or alpn]
        self._contexts = Reloaded(tls.files(), self._make, warn, clock)

    def connection(self) -> tuple[SSL.Connection, Judge]:
        """The end of a new connection, and who judges the client's certificate."""
        connection = SSL.Connection(self._contexts.current().usual, None)
        judge = Judge()
        connection.set_verify(_CLIENTS[self.tls.client_cert], judge)
        connection.set_accept_state()
        if self._cookies is not None:
            connection.set_ciphertext_mtu(MTU)
        return connection, judge

    def _make(self) -> _Contexts:
        table = self.tls.sni or {}
        made = {pattern: self._one(identity) for pattern, identity in table.items()}
        named = {id(one): made[pattern] for pattern, one in table.items()}

        def choose(connection: SSL.Connection) -> None:
            name = connection.get_servername()
            found = name and identity_for(name.decode("ascii", "replace"), table)
            if found:
                connection.set_context(named[id(found)])

        return _Contexts(self._one(self.tls, choose), made)

    def _one(
        self,
        identity: Identity,
        choose: Callable[[SSL.Connection], None] | None = None,
    ) -> SSL.Context:
        context = _context(self.tls, datagrams=self._cookies is not None)
        _use(context, identity)
        if self.tls.ca is not None:
            _trust(context, self.tls.ca)
            if not os.path.isdir(self.tls.ca):
                context.load_client_ca(os.fsencode(self.tls.ca))
        if self._alpn:
            context.set_alpn_select_callback(self._select)
        if self._cookies is not None:
            context.set_cookie_generate_callback(self._cookies.cookie)
            context.set_cookie_verify_callback(self._cookies.is_cookie)
        if choose is not None:
            context.set_tlsext_servername_callback(choose)
        return context

    def _select(self, _: SSL.Connection, offered: list[bytes]) -> bytes:
        for name in self._alpn:
            if name in offered:
                return name
        theirs, ours = (b", ".join(names).decode("ascii", "replace")
                        for names in (offered, self._alpn))  # fmt: skip
        raise NoProtocol(f"no shared protocol: the client offers {theirs}, not {ours}")


class ClientTLS:
    """Makes the client's end of connections, as ``tls`` says at that time."""

    def __init__(
        self,
        tls: TLSClient,
        alpn: Sequence[str],
        warn: Warn,
        clock: IReactorTime,
        *,
        datagrams: bool = False,
    ) -> None:
        """See ``ServerTLS``."""
        self.tls = tls
        self._datagrams = datagrams
        self._alpn = [name.encode() for name in tls.alpn or alpn]
        self._context = Reloaded(tls.files(), self._make, warn, clock)

    def connection(self, host: str) -> tuple[SSL.Connection, Judge]:
        """
        The end of a new connection to ``host``, and who judges its certificate.

        Raises ``ValueError`` if it has a name that no host can have.
        """
        name = self.tls.server_name or host
        connection = SSL.Connection(self._context.current(), None)
        judge = Judge(name)
        mode = SSL.VERIFY_PEER if self.tls.verify else SSL.VERIFY_NONE
        connection.set_verify(mode, judge if self.tls.verify else _anybody)
        if not is_address(name):
            connection.set_tlsext_host_name(ascii_name(name).encode())
        connection.set_connect_state()
        if self._datagrams:
            connection.set_ciphertext_mtu(MTU)
        return connection, judge

    def _make(self) -> SSL.Context:
        context = _context(self.tls, datagrams=self._datagrams)
        if self.tls.identity is not None:
            _use(context, self.tls.identity)
        if self.tls.ca is not None:
            _trust(context, self.tls.ca)
        elif self.tls.verify:
            context.set_default_verify_paths()
        if self._alpn:
            context.set_alpn_protos(self._alpn)
        return context


def _anybody(*_: object) -> bool:
    return True
