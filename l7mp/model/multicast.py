"""What can be declared about datagrams to many: groups, their sources, how far."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from l7mp.model.base import Declared, Items
from l7mp.model.explain import Says, complaint
from l7mp.model.sockets import Interface, Octet

IP = IPv4Address | IPv6Address


def _numeric(value: str) -> IP:
    try:
        return ip_address(value)
    except ValueError:
        raise complaint(f'must be an IP address, not "{value}"') from None


def _group(value: str) -> str:
    if not _numeric(value).is_multicast:
        hint = "groups are 224.0.0.0/4 and ff00::/8"
        raise complaint(f'must be a multicast address, not "{value}"', hint)
    return value


def _source(value: str) -> str:
    if _numeric(value).is_multicast:
        raise complaint(f'a sender has an address of its own, not "{value}"')
    return value


Group = Annotated[
    str,
    Field(examples=["239.1.2.3", "ff15::1"]),
    Says("a multicast address", "must be a multicast address"),
    AfterValidator(_group),
]
"""A multicast group."""

Source = Annotated[
    str,
    Field(examples=["192.0.2.1"]),
    Says("an IP address", "must be an IP address"),
    AfterValidator(_source),
]
"""Who sends to a group."""


class Membership(Declared):
    """The groups that a listener joins."""

    groups: Items[Group]
    """Multicast addresses; what is sent to them makes sessions."""
    interface: Interface | None = None
    """Where to join; the one that the routes say if missing."""
    sources: Items[Source] = ()
    """
    Only from these senders (source-specific multicast, RFC 4607); from all if empty.
    """

    @model_validator(mode="after")
    def _groups_and_sources(self) -> Membership:
        if not self.groups:
            raise complaint("groups must not be empty")
        versions = {ip_address(one).version for one in (*self.groups, *self.sources)}
        if self.sources and len(versions) > 1:
            hint = "use a listener for each"
            raise complaint("groups and sources must be all IPv4 or all IPv6", hint)
        return self


class Sending(Declared):
    """How a cluster sends to a group."""

    ttl: Octet | None = None
    """How many hops; the kernel's default is 1, which stays on the link."""
    loop: bool | None = None
    """Whether members on this machine hear it, too; the kernel's default is yes."""
    interface: Interface | None = None
    """Where to send from; the one that the routes say if missing."""
