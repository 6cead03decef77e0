"""The pool of pipes: bounded, and never a pipe with somebody else's bytes in it."""

from __future__ import annotations

import os

import pytest

from tcplb.dataplane.pipes import Pipe, PipePool
from tests.dataplane.harness import no_descriptors_left, open_fds


def take(pool: PipePool) -> Pipe:
    pipe = pool.take()
    assert pipe is not None
    return pipe


def test_lends_no_more_than_its_limit() -> None:
    pool = PipePool(2)
    first, second = take(pool), take(pool)
    assert pool.take() is None
    assert pool.lent == 2
    pool.give_back(first)
    assert pool.lent == 1
    third = take(pool)
    assert pool.take() is None
    for pipe in (second, third):
        pool.give_back(pipe)
    pool.close()


def test_limit_of_none() -> None:
    before = open_fds()
    assert PipePool(0).take() is None
    assert open_fds() == before


def test_pipe_carries_bytes_and_blocks_nobody() -> None:
    pool = PipePool(1)
    pipe = take(pool)
    assert os.write(pipe.into, b"bytes") == 5
    assert os.read(pipe.out_of, 100) == b"bytes"
    with pytest.raises(BlockingIOError):
        os.read(pipe.out_of, 1)
    pool.give_back(pipe)
    pool.close()


def test_empty_pipe_is_lent_again() -> None:
    pool = PipePool(1)
    pool.give_back(take(pool))
    before = open_fds()
    pool.give_back(take(pool))
    assert open_fds() == before
    pool.close()


def test_pipe_with_bytes_left_in_it_is_not_lent_again() -> None:
    before = open_fds()
    pool = PipePool(1)
    pipe = take(pool)
    pipe.held = os.write(pipe.into, b"of a session that is over")
    pool.give_back(pipe)
    assert pool.lent == 0
    assert open_fds() == before
    with pytest.raises(BlockingIOError):
        os.read(take(pool).out_of, 1)
    pool.close()


def test_keeps_some_idle_pipes_and_not_all_of_a_rush() -> None:
    before = open_fds()
    pool = PipePool(100)
    for pipe in [take(pool) for _ in range(100)]:
        pool.give_back(pipe)
    assert pool.lent == 0
    assert 0 < (open_fds() - before)["pipe"] < 100
    pool.close()


def test_no_descriptors_means_no_pipe() -> None:
    pool = PipePool(1)
    with no_descriptors_left():
        assert pool.take() is None
    assert pool.lent == 0
    pool.give_back(take(pool))  # as soon as there are some
    pool.close()


def test_one_descriptor_is_no_pipe_and_is_not_lost() -> None:
    before = open_fds()
    pool = PipePool(1)
    spare = os.dup(0)
    with no_descriptors_left():
        os.close(spare)
        assert pool.take() is None
    assert open_fds() == before


def test_close_closes_what_is_idle_and_no_more() -> None:
    before = open_fds()
    pool = PipePool(3)
    lent, idle = take(pool), take(pool)
    pool.give_back(idle)
    pool.close()
    pool.close()
    assert (open_fds() - before)["pipe"] == 2
    os.write(lent.into, b"still works")
    assert os.read(lent.out_of, 11) == b"still works"
    pool.give_back(lent)
    pool.close()
    assert open_fds() == before


def test_pool_goes_on_after_close() -> None:
    before = open_fds()
    pool = PipePool(1)
    pool.close()
    pool.give_back(take(pool))
    pool.close()
    assert open_fds() == before
