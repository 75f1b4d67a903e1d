"""The proxy that makes faults between a client and a server."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import TYPE_CHECKING

import pytest

from tests.servers.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

CUT = (ConnectionResetError, BrokenPipeError)


class Echo(socketserver.StreamRequestHandler):
    """Sends back whatever arrives."""

    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.request.sendall(data)


@pytest.fixture
def target() -> Iterator[str]:
    """The URL of a server that echoes."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"echo://user:word@127.0.0.1:{server.server_address[1]}/path"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(target: str) -> Iterator[FaultProxy]:
    with FaultProxy(target) as proxy:
        yield proxy


def connection(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def echo(client: socket.socket, data: bytes = b"hello") -> bytes:
    """What comes back, or an exception of `CUT`."""
    client.sendall(data)
    return received(client, len(data))


def received(client: socket.socket, size: int) -> bytes:
    back = b""
    while len(back) < size:
        piece = client.recv(65_536)
        if not piece:
            raise ConnectionResetError
        back += piece
    return back


def test_the_url_is_the_targets_through_the_proxy(proxy: FaultProxy) -> None:
    assert proxy.url == f"echo://user:word@127.0.0.1:{proxy.port}/path"


def test_what_is_sent_arrives(proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 200
    with connection(proxy) as client:
        assert echo(client, data) == data


def test_cut_connections_can_be_made_again(proxy: FaultProxy) -> None:
    with connection(proxy) as client:
        echo(client)
        proxy.cut()
        with pytest.raises(CUT):
            echo(client)
    with connection(proxy) as client:
        assert echo(client) == b"hello"
    assert proxy.cuts == 1


def test_refused_until_accepted(proxy: FaultProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connection(proxy)
    proxy.accept()
    with connection(proxy) as client:
        assert echo(client) == b"hello"


@pytest.mark.slow
def test_a_connection_that_is_made_in_the_moment_of_a_refusal_is_ended(proxy: FaultProxy) -> None:
    def connect_often() -> None:
        while not done.is_set():
            try:
                with connection(proxy) as client:
                    client.settimeout(5)
                    echo(client)
            except (*CUT, ConnectionRefusedError):
                pass
            except TimeoutError as error:
                hung.append(error)

    done, hung = threading.Event(), list[TimeoutError]()
    clients = [threading.Thread(target=connect_often) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(200):
        proxy.refuse()
        proxy.accept()
    done.set()
    for client in clients:
        client.join()
    assert not hung


def test_frozen_data_arrive_after_the_thaw(proxy: FaultProxy) -> None:
    with connection(proxy) as client:
        echo(client)
        proxy.freeze()
        client.sendall(b"later")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(5)
        proxy.thaw()
        client.settimeout(10)
        assert received(client, 5) == b"later"


def test_every_piece_is_cut_when_the_probability_is_one(proxy: FaultProxy) -> None:
    proxy.cut_probability = 1.0
    with connection(proxy) as client, pytest.raises(CUT):
        echo(client)
    assert proxy.cuts == 1


def test_random_cuts_repeat_with_the_same_seed(target: str) -> None:
    def pattern() -> list[bool]:
        with FaultProxy(target, cut_probability=0.3, seed=7) as proxy:
            return [survives(proxy) for _ in range(20)]

    def survives(proxy: FaultProxy) -> bool:
        with connection(proxy) as client:
            try:
                return echo(client) == b"hello"
            except CUT:
                return False

    first = pattern()
    assert first == pattern()
    assert len(set(first)) == 2


def test_a_target_that_is_away_ends_the_connection() -> None:
    with FaultProxy("echo://127.0.0.1:1") as proxy, connection(proxy) as client, pytest.raises(CUT):
        echo(client)
