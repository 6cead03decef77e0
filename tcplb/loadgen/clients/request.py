"""`request`: HTTP requests on a kept connection, the next one when the answer is there."""

from __future__ import annotations

from select import EPOLLIN
from time import monotonic_ns

from tcplb.loadgen.client import ENDS, Client, Script
from tcplb.loadgen.connection import READ_SIZE, Connection, connect_ahead
from tcplb.loadgen.http import END_OF_HEAD, Http


def request(client: Client, http: Http) -> Script:
    """Send requests on one connection until it ends."""
    client.loop.keys.take(client)
    connection = yield from connect_ahead(client)
    try:
        due = yield from client.next_due()
        if client.ended:
            client.put_back(due)
            return
        # The first answer says which backend it is.
        if (yield from http.exchange(client, connection, due)):
            yield from _go_on(client, connection, http)
    finally:
        client.since = 0
        connection.close()


def _go_on(client: Client, connection: Connection, http: Http) -> Script:
    # One long loop with names of its own: what the load can do at most depends on it.
    loop, tally, request = client.loop, client.loop.tally, http.get(client.key)
    open_loop, length = loop.open_loop, len(request)
    recv, send, known, now = connection.recv, connection.send, http.quick.get, monotonic_ns
    record, record_first = tally.latency.record, tally.first_byte.record
    while loop.left > 0:
        if open_loop:
            due = yield from client.wait_turn()
            sent = now()
        else:
            due = sent = now()
        loop.left -= 1
        if client.ended:
            client.put_back(due)
            return
        client.since = sent
        sent_bytes = send(request)
        tally.bytes_sent += sent_bytes
        if sent_bytes < length:
            yield from connection.send_all(request[sent_bytes:])
        mask = yield
        try:
            answer = recv(READ_SIZE)
        except BlockingIOError:
            answer = b""
        arrived = now()
        raw, _, body = answer.partition(END_OF_HEAD)
        head = known(raw)
        if head is not None and head.length == len(body) and mask == EPOLLIN:
            record(arrived - due)
            record_first(arrived - sent)
            head.answers += 1
            continue
        answer = answer or (yield from connection.receive())
        record_first(now() - sent)
        tally.bytes_received += len(answer)
        goes_on = yield from http.receive(client, connection, due, answer)
        if not goes_on or mask & ENDS:
            return
