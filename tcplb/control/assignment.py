"""Which worker accepts on which listening sockets. Pure: the supervisor carries it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def assign(
    sets: Sequence[int], workers: Sequence[int], current: Mapping[int, int]
) -> dict[int, int]:
    """Return the worker for each set of sockets.

    `workers` are those that can accept, and `current` says who does so now; it may name workers
    that are gone. Each set gets exactly one worker (none only if there are none), no worker gets
    two more than another, and no more sets change hands than that takes.
    """
    if not workers:
        return {}
    held = {worker: [each for each in sets if current.get(each) == worker] for worker in workers}
    quota = _quotas(len(sets), held)
    given = {each: worker for worker in workers for each in held[worker][: quota[worker]]}
    spare = iter([each for each in sets if each not in given])
    for worker in workers:
        missing = quota[worker] - len(held[worker])
        given.update((next(spare), worker) for _ in range(missing))
    return given


def _quotas(sets: int, held: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Return how many sets each worker gets: all the same, or one more for some."""
    least, rest = divmod(sets, len(held))
    # One more for those who hold most, so that they give away least.
    ranked = sorted(held, key=lambda worker: -len(held[worker]))
    return {worker: least + (rank < rest) for rank, worker in enumerate(ranked)}
