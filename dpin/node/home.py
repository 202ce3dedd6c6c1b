"""A node's folder: its key, its network, its data. Nobody else knows where things lie."""

import fcntl
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Final

import msgspec
import platformdirs

from dpin.base.codec import encode
from dpin.base.crypto import SEED_BYTES, digest
from dpin.base.errors import Misuse, PeerFault, Unavailable
from dpin.ledger.beacon import Chain
from dpin.ledger.genesis import Genesis
from dpin.ledger.genesis import read as read_genesis
from dpin.node.invite import ADDRESSES_MAX, INVITE_BYTES_MAX, Invite
from dpin.node.keyfile import (
    KEY_CHARS_MAX,
    NONCE_BYTES,
    SALT_BYTES,
    Salts,
    Unlock,
    decode_key,
    encode_key,
    never_over,
    no_folder,
)
from dpin.node.settings import CONFIG_CHARS_MAX
from dpin.node.signerfile import SIGNERS_CHARS_MAX, decode_signers, encode_signers
from dpin.storage.durable import create_file, replace_file

_PRIVATE: Final = 0o600
_FOLDER: Final = 0o700
_OTHERS: Final = 0o077
_PID_BYTES_MAX: Final = 20
_RUNNING_BYTES_MAX: Final = 4_096
_LISTENING_BYTES_MAX: Final = 4_096
_BEACON_BYTES_MAX: Final = 1 << 24

BEACON_TAG: Final = "dpin/beacon/v1"


class Running(msgspec.Struct, frozen=True):
    """What node.json says while a node runs on this home."""

    pid: int
    api: str  # "http://127.0.0.1:PORT"
    started_ms: int
    version: str


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of one node lies; `--home` puts the config into the same folder."""

    root: Path
    config: Path
    key: Path  # the node's secret seed; mode 0600
    signers: Path  # further consensus keys, encrypted under the node's; mode 0600
    beacon: Path  # the table of its hash chain of reveals; as secret as the key
    genesis: Path  # the network that it belongs to
    bootstrap: Path  # whom to dial first, one address a line
    running: Path  # there while a node runs
    lock: Path  # held by the one node of this home
    ledger_log: Path  # the ledger's write-ahead log, a folder of segments
    closings: Path  # how epochs ended, from genesis on; another such folder
    jobs: Path  # a folder for each job, its own and those it serves
    blobs: Path  # content-addressed chunks
    worker: Path  # where workers may write
    peers: Path  # the peers remembered from the last run
    paused: Path  # until when its owner wants it to take no new work, if so
    listening: Path  # where the last run answered, one address a line

    def command(self, words: str) -> str:
        """What to type so that it is about this home: with `--home` where it is not the usual."""
        own = self.config.parent == self.root
        return f"dpin {words} --home {shlex.quote(str(self.root))}" if own else f"dpin {words}"


def home_in(root: Path, config: Path) -> Home:
    """The home whose data lie in `root`; nothing is made."""
    return Home(
        root=root,
        config=config,
        key=root / "key",
        signers=root / "signers",
        beacon=root / "beacon.table",
        genesis=root / "genesis",
        bootstrap=root / "bootstrap",
        running=root / "node.json",
        lock=root / "node.lock",
        ledger_log=root / "ledger",
        closings=root / "closings",
        jobs=root / "jobs",
        blobs=root / "blobs",
        worker=root / "worker",
        peers=root / "peers",
        paused=root / "paused",
        listening=root / "listening",
    )


def locate(folder: str | None, environment: Mapping[str, str]) -> Home:
    """The home that `--home`, DPIN_HOME or the XDG folders name; nothing is made."""
    if folder is not None and not folder.strip():  # An unset variable in a script, as a rule.
        raise Misuse("--home names no folder", fix="name one, or leave --home out")
    chosen = folder or environment.get("DPIN_HOME", "")
    if chosen:
        root = Path(chosen).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise Misuse(f"{root} is no folder", fix="name a folder: --home DIR")
        return home_in(root, root / "config.toml")
    config = Path(platformdirs.user_config_path("dpin", appauthor=False))
    data = Path(platformdirs.user_data_path("dpin", appauthor=False))
    return home_in(data, config / "config.toml")


def prepare(home: Home) -> None:
    """Make the folders of a home, readable by their owner alone; raises Unavailable."""
    with _disk(home.root):
        for folder in (home.config.parent, home.root, home.jobs, home.blobs, home.worker):
            folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)


def create_key(home: Home, text_of: Callable[[bytes], str] = encode_key) -> bytes:
    """Make a new key and return its seed; raises Misuse where there is one already.

    `text_of` makes the file's text of a seed: plain, or encrypted.
    """
    seed = create_seed()
    write_key(home.key, text_of(seed))
    return seed


def create_seed() -> bytes:
    """A new secret."""
    return token_bytes(SEED_BYTES)


def fresh_salts() -> Salts:
    """Randomness for encrypting one key file."""
    return Salts(token_bytes(SALT_BYTES), token_bytes(NONCE_BYTES))


def write_key(path: Path, text: str) -> None:
    """Write a key file that was not there; raises Misuse rather than write over one."""
    with _disk(path):
        try:
            create_file(path, text.encode())
        except FileExistsError:
            raise never_over(path) from None
        except FileNotFoundError:
            raise no_folder(path.parent) from None


def replace_key(path: Path, text: str) -> None:
    """Put the same key into another form, encrypted or plain: the old file or the new is there."""
    _replace(path, text.encode())


def key_text(home: Home) -> str:
    """The node's key file; raises Misuse where there is none, or others may read it."""
    try:
        return read_key_file(home.key)
    except FileNotFoundError:
        raise Misuse(f"there is no node in {home.root}", fix=home.command("init")) from None


def read_key_file(path: Path) -> str:
    """The text of any key file; raises Misuse where others may read it, FileNotFoundError."""
    with _disk(path):
        mode = path.stat().st_mode
    text = _text(path, max(KEY_CHARS_MAX, SIGNERS_CHARS_MAX))
    if mode & _OTHERS:
        raise Misuse(f"others may read the key {path}", fix=f"chmod 600 {path}")
    return text


def read_key(home: Home, unlock: Unlock | None = None) -> bytes:
    """The node's seed; raises Misuse where there is none, or it cannot be opened."""
    return decode_key(key_text(home), unlock)


def write_config(home: Home, text: str) -> None:
    """Write the config file, whole or not at all."""
    _replace(home.config, text.encode())


def read_config(home: Home) -> str:
    """The text of the config file; empty where there is none."""
    try:
        return _text(home.config, CONFIG_CHARS_MAX)
    except FileNotFoundError:
        return ""


def write_beacon(home: Home, table: bytes, number: int = 0) -> None:
    """Keep the table of a hash chain of reveals."""
    _replace(_chain_path(home, number), table)


def _chain_path(home: Home, number: int) -> Path:
    return home.beacon if number == 0 else home.beacon.with_name(f"{home.beacon.name}.{number}")


def chain_secret(seed: bytes, number: int) -> bytes:
    """The secret end of a node's hash chain of that number."""
    return digest(BEACON_TAG, seed + (number.to_bytes(8) if number else b""))


def read_beacons(home: Home) -> dict[int, bytes]:
    """The tables of all hash chains that lie here, by number."""
    suffixes = [path.suffix[1:] for path in home.root.glob(f"{home.beacon.name}.*")]
    numbers = {0, *(int(suffix) for suffix in suffixes if suffix.isdecimal())}
    found = {}
    for number in sorted(numbers):
        with suppress(FileNotFoundError):
            found[number] = _bytes(_chain_path(home, number), _BEACON_BYTES_MAX)
    return found


def read_signers(home: Home, seed: bytes) -> tuple[bytes, ...]:
    """Seeds of this node's further consensus keys, the newest last; raises Misuse."""
    try:
        text = read_key_file(home.signers)
    except FileNotFoundError:
        return ()
    return decode_signers(seed, text)


def add_signer(home: Home, seed: bytes) -> bytes:
    """Make one more consensus key; it is durable when this returns its seed."""
    made = create_seed()
    text = encode_signers(seed, [*read_signers(home, seed), made], token_bytes(NONCE_BYTES))
    _replace(home.signers, text.encode())
    return made


def ensure_beacon(home: Home, seed: bytes, progress: Callable[[int], None] | None = None) -> bytes:
    """The table of the hash chain of reveals; made from the key where it is missing (seconds)."""
    table = read_beacon(home)
    if table is None:
        table = Chain().build(chain_secret(seed, 0), progress)
        write_beacon(home, table)
    return table


def read_beacon(home: Home) -> bytes | None:
    """The table of the hash chain of reveals, or None: it can be made again from the key."""
    try:
        return _bytes(home.beacon, _BEACON_BYTES_MAX)
    except FileNotFoundError:
        return None


def write_network(home: Home, invite: Invite) -> None:
    """Make this home part of a network; raises Misuse where it belongs to another."""
    data = encode(invite.genesis)
    if home.genesis.exists() and _bytes(home.genesis, INVITE_BYTES_MAX) != data:
        raise Misuse(
            f"{home.root} belongs to the network {read_network(home).genesis.name!r} already",
            fix="use another home for the other network: dpin init --home DIR",
        )
    _replace(home.bootstrap, "".join(f"{line}\n" for line in invite.addresses).encode())
    _replace(home.genesis, data)


def read_network(home: Home) -> Invite:
    """The network that this home belongs to and whom to dial first; raises Misuse."""
    try:
        genesis = _genesis(home, _bytes(home.genesis, INVITE_BYTES_MAX))
    except FileNotFoundError:
        raise Misuse("this node belongs to no network yet", fix=network_fix(home)) from None
    return Invite(genesis, read_bootstrap(home))


def network_fix(home: Home) -> str:
    """What to type where this home belongs to no network."""
    return f"{home.command('net create NAME')}, or: {home.command('net join INVITE')}"


def read_bootstrap(home: Home) -> tuple[str, ...]:
    """Whom the invite said to dial first."""
    lines: list[str] = []
    with suppress(FileNotFoundError):
        lines = _text(home.bootstrap, INVITE_BYTES_MAX).splitlines()
    return tuple(line for line in lines if line)[:ADDRESSES_MAX]


def _genesis(home: Home, data: bytes) -> Genesis:
    try:
        return read_genesis(data)
    except PeerFault as error:
        raise Misuse(
            f"{home.genesis} is damaged, or of another version of dpin: {error}",
            fix="start the version that it was made with; with this one, join a network of this "
            "version in another home: dpin init --home DIR",
        ) from None


def write_listening(home: Home, addresses: Iterable[str]) -> None:
    """Remember where this node answers, so that it does so again after a restart."""
    _replace(home.listening, "".join(f"{address}\n" for address in addresses).encode())


def read_listening(home: Home) -> tuple[str, ...]:
    """Where the last run answered; nothing where there was none or the file is damaged."""
    try:
        return tuple(_text(home.listening, _LISTENING_BYTES_MAX).splitlines())
    except (FileNotFoundError, Misuse):
        return ()


def write_peers(home: Home, memory: bytes) -> None:
    """Remember the last good peers, so that a node finds back without anybody's help."""
    _replace(home.peers, memory)


def write_running(home: Home, running: Running) -> None:
    """Say where the node of this home can be reached."""
    _replace(home.running, msgspec.json.encode(running))


def read_running(home: Home) -> Running | None:
    """What the node of this home said last, or None; it may have died since."""
    try:
        return msgspec.json.decode(_bytes(home.running, _RUNNING_BYTES_MAX), type=Running)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def clear_running(home: Home) -> None:
    """Say that no node runs."""
    with _disk(home.running):
        home.running.unlink(missing_ok=True)


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Hold the home; raises Misuse where another process does. The system frees it at exit."""
    with _disk(home.lock):
        handle = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    try:
        with _disk(home.lock):
            _lock(home, handle)
        yield
    finally:
        os.close(handle)


def _lock(home: Home, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, _PID_BYTES_MAX).decode(errors="replace").strip()
        raise Misuse(
            f"another node uses this folder: pid {holder or 'unknown'} ({home.root})",
            fix=f"{home.command('node stop')}, or use another --home",
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())


def _replace(path: Path, data: bytes) -> None:
    with _disk(path):
        replace_file(path, data)


def _bytes(path: Path, limit: int) -> bytes:
    with _disk(path), path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Misuse(f"{path} is larger than {limit} bytes", fix="dpin did not write it: remove it")
    return data


def _text(path: Path, limit: int) -> str:
    try:
        return _bytes(path, limit).decode()
    except UnicodeDecodeError:
        raise Misuse(f"{path} is not text in UTF-8", fix="correct or remove it") from None


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """What the disk refuses becomes Unavailable; what is not there stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
