"""Names in certificates, and what metadata says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from l7mp.streams.tls_peer import (
    ascii_name,
    certificate_facts,
    is_address,
    name_problem,
)
from tests.streams.certs import Certs, certificate


@pytest.fixture(scope="module")
def cert(tmp_path_factory: pytest.TempPathFactory) -> x509.Certificate:
    certs = Certs(tmp_path_factory.mktemp("certs"))
    names = (
        "a.org",
        "*.b.org",
        "bücher.example",
        "192.0.2.1",
        "2001:db8::1",
        "me@a.org",
    )
    return certificate(certs.pem(*names, cn="Somebody"))


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a.org", True),
        ("A.org.", True),
        ("x.b.org", True),
        ("b.org", False),
        ("x.y.b.org", False),
        ("evil.org", False),
        ("bücher.example", True),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", True),
        ("Somebody", False),
        ("a..org", False),
    ],
)
def test_names_are_checked(cert: x509.Certificate, name: str, fits: bool) -> None:
    """Only alternative names count, wildcards for one label, addresses as addresses."""
    problem = name_problem(cert, name)
    assert (problem == "") is fits
    if not fits:
        assert f"not for {name}" in problem
        assert "a.org" in problem


def test_a_certificate_for_nobody(tmp_path: Path) -> None:
    """Without alternative names there is nobody that it could be for."""
    cert = certificate(Certs(tmp_path).pem("me@a.org"))
    assert "for nobody" in name_problem(cert, "a.org")


def test_facts(cert: x509.Certificate) -> None:
    """Metadata has the names of a certificate by their kinds."""
    facts = certificate_facts(cert)
    assert facts["cn"] == "Somebody"
    assert "CN=Somebody" in facts["subject"]
    assert "trustme" in facts["issuer"]
    assert len(facts["fingerprint"]) == 64
    assert facts["san"]["email"] == ["me@a.org"]
    assert facts["san"]["ip"] == ["192.0.2.1", "2001:db8::1"]
    assert facts["san"]["dns"][:2] == ["a.org", "*.b.org"]


def test_addresses_and_names() -> None:
    """Addresses are no names; a name travels in ASCII."""
    assert is_address("::1")
    assert not is_address("a.org")
    assert ascii_name("bücher.example.") == "xn--bcher-kva.example"
