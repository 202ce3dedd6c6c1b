"""Key files: making them, copying them, putting a passphrase on them. No node is needed."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, say, show

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A key file.")]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="A key file, instead of the node's own key."),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Do not encrypt it. Whoever reads the file has the tokens.")
]


def create(file: FileArgument, *, plain: PlainOption = False, json: JsonOption = False) -> None:
    """Make a new account in a key file: a cold one, for a place where no node runs."""
    from dpin.base.crypto import SigningKey
    from dpin.cli.passphrase import writer
    from dpin.node import home as homes

    _look_first(file)  # Before anybody has typed a passphrase twice.
    text_of = writer(str(file), encrypted=not plain)
    seed = homes.create_seed()
    homes.write_key(file, text_of(seed))
    _tell("created", file, SigningKey(seed).node_id.hex(), json=json)
    if not json:
        say(f"keep a copy of {file}: whoever loses it, or its passphrase, loses its tokens")


def _look_first(file: Path) -> None:
    """Raises what writing a new key there would raise, as far as it can be known."""
    from dpin.node.keyfile import never_over, no_folder

    if file.exists():
        raise never_over(file)
    if not file.parent.is_dir():
        raise no_folder(file.parent)


def account(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A key file; without it, the node's.")
    ] = None,
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print the account of a key file. Asks for no passphrase."""
    from dpin.node.keyfile import account_of

    path, text = _key(file, home)
    _tell("account", path, account_of(text).hex(), json=json)


def export(
    file: FileArgument,
    *,
    key: KeyOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write an encrypted copy of the node's key: a back-up that may lie elsewhere."""
    from dpin.base.crypto import SigningKey
    from dpin.cli.passphrase import ask, writer
    from dpin.node import home as homes
    from dpin.node.keyfile import decode_key

    path, text = _key(key, home)
    _look_first(file)
    seed = decode_key(text, lambda: ask(str(path)))
    homes.write_key(file, writer(str(file), encrypted=True)(seed))
    _tell("exported", file, SigningKey(seed).node_id.hex(), json=json)


def import_key(file: FileArgument, *, home: HomeOption = None, json: JsonOption = False) -> None:
    """Make the account of a key file this home's node, as after the loss of a disk.

    The file may be encrypted: it stays so. A validator must never run twice with one key.
    """
    from dpin.cli.link import home_of
    from dpin.cli.passphrase import PLAIN_WARNING
    from dpin.node import home as homes
    from dpin.node.keyfile import account_of, is_sealed

    _, text = _key(file, home)
    account_id, place = account_of(text), home_of(home)
    homes.prepare(place)
    homes.write_key(place.key, text)
    if not is_sealed(text):
        say(PLAIN_WARNING)
    _tell("imported", place.key, account_id.hex(), json=json)
    if not json:
        say("next:  dpin init, which makes the rest. Run one node with this key, never two")


def encrypt(*, key: KeyOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Put a passphrase on the node's key. From its next start, the node asks for it."""
    from dpin.cli.passphrase import ask_new
    from dpin.node.home import fresh_salts
    from dpin.node.keyfile import seal_key

    path, account_id = _rewrite(
        key,
        home,
        lambda seed, path: seal_key(seed, ask_new(str(path)), fresh_salts()),
        sealed=False,
    )
    if json:
        _tell("encrypted", path, account_id, json=True)


def decrypt(*, key: KeyOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Take the passphrase off the node's key: whoever reads the file has its tokens."""
    from dpin.node.keyfile import encode_key

    path, account_id = _rewrite(key, home, lambda seed, _: encode_key(seed), sealed=True)
    if json:
        _tell("decrypted", path, account_id, json=True)


def _rewrite(
    key: Path | None, home: str | None, text_of: Callable[[bytes, Path], str], *, sealed: bool
) -> tuple[Path, str]:
    """Put a key file into the other form; `sealed` is the form that it must have now.

    Returns which file it is, and whose account.
    """
    from dpin.base.crypto import SigningKey
    from dpin.base.errors import Misuse
    from dpin.cli.passphrase import PLAIN_WARNING, ask
    from dpin.node.home import replace_key
    from dpin.node.keyfile import decode_key, is_sealed

    path, text = _key(key, home)
    if is_sealed(text) != sealed:
        raise Misuse(f"{path} is {'not ' if sealed else ''}encrypted", fix="it may stay as it is")
    seed = decode_key(text, lambda: ask(str(path)))
    replace_key(path, text_of(seed, path))
    if sealed:
        say(PLAIN_WARNING)
    else:
        say(f"{path} is encrypted; an old copy on this disk or in a back-up is not")
    return path, SigningKey(seed).node_id.hex()


def _key(file: Path | None, home: str | None) -> tuple[Path, str]:
    """A key file and its text: the one named, or the node's."""
    from dpin.cli.link import home_of
    from dpin.node.home import key_text

    if file is None:
        place = home_of(home)
        return place.key, key_text(place)
    return file, named_key(file)


def named_key(file: Path) -> str:
    """The text of a key file that somebody named; raises NotFound, or Misuse."""
    from dpin.base.errors import Misuse, NotFound
    from dpin.node.home import read_key_file

    if file.is_dir():
        raise Misuse(f"{file} is a directory", fix="name a key file")
    try:
        return read_key_file(file)
    except FileNotFoundError:
        raise NotFound(f"there is no key file {file}", fix="dpin wallet create FILE") from None


def _tell(schema: str, path: Path, account_id: str, *, json: bool) -> None:
    from dpin.cli.link import show_values

    if json:
        show_values(schema, {"account": account_id, "file": str(path)})
    else:
        show(account_id)
