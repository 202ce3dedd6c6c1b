"""An empty word is a variable that a script has not set: it never means "leave it out"."""

from collections.abc import Iterator

import pytest
from typer.core import TyperGroup, TyperOption

from dpin.base.errors import Misuse
from dpin.cli.app import commands, run
from dpin.cli.options import MAY_BE_EMPTY, refuse_empty

Printed = pytest.CaptureFixture[str]


def leaves(group: TyperGroup, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Each command with each of its options that take a value."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from leaves(command, (*before, name))
            continue
        yield (*before, name)
        for parameter in command.params:
            if isinstance(parameter, TyperOption) and not parameter.is_flag:
                yield (*before, name, parameter.opts[0])


WORDS = [words for words in leaves(commands()) if words[-1] not in MAY_BE_EMPTY]


def test_the_table_is_of_all_commands() -> None:
    assert len(WORDS) > 150
    assert ("net", "bans", "--lift") in WORDS
    assert ("sim", "run") in WORDS


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_an_empty_word_is_refused_and_nothing_is_done(
    words: tuple[str, ...], capsys: Printed
) -> None:
    assert run([*words, ""]) == 2
    told = capsys.readouterr()
    assert not told.out
    what = f"what stands after {words[-1]}" if words[-1].startswith("--") else "an argument"
    assert (
        told.err
        == f"error[misuse]: {what} is empty\n  fix: is a variable not set? else leave it out\n"
    )


@pytest.mark.parametrize("word", ["--lift=", "--lift= ", " ", "\t"])
def test_blanks_are_empty_too(word: str) -> None:
    with pytest.raises(Misuse, match="is empty"):
        refuse_empty(["net", "bans", word])


@pytest.mark.parametrize(
    "words",
    [["--memo", ""], ["--memo="], ["--set", "prompt="], ["--set=prompt="], ["-", "--", "0"]],
)
def test_what_may_be_empty_may_be_empty(words: list[str]) -> None:
    refuse_empty(words)
    assert run(["version", "--json"]) == 0
