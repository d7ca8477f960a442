"""TLS for protocols."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from l7mp.core.events import Event, HandshakeFailed, Warned
from l7mp.core.registry import Context, Registry
from l7mp.core.tls import connect_tls, prepare_tls, serve_tls
from l7mp.errors import LocalError, Loss, Reason
from l7mp.model.tls import TLSClient, TLSServer
from l7mp.streams.tls_endpoint import TLSEndpoint
from tests.streams.certs import Certs

ROOT = Path(__file__).parent.parent.parent


def make_context(said: list[Event] | None = None) -> Context:
    observe = (lambda _: None) if said is None else said.append
    return Context(reactor=Clock(), registry=Registry.of([]), observe=observe)


@pytest.fixture
def certs(tmp_path: Path) -> Certs:
    return Certs(tmp_path)


def test_without_tls_nothing_changes() -> None:
    """Who asks for no TLS gets what it had."""
    plain: Any = object()
    context = make_context()
    assert serve_tls(context, None, plain) is plain
    assert connect_tls(context, None, plain, "a.org") is plain
    prepare_tls(context, SimpleNamespace(tls=None))


def test_files_are_read_once_for_a_cluster(certs: Certs) -> None:
    """Sessions of a cluster share what was read, and another cluster does not."""
    context, tls = make_context().on_behalf_of("cluster", "c"), TLSClient(ca=certs.ca)
    inside: Any = object()
    one, other = (connect_tls(context, tls, inside, "a.org") for _ in range(2))
    assert isinstance(one, TLSEndpoint)
    assert isinstance(other, TLSEndpoint)
    assert one._security is other._security
    context.resources.forget_all(("cluster", "c"))
    third = connect_tls(context, tls, inside, "a.org")
    assert isinstance(third, TLSEndpoint)
    assert third._security is not one._security


def test_files_of_no_use_are_known_beforehand() -> None:
    """Both sides learn of a missing file when they are configured."""
    context = make_context()
    with pytest.raises(LocalError, match=r"/nowhere/c\.pem"):
        serve_tls(context, TLSServer(cert="/nowhere/c.pem"), Factory())
    with pytest.raises(LocalError, match=r"/nowhere/c\.pem"):
        prepare_tls(context, SimpleNamespace(tls=TLSClient(ca="/nowhere/c.pem")))


def test_observers_hear_of_failures(certs: Certs) -> None:
    """Who is turned away, and files that become useless, are told to observers."""
    said: list[Event] = []
    context = make_context(said).on_behalf_of("listener", "in")
    factory = serve_tls(context, TLSServer(cert=certs.pem("a.org")), Factory())
    loss = Loss(Reason.TLS, "no shared cipher")
    factory._told("192.0.2.1:5000", loss)
    factory._security._contexts._warn("broken")
    assert said == [
        HandshakeFailed("in", "192.0.2.1:5000", loss),
        Warned("listener in", "broken"),
    ]


def test_without_openssl_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not installed what TLS needs is told how to."""
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    plain: Any = object()
    for ask in (
        lambda: serve_tls(make_context(), TLSServer(cert="x"), Factory()),
        lambda: connect_tls(make_context(), TLSClient(), plain, "x"),
        lambda: prepare_tls(make_context(), SimpleNamespace(tls=TLSClient())),
    ):
        with pytest.raises(LocalError, match=r"pip install 'l7mp\[tls\]'"):
            ask()


def test_without_openssl_everything_else_works() -> None:
    """Nothing needs the packages of the extra ``tls`` that does not speak TLS."""
    program = (
        "import sys\n"
        "for name in ('OpenSSL', 'service_identity'):\n"
        "    sys.modules[name] = None\n"
        "import l7mp.protocols\n"
        "from l7mp import tap\n"
        "from l7mp.core.registry import Registry\n"
        "names = Registry.discover(l7mp.protocols).protocols\n"
        "assert {'TCP', 'UDP', 'HTTP', 'WebSocket', 'Endpoint'} <= set(names)\n"
        "assert 'l7mp.streams.tls' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
