from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tcplb.control.messages import HandBack, Listen, Message
from tcplb.control.sharing import Sharing
from tcplb.control.sockets import SocketSets, open_listening_sockets

Sent = list[tuple[int, Message, socket.socket | None]]


@pytest.fixture
def sets() -> Iterator[SocketSets]:
    """Two sets for the same two listeners."""
    first = [
        (listener, sock)
        for listener in (0, 1)
        for sock in open_listening_sockets("127.0.0.1:0", "127.0.0.1", 0)
    ]
    with closing(SocketSets(first)) as made:
        made.open_another()
        yield made


@pytest.fixture
def sent() -> Sent:
    return []


@pytest.fixture
def sharing(sets: SocketSets, sent: Sent) -> Sharing:
    def send(worker: int, message: Message, sock: socket.socket | None = None) -> None:
        sent.append((worker, message, sock))

    return Sharing(sets, send)


def test_each_socket_of_a_set_is_sent_with_its_listener(
    sharing: Sharing, sets: SocketSets, sent: Sent
) -> None:
    sharing.share_out([4, 7])
    expected = [
        (worker, Listen(number, listener), sock)
        for number, worker in ((0, 4), (1, 7))
        for listener, sock in sets[number]
    ]
    assert sent == expected
    sharing.share_out([4, 7])
    assert len(sent) == len(expected)  # nothing to change


def test_the_next_one_has_a_set_before_the_last_one_hands_it_back(
    sharing: Sharing, sets: SocketSets, sent: Sent
) -> None:
    sharing.share_out([0])
    sent.clear()
    sharing.share_out([0, 1])
    assert [(worker, message) for worker, message, _ in sent] == [
        (1, Listen(1, 0)),
        (1, Listen(1, 1)),
        (0, HandBack(1)),
    ]
    assert [sock for _, _, sock in sent] == [*(sock for _, sock in sets[1]), None]


def test_one_that_is_gone_hands_nothing_back(sharing: Sharing, sent: Sent) -> None:
    sharing.share_out([0, 1])
    sharing.forget(0)
    sent.clear()
    sharing.share_out([1])
    assert [(worker, message) for worker, message, _ in sent] == [
        (1, Listen(0, 0)),
        (1, Listen(0, 1)),
    ]


def test_its_replacement_gets_all_that_it_had(sharing: Sharing, sent: Sent) -> None:
    sharing.share_out([0])
    sharing.forget(0)
    sharing.share_out([])
    sent.clear()
    sharing.share_out([0])
    assert [message for _, message, _ in sent] == [
        Listen(number, listener) for number in (0, 1) for listener in (0, 1)
    ]


def test_the_sockets_of_new_addresses_go_to_those_who_accept_on_their_sets(
    sharing: Sharing, sets: SocketSets, sent: Sent
) -> None:
    sharing.share_out([4, 7])
    sent.clear()
    sets.add(
        [
            (address, sock)
            for address in (5, 6)
            for sock in open_listening_sockets("127.0.0.1:0", "127.0.0.1", 0)
        ]
    )
    sharing.offer([6])
    assert sent == [(4, Listen(0, 6), dict(sets[0])[6]), (7, Listen(1, 6), dict(sets[1])[6])]
    sent.clear()
    sharing.share_out([4])  # whoever takes a set over gets what it has by now
    assert [message for _, message, _ in sent] == [
        *(Listen(1, address) for address in (0, 1, 5, 6)),
        HandBack(1),
    ]


def test_nothing_is_offered_while_nobody_accepts(sharing: Sharing, sent: Sent) -> None:
    sharing.offer([0])
    assert sent == []
