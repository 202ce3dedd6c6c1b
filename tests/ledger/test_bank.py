"""The bank's checker finds every kind of wrong book, and nothing in a right one."""

from dataclasses import replace

import pytest

from tests.support.bank import Entry, History, Look, Payment, faults

E1 = Entry(2, "ann", 1, "bob", 30, "a", done=True)
E2 = Entry(3, "bob", 1, "ann", 120, "b", done=True)
E3 = Entry(3, "ann", 2, "bob", 500, "c", done=False)
E4 = Entry(5, "ann", 3, "bob", 1, "d", done=True)
BOOK = (E1, E2, E3, E4)


def right() -> History:
    """Two accounts with 100 each; the last payment's outcome is unknown to its sender."""
    return History(
        opening={"ann": 100, "bob": 100},
        payments=[
            Payment("a", "ann", "bob", 30, 0.0, 1.0, 2),
            Payment("b", "bob", "ann", 120, 1.5, 2.0, 3),
            Payment("c", "ann", "bob", 500, 1.6, 2.1),
            Payment("d", "ann", "bob", 1, 3.0),
            Payment("e", "bob", "ann", 7, 3.0),
        ],
        looks=[
            Look("ann", 0.5, 1, 100),
            Look("ann", 1.2, 2, 70),
            Look("bob", 2.5, 4, 10),
            Look("ann", 9.0, 5, 189),
        ],
        books={"one": BOOK, "two": BOOK, "late": BOOK[:2]},
        closing={"one": {"ann": 189, "bob": 11}},
    )


def test_right_books_have_no_fault() -> None:
    assert faults(right()) == []


def kept_by_all(*entries: Entry) -> History:
    history = right()
    history.books = dict.fromkeys(history.books, entries)
    history.looks, history.closing = [], {}
    return history


WRONG = {
    "made twice": (*BOOK, replace(E1, sequence=9, height=6)),
    "used number 1 twice": (*BOOK, replace(E1, height=6)),
    "is lost": (E2, E3, E4),
    "nobody asked": (E1, replace(E2, amount=121), E3, E4),
    "nobody asked for payment x": (*BOOK, Entry(6, "bob", 5, "ann", 1, "x", done=True)),
    "stands in commit 4, not 3": (E1, replace(E2, height=4), E3, E4),
    "and precedes it": (E2, E1, E3, E4),
    "spent what it did not have": (E1, E2, replace(E3, done=True), E4),
}


@pytest.mark.parametrize("word", WRONG)
def test_wrong_books_are_found(word: str) -> None:
    found = faults(kept_by_all(*WRONG[word]))
    assert any(word in fault for fault in found), found


def test_books_that_differ_are_found() -> None:
    history = right()
    history.books["two"] = (E1, replace(E2, amount=119), E3, E4)
    assert "the log of two is another one" in faults(history)


@pytest.mark.parametrize(
    ("look", "word"),
    [
        (Look("ann", 1.2, 2, 100), "read 100 at commit 2, where it had 70"),
        (Look("bob", 2.5, 2, 130), "before its own acknowledged payment"),
    ],
)
def test_a_balance_that_never_was_is_found(look: Look, word: str) -> None:
    history = right()
    history.looks.append(look)
    [fault] = faults(history)
    assert word in fault


def test_money_that_was_made_is_found() -> None:
    history = right()
    history.closing["one"] = {"ann": 190, "bob": 11}
    assert "money was made or lost at one" in faults(history)
