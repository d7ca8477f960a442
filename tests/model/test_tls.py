"""What can be said of TLS, and which of several certificates a client is shown."""

from __future__ import annotations

from typing import Any

import pytest

from l7mp.model.base import validate
from l7mp.model.document import Document
from l7mp.model.problem import Invalid
from l7mp.model.tls import Identity, TLSClient, TLSServer, identity_for


def server(**said: Any) -> TLSServer:
    return validate(TLSServer, Document({"cert": "a.pem", **said}))


def client(**said: Any) -> TLSClient:
    return validate(TLSClient, Document(said))


def test_one_file_can_have_both() -> None:
    """The key is looked for behind the certificate if it is not named."""
    assert server().key_file == "a.pem"
    assert server(key="k.pem").key_file == "k.pem"


def test_every_file_is_known_once() -> None:
    """What has to be watched is every file that is named, each once."""
    said = {"*.b.org": {"cert": "b.pem", "key": "k.pem"}, "c": {"cert": "a.pem"}}
    told = server(sni=said, ca="ca.pem", client_cert="optional")
    assert told.files() == ["a.pem", "b.pem", "k.pem", "ca.pem"]
    assert server().files() == ["a.pem"]
    assert client(cert="c.pem", ca="ca.pem").files() == ["c.pem", "ca.pem"]


def test_what_a_client_shows() -> None:
    """A client has an identity if it is given a certificate."""
    assert client().identity is None
    assert client(cert="c.pem", key="k.pem").identity == Identity(
        cert="c.pem", key="k.pem"
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"client_cert": "required"}, "need authorities"),
        ({"client_cert": "optional"}, "need authorities"),
        ({"ca": "ca.pem"}, "clients show no certificate"),
        ({"sni": {"*": {"cert": "x"}}}, "host name"),
        ({"cert": ""}, "the path of a file"),
        ({"min_version": "SSLv3"}, "TLSv1.2"),
        ({"alpn": ["h 2"]}, "1 to 255 characters"),
        ({"handshake_timeout": -1}, "seconds"),
    ],
)
def test_what_makes_no_sense_for_a_listener(said: dict[str, Any], why: str) -> None:
    """What cannot be meant is refused, and the error says why."""
    with pytest.raises(Invalid, match=why):
        server(**said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"key": "k.pem"}, "needs its certificate"),
        ({"verify": False, "ca": "ca.pem"}, "nothing is verified"),
        ({"server_name": "a b"}, "host name or an IP address"),
    ],
)
def test_what_makes_no_sense_for_a_cluster(said: dict[str, Any], why: str) -> None:
    """The same for the client's side."""
    with pytest.raises(Invalid, match=why):
        client(**said)


TABLE = {name: Identity(cert=name) for name in ("a.org", "*.a.org", "B.org")}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.org", "a.org"),
        ("A.ORG.", "a.org"),
        ("x.a.org", "*.a.org"),
        ("x.y.a.org", None),
        ("b.org", "B.org"),
        ("org", None),
        ("", None),
    ],
)
def test_names_choose_certificates(name: str, shown: str | None) -> None:
    """Exact names come first, and a wildcard stands for one label."""
    found = identity_for(name, TABLE)
    assert (found and found.cert) == shown
