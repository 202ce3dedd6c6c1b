"""Passphrases: from a file or a variable for services, from a terminal for people.

An opened key goes from the command that asked to the node process through a pipe, never through the
environment or the arguments, which other programs of the same user can read.
"""

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dpin.base.crypto import SEED_BYTES
from dpin.base.errors import Misuse, NotFound
from dpin.cli.patience import hush
from dpin.node.home import Home, fresh_salts, key_text, read_key
from dpin.node.keyfile import PASSPHRASE_CHARS_MAX, encode_key, is_sealed, seal_key

VARIABLE: Final = "DPIN_PASSPHRASE"
FILE_VARIABLE: Final = "DPIN_PASSPHRASE_FILE"
PLAIN_WARNING: Final = (
    "warning: this key is not encrypted; whoever can read the file, or a back-up of this disk, can "
    "spend its tokens"
)
_ALONE: Final = "put the passphrase there, alone, in a file of mode 0600"


def ask(what: str) -> str:
    """The passphrase of a key that exists; raises Misuse where nobody can be asked."""
    given = _given()
    if given is not None:
        return given
    _need_terminal(what)
    return getpass.getpass(f"Passphrase of {what}: ", stream=sys.stderr)


def ask_new(what: str) -> str:
    """A passphrase for a key to be encrypted, typed twice; raises Misuse."""
    given = _given()
    if given is not None:
        return given
    _need_terminal(what)
    first = getpass.getpass(f"New passphrase for {what}: ", stream=sys.stderr)
    if getpass.getpass("Again: ", stream=sys.stderr) != first:
        raise Misuse("the two passphrases differ", fix="type the same one twice")
    return first


def writer(what: str, *, encrypted: bool) -> Callable[[bytes], str]:
    """What makes a key file's text of a seed; says so when it is a plain one."""
    if not encrypted:
        from dpin.cli.options import say  # A node reads keys too, and has no use for commands.

        say(PLAIN_WARNING)
        return encode_key
    passphrase = ask_new(what)
    return lambda seed: seal_key(seed, passphrase, fresh_salts())


def open_key(home: Home) -> bytes:
    """The node's seed; asks for the passphrase of an encrypted key."""
    return read_key(home, lambda: ask(str(home.key)))


def opened_if_sealed(home: Home) -> bytes | None:
    """The node's seed where its file is encrypted, else None: the node reads a plain one itself."""
    return open_key(home) if is_sealed(key_text(home)) else None


def clean_environment() -> dict[str, str]:
    """The environment, less the passphrase: what the node starts must not inherit it."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def hand_over(seed: bytes) -> int:
    """A descriptor that a new process inherits and reads the opened key from."""
    readable, writable = os.pipe()
    os.write(writable, seed)
    os.close(writable)
    os.set_inheritable(readable, True)  # noqa: FBT003  # The system's own signature.
    return readable


def take_key(home: Home, descriptor: int | None) -> bytes:
    """The seed of this node process: handed over, or read as a command would."""
    if descriptor is None:
        seed = open_key(home)
    else:
        seed = os.read(descriptor, SEED_BYTES)
        os.close(descriptor)
    os.environ.pop(VARIABLE, None)
    assert len(seed) == SEED_BYTES, "the starting command hands over a whole key"
    return seed


def _given() -> str | None:
    """The passphrase that the environment names."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if FILE_VARIABLE not in os.environ:
        return None
    path = Path(os.environ[FILE_VARIABLE])
    try:
        with path.open(encoding="utf-8") as file:
            given = file.read(PASSPHRASE_CHARS_MAX + 1).rstrip("\r\n")
            if not given:
                raise Misuse(f"{path}, which {FILE_VARIABLE} names, is empty", fix=_ALONE)
            return given
    except FileNotFoundError:
        raise NotFound(f"{FILE_VARIABLE} names {path}, which is not there", fix=_ALONE) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise Misuse(
            f"{FILE_VARIABLE} names {path}, which cannot be read: {problem}", fix=_ALONE
        ) from None


def _need_terminal(what: str) -> None:
    hush()
    if not sys.stdin.isatty():
        raise Misuse(
            f"{what} needs a passphrase and there is no terminal to ask at",
            fix=f"set {FILE_VARIABLE} to a file that holds it (or {VARIABLE})",
        )
