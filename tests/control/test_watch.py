from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.watch import Look, Looks, Watch, look

ONE, TWO, THREE = (1, 10, 5), (2, 10, 5), (1, 10, 6)


def changes(*looks: Look) -> list[bool]:
    watched = Looks(looks[0])
    return [watched.is_change(each) for each in looks[1:]]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ((ONE, ONE, ONE), (False, False)),
        ((ONE, TWO, TWO, TWO), (False, True, False)),
        ((ONE, THREE, THREE), (False, True)),  # replaced by rename: another inode
        ((ONE, TWO, THREE, THREE), (False, False, True)),  # still being written
        ((ONE, None, None, ONE, ONE), (False, False, False, False)),
        ((ONE, None, TWO, TWO), (False, False, True)),
        ((ONE, TWO, ONE, ONE), (False, False, False)),
        ((None, None, ONE, ONE), (False, False, True)),
        ((ONE, TWO, TWO, ONE, ONE), (False, True, False, True)),
    ],
)
def test_a_change_is_what_two_looks_see(
    looks: tuple[Look, ...], expected: tuple[bool, ...]
) -> None:
    assert tuple(changes(*looks)) == expected


def test_what_somebody_else_has_loaded_is_no_change() -> None:
    watched = Looks(ONE)
    assert not watched.is_change(TWO)
    watched.saw(TWO)
    assert not watched.is_change(TWO)
    assert not watched.is_change(TWO)
    # What it has become since then is one.
    watched.saw(THREE)
    assert not watched.is_change(ONE)
    assert watched.is_change(ONE)


@given(st.lists(st.sampled_from([ONE, TWO, THREE, None]), min_size=1))
def test_what_lasts_is_known_in_the_end_and_told_once(looks: list[Look]) -> None:
    last = looks[-1]
    told = changes(*looks, last, last)
    assert told[-1] is False
    watched = Looks(looks[0])
    known = looks[0]
    for each in [*looks[1:], last, last]:
        if watched.is_change(each):
            assert each not in (known, None)
            known = each
    assert last in (known, None)


def test_a_look_sees_a_rename_a_write_and_that_it_is_gone(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    assert look(file) is None
    file.write_text("one")
    first = look(file)
    assert first == look(file) is not None
    other.write_text("one")
    other.rename(file)
    second = look(file)
    assert second != first
    file.write_text("longer")
    assert look(file) != second


async def test_without_a_file_or_the_wish_nothing_is_watched(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    without = Watch(None, lambda: None)
    without.set(on=True, seen=None)
    unwanted = Watch(tmp_path / "file", lambda: None)
    unwanted.set(on=False, seen=None)
    assert asyncio.all_tasks() == before
    await without.close()
    await unwanted.close()


async def test_it_is_watched_once_and_no_more_after_the_end(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    watch = Watch(tmp_path / "file", lambda: None)
    watch.set(on=True, seen=None)
    watch.set(on=True, seen=None)
    assert len(asyncio.all_tasks() - before) == 1
    await watch.close()
    assert asyncio.all_tasks() == before
    await watch.close()
    watch.set(on=True, seen=None)
    watch.set(on=False, seen=None)
    watch.set(on=True, seen=None)
    await watch.close()
