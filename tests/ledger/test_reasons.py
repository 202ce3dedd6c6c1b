"""Every reason has a word, a number of its own and a line in the protocol page."""

from pathlib import Path

from dpin.ledger.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "ledger.md"


def test_words_are_in_kebab_case() -> None:
    assert Reason.NO_FITTING_BID.word == "no-fitting-bid"
    assert Reason.OK.word == "ok"


def test_the_protocol_page_lists_every_reason_with_its_number() -> None:
    page = PAGE.read_text()
    for reason in Reason:
        assert f"{int(reason)} | `{reason.word}` |" in page
