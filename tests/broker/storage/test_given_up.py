# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

from ha_agent.broker.storage.given_up import GivenUp

SLOT = ["/volume", 1]
OTHER = ["/volume", 2]


class Worker:
    def __init__(self, writes: bool = False) -> None:
        self.code: Optional[int] = None
        self.writes = writes

    def poll(self) -> Optional[int]:
        return self.code

    def may_write(self) -> bool:
        return self.writes


def test_what_was_given_up_may_write_where_it_wrote_until_it_ends() -> None:
    given_up, worker = GivenUp(), Worker()
    given_up.add(worker, SLOT)
    assert given_up.count() == 1
    assert given_up.may_write(SLOT)
    assert not given_up.may_write(OTHER)
    worker.code = -9
    assert not given_up.may_write(SLOT)
    assert given_up.count() == 0


def test_a_reader_writes_nowhere() -> None:
    given_up = GivenUp([Worker()])
    given_up.add(Worker())
    assert given_up.count() == 2
    assert not given_up.may_write(SLOT)


def test_an_earlier_brokers_writer_may_write_anywhere_until_it_ends() -> None:
    worker = Worker(writes=True)
    given_up = GivenUp([Worker(), worker])
    assert given_up.may_write(SLOT)
    assert given_up.may_write(OTHER)
    worker.code = 0
    assert not given_up.may_write(SLOT)
    assert given_up.count() == 1
