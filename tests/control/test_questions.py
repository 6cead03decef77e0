from __future__ import annotations

import asyncio

from tcplb.control.inquiries import CloseSession
from tcplb.control.messages import Ask
from tcplb.control.questions import Questions
from tests.peers import eventually

QUESTION = CloseSession(7)


class Asked:
    """Questions, and what the workers were asked."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Ask]] = []
        self.questions = Questions(lambda worker, ask: self.sent.append((worker, ask)))

    def start(self, *workers: int) -> asyncio.Task[dict[int, object]]:
        return asyncio.ensure_future(self._ask(workers))

    async def _ask(self, workers: tuple[int, ...]) -> dict[int, object]:
        return dict(await self.questions.ask(workers, QUESTION))

    async def until_sent(self, number: int) -> None:
        await eventually(lambda: len(self.sent) == number)


async def test_each_worker_is_asked_and_all_answers_come_back() -> None:
    asked = Asked()
    task = asked.start(3, 1)
    await asked.until_sent(2)
    assert [(worker, ask.question) for worker, ask in asked.sent] == [(3, QUESTION), (1, QUESTION)]
    (_, first), (_, second) = asked.sent
    assert first.number != second.number
    asked.questions.answered(second.number, False)
    assert not task.done()
    asked.questions.answered(first.number, True)
    assert await task == {3: True, 1: False}


async def test_nobody_to_ask_is_no_answer() -> None:
    assert await Asked().start() == {}


async def test_one_that_is_gone_is_not_waited_for() -> None:
    asked = Asked()
    task = asked.start(0, 1, 2)
    await asked.until_sent(3)
    asked.questions.gone(1)
    for worker, ask in asked.sent:
        if worker != 1:
            asked.questions.answered(ask.number, worker)
    assert await task == {0: 0, 2: 2}


async def test_two_questions_at_once_keep_to_their_own_answers() -> None:
    asked = Asked()
    one, other = asked.start(5), asked.start(5)
    await asked.until_sent(2)
    for answer, (_, ask) in zip(("one", "other"), asked.sent, strict=True):
        asked.questions.answered(ask.number, len(answer))
    assert (await one, await other) == ({5: 3}, {5: 5})


async def test_answers_to_nothing_and_second_answers_are_ignored() -> None:
    asked = Asked()
    task = asked.start(0)
    await asked.until_sent(1)
    number = asked.sent[0][1].number
    asked.questions.answered(number + 1, True)
    asked.questions.answered(number, 1)
    asked.questions.answered(number, 2)
    asked.questions.gone(0)
    assert await task == {0: 1}
    asked.questions.answered(number, 3)
    asked.questions.gone(0)


async def test_whoever_asked_may_give_up() -> None:
    asked = Asked()
    task = asked.start(0)
    await asked.until_sent(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    asked.questions.answered(asked.sent[0][1].number, True)
