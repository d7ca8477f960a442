"""Contexts of OpenSSL, made of what a configuration says; two ends in memory."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock

from l7mp.errors import LocalError
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.streams.tls_context import ClientTLS, NoProtocol, ServerTLS
from l7mp.streams.tls_peer import Judge, facts_of
from l7mp.streams.tls_words import tls_loss
from tests.streams.certs import Certs, encrypted_key

End = tuple[SSL.Connection, Judge]


@pytest.fixture
def certs(tmp_path: Path) -> Certs:
    return Certs(tmp_path)


def serve(alpn: tuple[str, ...] = (), /, **said: Any) -> ServerTLS:
    return ServerTLS(TLSServer(**said), alpn, pytest.fail, Clock())


def call(alpn: tuple[str, ...] = (), /, **said: Any) -> ClientTLS:
    return ClientTLS(TLSClient(**said), alpn, pytest.fail, Clock())


def shake(client: End, server: End) -> None:
    """Let the two shake hands; raises what OpenSSL raises, the client's first."""
    ends = (client[0], server[0])
    for _ in range(10):
        waiting = 0
        for one, other in (ends, ends[::-1]):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                waiting += 1
            finally:
                pour(one, other)
        if not waiting:
            return


def pour(one: SSL.Connection, other: SSL.Connection) -> None:
    with suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(1 << 16))


def test_both_sides_agree(certs: Certs) -> None:
    """A certificate for the name that is expected makes a connection."""
    server = serve(cert=certs.pem("a.org")).connection()
    client = call(ca=certs.ca).connection("a.org")
    shake(client, server)
    facts = facts_of(server[0], is_server=True)
    assert facts["sni"] == "a.org"
    assert facts["version"] == "TLSv1.3"
    assert "peer" not in facts
    facts = facts_of(client[0], is_server=False)
    assert facts["peer"]["san"] == {"dns": ["a.org"]}
    assert "sni" not in facts


@pytest.mark.parametrize(
    ("host", "said", "why"),
    [
        ("b.org", {}, "wrong name: the certificate is for a.org, not for b.org"),
        ("a.org", {"server_name": "c.org"}, "not for c.org"),
        ("192.0.2.1", {}, "not for 192.0.2.1"),
    ],
)
def test_another_name_is_refused(
    certs: Certs, host: str, said: dict[str, Any], why: str
) -> None:
    """Who is not who was called gets no connection, and it is said why."""
    server = serve(cert=certs.pem("a.org")).connection()
    client = call(ca=certs.ca, **said).connection(host)
    with pytest.raises(SSL.Error):
        shake(client, server)
    assert why in client[1].problem


def test_an_expired_certificate_is_refused(certs: Certs) -> None:
    """A certificate whose time is over is good for nothing."""
    server = serve(cert=certs.expired("a.org")).connection()
    client = call(ca=certs.ca).connection("a.org")
    with pytest.raises(SSL.Error):
        shake(client, server)
    assert client[1].problem == "certificate expired"
    with pytest.raises(SSL.Error) as error:
        server[0].do_handshake()
    assert tls_loss(error.value).detail == "the peer says: certificate expired"


@pytest.mark.parametrize("trusts", ["system", "other"])
def test_an_unknown_authority_is_refused(certs: Certs, trusts: str) -> None:
    """Only the authorities that were named, or the system's, are trusted."""
    server = serve(cert=certs.pem("a.org")).connection()
    said = {"ca": certs.other_ca} if trusts == "other" else {}
    client = call(**said).connection("a.org")
    with pytest.raises(SSL.Error):
        shake(client, server)
    assert client[1].problem == "unknown CA"


def test_who_verifies_nothing_takes_anybody(certs: Certs) -> None:
    """With ``verify: false`` anybody will do."""
    server = serve(cert=certs.expired("a.org")).connection()
    shake(call(verify=False).connection("b.org"), server)


def test_a_directory_of_authorities(certs: Certs, tmp_path: Path) -> None:
    """Authorities can be in a directory, by the hash of their names, as c_rehash does."""
    folder = tmp_path / "cas"
    folder.mkdir()
    command = ["openssl", "x509", "-hash", "-noout", "-in", certs.ca]
    name = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    os.link(certs.ca, folder / f"{name.strip()}.0")
    server = serve(cert=certs.pem("a.org")).connection()
    shake(call(ca=str(folder)).connection("a.org"), server)


# -- certificates of clients ---------------------------------------------------------


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_clients_show_who_they_are(certs: Certs, wanted: str) -> None:
    """A client's certificate is asked for, checked, and in the metadata."""
    said = {"cert": certs.pem("a.org"), "ca": certs.ca, "client_cert": wanted}
    server = serve(**said).connection()
    mine = certs.pem("me@a.org", cn="Me")
    shake(call(ca=certs.ca, cert=mine).connection("a.org"), server)
    peer = facts_of(server[0], is_server=True)["peer"]
    assert peer["cn"] == "Me"
    assert peer["san"] == {"email": ["me@a.org"]}


def test_clients_may_show_nothing(certs: Certs) -> None:
    """Optional means what it says."""
    said = {"cert": certs.pem("a.org"), "ca": certs.ca, "client_cert": "optional"}
    server = serve(**said).connection()
    shake(call(ca=certs.ca).connection("a.org"), server)
    assert "peer" not in facts_of(server[0], is_server=True)


def test_clients_must_show_something(certs: Certs) -> None:
    """Required means what it says."""
    said = {"cert": certs.pem("a.org"), "ca": certs.ca, "client_cert": "required"}
    server = serve(**said).connection()
    with pytest.raises(SSL.Error) as error:
        shake(call(ca=certs.ca).connection("a.org"), server)
    assert tls_loss(error.value).detail == "the peer shows no certificate"


def test_clients_of_strangers_are_refused(certs: Certs, tmp_path: Path) -> None:
    """A certificate that another authority has signed is none, even if optional."""
    (tmp_path / "other").mkdir()
    stranger = Certs(tmp_path / "other").pem("me@a.org")
    said = {"cert": certs.pem("a.org"), "ca": certs.ca, "client_cert": "optional"}
    server = serve(**said).connection()
    with pytest.raises(SSL.Error):
        shake(call(ca=certs.ca, cert=stranger).connection("a.org"), server)
    assert server[1].problem == "unknown CA"


# -- names and protocols ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a.org", "a.org"), ("b.org", "b.org"), ("x.c.org", "*.c.org"), ("d", "a.org")],
)
def test_names_choose_certificates(certs: Certs, name: str, shown: str) -> None:
    """A client is shown the certificate for the name that it asks for (SNI)."""
    table = {one: {"cert": certs.pem(one)} for one in ("b.org", "*.c.org")}
    tls = TLSServer.model_validate({"cert": certs.pem("a.org"), "sni": table})
    server = ServerTLS(tls, (), pytest.fail, Clock()).connection()
    client = call(verify=False).connection(name)
    shake(client, server)
    assert facts_of(client[0], is_server=False)["peer"]["san"] == {"dns": [shown]}
    assert facts_of(server[0], is_server=True)["sni"] == name


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (("h2", "http/1.1"), ("http/1.1", "h2"), "h2"),
        (("h2", "http/1.1"), ("http/1.1",), "http/1.1"),
        (("h2",), (), None),
        ((), ("h2",), None),
    ],
)
def test_protocols_are_agreed_upon(
    certs: Certs, ours: tuple[str, ...], theirs: tuple[str, ...], agreed: str | None
) -> None:
    """The server's best that the client offers is spoken (ALPN)."""
    server = serve(ours, cert=certs.pem("a.org")).connection()
    client = call(theirs, ca=certs.ca).connection("a.org")
    shake(client, server)
    for end, is_server in ((client[0], False), (server[0], True)):
        assert facts_of(end, is_server).get("alpn") == agreed


def test_no_shared_protocol(certs: Certs) -> None:
    """A client that speaks nothing of ours is turned away (RFC 7301, section 3.2)."""
    server = serve(("h2",), cert=certs.pem("a.org")).connection()
    client = call(ca=certs.ca, alpn=("smtp",)).connection("a.org")
    with pytest.raises(NoProtocol, match="smtp, not h2"):
        shake(client, server)
    pour(server[0], client[0])
    with pytest.raises(SSL.Error) as error:
        client[0].do_handshake()
    assert "no application protocol" in tls_loss(error.value).detail


def test_no_shared_version(certs: Certs) -> None:
    """A peer that is too old is told apart from one that is no peer."""
    server = serve(cert=certs.pem("a.org"), min_version="TLSv1.3").connection()
    old = SSL.Context(SSL.TLS_CLIENT_METHOD)
    old.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(old, None)
    client.set_connect_state()
    with pytest.raises(SSL.Error) as error:
        shake((client, Judge()), server)
    assert tls_loss(error.value).detail == "no shared version of TLS"


# -- files -------------------------------------------------------------------------------


def test_a_new_certificate_is_used(certs: Certs) -> None:
    """A certificate that was replaced is shown to the next client, the others go on."""
    path = certs.pem("a.org", file="now.pem")
    security = serve(cert=path)
    before = certificate_shown(security)
    certs.pem("a.org", file="next.pem")
    os.replace(certs.folder / "next.pem", path)
    assert certificate_shown(security) != before


def certificate_shown(security: ServerTLS) -> str:
    server, client = security.connection(), call(verify=False).connection("a.org")
    shake(client, server)
    shown: str = facts_of(client[0], is_server=False)["peer"]["fingerprint"]
    return shown


def test_a_client_reloads_too(certs: Certs) -> None:
    """Authorities that were replaced count for the next connection."""
    path = certs.folder / "trust.pem"
    path.write_bytes(Path(certs.other_ca).read_bytes())
    security, server = call(ca=str(path)), serve(cert=certs.pem("a.org"))
    with pytest.raises(SSL.Error):
        shake(security.connection("a.org"), server.connection())
    os.replace(certs.ca, path)
    shake(security.connection("a.org"), server.connection())


def weak_certificate(certs: Certs) -> str:
    """One with a key that could be guessed."""
    path = certs.folder / "weak.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj",
               "/CN=weak", "-keyout", str(path), "-out", str(path) + ".crt"]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    path.write_bytes(Path(f"{path}.crt").read_bytes() + path.read_bytes())
    return str(path)


def _broken(certs: Certs, which: str) -> dict[str, Any]:
    good = certs.pem("a.org")
    other = certs.pem("b.org")
    empty, locked = certs.folder / "empty", certs.folder / "locked"
    empty.write_text("nothing\n")
    locked.write_bytes(encrypted_key(good))
    return {
        "missing": {"cert": "/nowhere/x.pem"},
        "key missing": {"cert": good, "key": "/nowhere/k.pem"},
        "empty": {"cert": str(empty)},
        "no key": {"cert": good, "key": str(empty)},
        "other key": {"cert": good, "key": other},
        "locked": {"cert": good, "key": str(locked)},
        "ca": {"cert": good, "ca": str(empty), "client_cert": "required"},
        "ca missing": {"cert": good, "ca": "/nowhere/c", "client_cert": "required"},
        "weak": {"cert": weak_certificate(certs)},
        "ciphers": {"cert": good, "ciphers": "NONE-SUCH"},
    }[which]


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("missing", "cannot read the certificate /nowhere/x.pem: No such file"),
        ("key missing", "cannot read the private key /nowhere/k.pem"),
        ("empty", "has no usable certificate"),
        ("no key", "has no usable private key"),
        ("other key", "does not belong to the first certificate in"),
        ("locked", "without a passphrase: openssl pkey"),
        ("weak", "does not take the certificate in .*key too small"),
        ("ca", "no usable certificate of an authority"),
        ("ca missing", "cannot read the file of authorities /nowhere/c"),
        ("ciphers", "knows no cipher"),
    ],
)
def test_files_of_no_use(certs: Certs, which: str, why: str) -> None:
    """The error names the file, what is wrong, and what to do."""
    with pytest.raises(LocalError, match=why):
        serve(**_broken(certs, which))
