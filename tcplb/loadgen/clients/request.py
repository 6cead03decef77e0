"""`request` in a closed loop: HTTP requests on a kept connection, one after the other.

It does what `exchanges` does with `Http.exchange`, in one long loop with names of its own: what the
load can do at most depends on it, and this takes a third of the time.
"""

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
        goes_on = True
        # The first good answer says which backend it is.
        while goes_on and connection.new and client.wanted:
            due = yield from client.next_due()
            goes_on = yield from http.exchange(client, connection, due)
        if goes_on:
            yield from _go_on(client, connection, http)
    finally:
        client.since = 0
        connection.close()


def _go_on(client: Client, connection: Connection, http: Http) -> Script:
    loop, tally, request = client.loop, client.loop.tally, http.get(client.key)
    recv, send, known, now = connection.recv, connection.send, http.quick.get, monotonic_ns
    length, cells = len(request), http.at_once.cells
    while loop.left > 0:
        loop.left -= 1
        client.since = due = now()
        sent = send(request)
        tally.bytes_sent += sent
        if sent < length:
            yield from connection.send_all(request[sent:])
            mask = 0  # the event may have come meanwhile, and it comes only once
        else:
            mask = yield
        try:
            answer = recv(READ_SIZE)
        except BlockingIOError:
            answer = b""
        took = now() - due
        raw, end, body = answer.partition(END_OF_HEAD)
        head = known(raw)
        if head is not None and head.length == len(body) and mask == EPOLLIN and end:
            head.answers += 1
            # `at_once.record`, written out: calling it takes a tenth of all this.
            shift = took.bit_length() - 8
            cells[(shift << 7) + (took >> shift) if shift > 0 else took] += 1
            continue
        client.ended = client.ended or bool(mask & ENDS)
        tally.bytes_received += len(answer)
        answer = answer or (yield from connection.receive())
        tally.first_byte.record(now() - due)
        if not (yield from http.receive(client, connection, due, answer)):
            return
