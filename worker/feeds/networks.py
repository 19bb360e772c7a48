"""Keeping a fetch away from private networks, whatever a name resolves to and wherever a server redirects to.

What is judged is the address that a socket is about to be connected to, at that moment: CPython announces
every connect as the audit event `socket.connect` (PEP 578). So there is no gap between a check and the use of
a name (DNS rebinding), no spelling of an address to be read differently, no redirect that goes unseen, and no
library with connections of its own: aiohttp and asyncssh pass through it, and so does whatever an SDK opens
to look for credentials. A socket factory for aiohttp would see the first of these only. The rule holds in the
context of the fetch and in tasks and threads that inherit it; other connections of the process are untouched.

An event loop that connects without Python's sockets, as uvloop does, would pass it by, and is refused.
"""

import asyncio
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from shared.feeds.sources import Network

_Address = IPv4Address | IPv6Address

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that IANA has handed out for use between networks."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that is reached through it."""


class AddressRefused(PermissionError):
    """A connection to an address that this fetch may not reach; libraries treat it as one that failed."""


class AddressGuard:
    """The addresses that a fetch may reach, and those that it tried and may not."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        """Allow public addresses, and these networks."""
        self._allowed = allowed
        self.refused: set[str] = set()

    def check(self, host: str) -> None:
        """Raise `AddressRefused` unless `host` is the text of an address that may be reached."""
        if not self._may_reach(host):
            self.refused.add(host)
            raise AddressRefused(f"{host} is not a public address")

    def _may_reach(self, host: str) -> bool:
        try:
            address = _reached(ip_address(host))
        except ValueError:
            # A name: it would be resolved behind our back.
            return False
        return is_public(address) or any(address in network for network in self._allowed)


def is_public(address: _Address) -> bool:
    """Tell whether an address belongs to the public internet: to one host, and for use between networks."""
    address = _reached(address)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast


def _reached(address: _Address) -> _Address:
    """Give the IPv4 address that an IPv6 address stands for, where it stands for one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


_guard: ContextVar[AddressGuard | None] = ContextVar("guard", default=None)


@contextmanager
def guarded_addresses(allowed: Sequence[Network]) -> Iterator[AddressGuard]:
    """Let the body connect to public addresses and to these networks only."""
    if not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        raise RuntimeError("this event loop does not connect through Python's sockets")
    guard = AddressGuard(allowed)
    token = _guard.set(guard)
    try:
        yield guard
    finally:
        _guard.reset(token)


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    """Judge a connect; called by the interpreter, in the thread and context that connects."""
    if event == "socket.connect" and (guard := _guard.get()) is not None:
        connecting, address = arguments
        if connecting.family != socket.AF_UNIX:
            guard.check(str(address[0]))


# An audit hook stays for the life of the process; that nothing can take it out is what it is for.
sys.addaudithook(_judge)
