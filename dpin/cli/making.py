"""What `dpin init` puts into a home."""

import sys

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse
from dpin.cli.passphrase import open_key, writer
from dpin.cli.patience import hush
from dpin.ledger import beacon
from dpin.node.home import Home, create_key, ensure_beacon, key_text, write_config
from dpin.node.invite import Card, write_card
from dpin.node.keyfile import is_sealed
from dpin.node.settings import Layers, config_text, resolve


def ensure_key(home: Home, *, encrypted: bool) -> bytes:
    """The seed of the key that is there, opened, or of a new one."""
    if home.key.exists():
        if encrypted and not is_sealed(key_text(home)):
            raise Misuse(
                f"{home.key} is there already, and not encrypted",
                fix=home.command("wallet encrypt"),
            )
        return open_key(home)
    return create_key(home, writer("the node's key", encrypted=encrypted))


def configure(home: Home, name: str) -> None:
    """Write a config, once it is known to be a good one."""
    text = config_text(name)
    resolve(Layers(text, str(home.config)))
    write_config(home, text)


def make_card(home: Home, seed: bytes) -> str:
    """The line that founders are told; its chain is made where it is missing, which takes long."""
    progress = _Progress(beacon.CHAIN_LENGTH)
    table = ensure_beacon(home, seed, progress.see)
    progress.end()
    return write_card(Card(SigningKey(seed).node_id, beacon.Chain().anchor(table)))


class _Progress:
    """One line on a terminal while something takes seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = -1

    def see(self, done: int) -> None:
        percent = done * 100 // self._total
        if sys.stderr.isatty() and percent != self._shown:
            self._shown = percent
            hush()
            sys.stderr.write(f"\rmaking the chain of reveals {percent} %")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown >= 0:
            sys.stderr.write("\r\x1b[K")
