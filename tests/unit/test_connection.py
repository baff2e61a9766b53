"""Connecting to the first of several addresses: those that swallow packets, refuse, or take the connection."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.kit.black_hole import black_hole
from tests.kit.stack import free_port
from vpsmon.net.connection import Connected, Garbled, Reader, connect, connect_to_first, find_first

HERE = "127.0.0.1"


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server((HERE, 0)) as listener:
        yield listener.getsockname()[1]


def reach(*ports: int, seconds: float = 3.0) -> Connected:
    connected = connect_to_first([(HERE, port) for port in ports], time.monotonic() + seconds)
    connected.socket.close()
    return connected


def test_an_address_that_swallows_packets_costs_a_part_of_the_time(listening: int) -> None:
    with black_hole() as first, black_hole() as second:
        assert reach(first, second, listening).position == 2


def test_however_many_swallow_packets_the_last_one_is_tried(listening: int) -> None:
    with black_hole() as hole:
        assert reach(*[hole] * 40, listening).position == 40


def test_the_likeliest_wins_where_several_answer(listening: int) -> None:
    with socket.create_server((HERE, 0)) as other:
        assert reach(listening, other.getsockname()[1]).position == 0
        assert find_first([(HERE, listening), (HERE, other.getsockname()[1])], time.monotonic() + 3) == 0


def test_one_that_refuses_makes_way_at_once(listening: int) -> None:
    assert reach(free_port(), listening).position == 1


def test_what_was_wrong_is_said_by_its_class() -> None:
    with pytest.raises(ConnectionRefusedError):
        reach(free_port(), free_port())
    with black_hole() as hole, pytest.raises(TimeoutError):
        reach(free_port(), hole, seconds=0.5)
    with pytest.raises(socket.gaierror):
        connect("no-such-host.invalid", 80, time.monotonic() + 3)


def test_a_name_that_is_not_found_does_not_end_it(listening: int) -> None:
    places = [("no-such-host.invalid", 80), (HERE, listening)]
    assert find_first(places, time.monotonic() + 3) == 1


def test_the_losers_are_closed(listening: int) -> None:
    import os

    before = len(os.listdir("/proc/self/fd"))
    with black_hole() as hole:
        during = len(os.listdir("/proc/self/fd"))
        reach(hole, hole, listening)
        with pytest.raises(TimeoutError):
            reach(hole, hole, seconds=0.3)
        assert len(os.listdir("/proc/self/fd")) == during
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_connection_waits_for_its_reader_no_longer_than_the_deadline(listening: int) -> None:
    with connect(HERE, listening, time.monotonic() + 0.2) as connection, pytest.raises(TimeoutError):
        connection.recv(1)


def test_more_than_the_bound_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x" * 2001)
        with pytest.raises(Garbled, match=r"larger than 0\.002 MB"):
            Reader(ours, time.monotonic() + 3, 2000).read(5000)
