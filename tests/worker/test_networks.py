"""Which addresses a fetch may reach, and that nothing gets past the judge."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network

import asyncssh
import pytest
import uvloop
from hypothesis import given, strategies as st

from shared.feeds.sources import parse_networks
from worker.feeds.networks import AddressGuard, AddressRefused, guarded_addresses, is_public

PRIVATE = [
    *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1"),
    *("192.168.1.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1"),
    *("ff02::1", "2001:db8::1", "100::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
    *("64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]


@pytest.fixture
async def listener() -> AsyncIterator[int]:
    """Give a port of this machine that accepts connections."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_public_internet_are_refused(address: str) -> None:
    guard = AddressGuard([])
    with pytest.raises(AddressRefused):
        guard.check(address)
    assert guard.refused == {address}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_can_be_reached(address: str) -> None:
    AddressGuard([]).check(address)


@pytest.mark.parametrize("text", ["localhost", "0x7f.1", "2130706433", "127.1", "", "127.0.0.1.", "1"])
def test_what_is_not_the_text_of_an_address_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        AddressGuard(parse_networks(["0.0.0.0/0", "::/0"])).check(text)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_each_of_its_ipv6_spellings(address: object) -> None:
    number = int(ip_address(str(address)))
    spellings = [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"]
    assert {is_public(ip_address(text)) for text in spellings} == {is_public(ip_address(str(address)))}


@given(st.ip_addresses(network="10.1.0.0/16"))
def test_addresses_of_an_allowed_network_can_be_reached_and_no_others(address: object) -> None:
    guard = AddressGuard([ip_network("10.1.0.0/16")])
    guard.check(str(address))
    guard.check(f"::ffff:{address}")
    with pytest.raises(AddressRefused):
        guard.check("10.2.0.1")


class TestEveryWayToConnect:
    """Each of these would reach the listener, were it not for the guard."""

    async def test_by_asyncio(self, listener: int) -> None:
        with guarded_addresses([]) as guard, pytest.raises(OSError, match="not a public address"):
            await asyncio.open_connection("localhost", listener)
        assert "127.0.0.1" in guard.refused

    @pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "017700000001"])
    async def test_by_odd_spellings(self, listener: int, host: str) -> None:
        with guarded_addresses([]) as guard, pytest.raises(OSError, match="not a public address"):
            await asyncio.open_connection(host, listener)
        assert guard.refused == {"127.0.0.1"}

    async def test_in_a_task_and_in_a_thread_of_asyncio(self, listener: int) -> None:
        with guarded_addresses([]):
            task = asyncio.create_task(asyncio.open_connection("127.0.0.1", listener))
            with pytest.raises(AddressRefused):
                await task
            with pytest.raises(AddressRefused):
                await asyncio.to_thread(socket.create_connection, ("127.0.0.1", listener))

    async def test_by_a_name_that_only_the_socket_resolves(self, listener: int) -> None:
        with guarded_addresses(parse_networks(["127.0.0.0/8"])), socket.socket() as unconnected:
            with pytest.raises(AddressRefused):
                unconnected.connect(("localhost", listener))
            with pytest.raises(AddressRefused):
                unconnected.connect_ex(("localhost", listener))

    async def test_by_asyncssh(self, listener: int) -> None:
        with guarded_addresses([]), pytest.raises(OSError, match="not a public address"):
            await asyncssh.connect("127.0.0.1", listener, config=None)

    async def test_on_an_event_loop_that_the_interpreter_does_not_see_is_not_begun(self) -> None:
        async def guarded() -> None:
            with guarded_addresses([]):
                pass

        def run() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(guarded())

        with pytest.raises(RuntimeError, match="event loop"):
            await asyncio.to_thread(run)


async def test_other_connections_of_the_process_are_not_touched(listener: int) -> None:
    connected = threading.Event()

    def connect() -> None:
        with socket.create_connection(("127.0.0.1", listener)):
            connected.set()

    async def elsewhere(begun: asyncio.Event) -> None:
        await begun.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", listener)
        writer.close()

    begun = asyncio.Event()
    task = asyncio.create_task(elsewhere(begun))
    with guarded_addresses([]):
        begun.set()
        await task
        thread = threading.Thread(target=connect)
        thread.start()
        await asyncio.to_thread(thread.join)
    assert connected.is_set()
    _, writer = await asyncio.open_connection("127.0.0.1", listener)
    writer.close()
