# SPDX-License-Identifier: Apache-2.0
"""The book of incidents: opened, changed, closed, told by whom."""

from __future__ import annotations

from ha_agent.broker.incidents.book import (
    CHANGE_SECONDS,
    KEPT_SECONDS,
    MAX_CLOSED,
    MAX_OPEN,
    Book,
)
from ha_agent.broker.incidents.incident import Trouble
from ha_agent.instant import WallTime

AT = 1_700_000_000.0


def look(book: Book, after_seconds: float, *troubles: Trouble) -> None:
    book.look(troubles, WallTime(AT + after_seconds))


def down(detail: str = "d", kind: str = "engine-down") -> Trouble:
    return Trouble(kind, detail, key="engine")


def test_an_incident_has_an_id_that_is_not_given_out_again() -> None:
    book = Book(3)
    look(book, 0, down(), Trouble("storage", "x"))
    assert list(book.incidents) == ["3-1700000000", "3-1700000001"]
    forgetful = Book(3)
    look(forgetful, 60, down())
    assert not forgetful.incidents.keys() & book.incidents.keys()


def test_each_step_is_to_be_told_once_on_each_channel() -> None:
    book = Book(1)
    look(book, 0, down())
    (one,) = book.still_open()
    assert one.is_to_tell("mail")
    book.told(one.id, "mail", one.step)
    (one,) = book.still_open()
    assert not one.is_to_tell("mail")
    assert one.is_to_tell("hook")
    look(book, 10, down("another detail"))
    assert not book.still_open()[0].is_to_tell("mail")
    look(book, 20)
    (one,) = book.incidents.values()
    assert one.closed_unix_seconds == AT + 20
    assert one.is_to_tell("mail")


def test_a_change_is_told_and_not_too_often() -> None:
    book = Book(1)
    look(book, 0, down())
    look(book, CHANGE_SECONDS - 1, down(kind="engine-unhealthy"))
    assert book.still_open()[0].kind == "engine-down"
    look(book, CHANGE_SECONDS, down(kind="engine-unhealthy"))
    (one,) = book.still_open()
    assert (one.kind, one.revision) == ("engine-unhealthy", 2)


def test_that_a_moment_is_over_is_no_news() -> None:
    book = Book(1)
    look(book, 0, Trouble("engine-moved", "there"))
    (one,) = book.still_open()
    book.told(one.id, "mail", one.step)
    look(book, 600)
    (one,) = book.incidents.values()
    assert not one.is_to_tell("mail")
    assert one.is_to_tell("hook")  # which was never told that it happened


def test_what_another_told_is_not_told_and_has_its_id() -> None:
    book = Book(2)
    look(book, 0, down())
    book.adopt("engine", "1-1699999999", 1, closed=False)
    (one,) = book.still_open()
    assert (one.id, one.told_by) == ("1-1699999999", 1)
    assert not one.is_to_tell("mail")
    look(book, 60)
    (one,) = book.incidents.values()
    assert one.is_to_tell("mail")
    book.adopt("engine", "1-1699999999", 1, closed=True)
    assert not book.incidents["1-1699999999"].is_to_tell("mail")


def test_of_two_that_told_the_lower_id_goes_on() -> None:
    first, second = Book(1), Book(2)
    for book in (first, second):
        look(book, 0, down())
        book.told(book.still_open()[0].id, "mail", book.still_open()[0].step)
    theirs, ours = second.still_open()[0].id, first.still_open()[0].id
    first.adopt("engine", theirs, 2, closed=False)
    second.adopt("engine", ours, 1, closed=False)
    assert [book.still_open()[0].id for book in (first, second)] == [ours, ours]
    assert [book.still_open()[0].told_by for book in (first, second)] == [1, 1]


def test_the_book_has_an_end() -> None:
    book = Book(1)
    many = [Trouble("host-silent", "", key=f"host-silent:{n}") for n in range(MAX_OPEN + 20)]
    look(book, 0, *many)
    look(book, 1, *many)
    assert len(book.still_open()) == MAX_OPEN
    assert book.dropped == 0
    look(book, 10)
    assert len(book.incidents) == MAX_CLOSED
    assert book.dropped == MAX_OPEN - MAX_CLOSED
    assert many[MAX_OPEN - 1].key in {one.key for one in book.incidents.values()}
    look(book, 10 + KEPT_SECONDS + 1)
    assert book.incidents == {}


def test_an_incident_has_the_times_of_its_trouble() -> None:
    book = Book(1)
    book.look([down()], WallTime(AT), began={"engine": AT - 120})
    book.look([], WallTime(AT + 300), ended={"engine": AT + 180})
    (one,) = book.incidents.values()
    assert (one.opened_unix_seconds, one.closed_unix_seconds) == (AT - 120, AT + 180)
