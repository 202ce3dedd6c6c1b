"""Node processes: starting one, waiting for it, ending it."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from dpin.base.errors import Misuse, Unavailable
from dpin.cli.passphrase import clean_environment, hand_over
from dpin.client.errors import ClientError
from dpin.node.home import Home, Running, key_text, read_config, read_network, read_running
from dpin.node.keyfile import account_of
from dpin.node.lastwords import how_it_ended, log_path, tail
from dpin.node.settings import Layers, Settings, resolve

START_SECONDS: Final = 180.0  # a busy machine takes long; a node that died is noticed at once
STOP_SECONDS: Final = 30.0
FAULTS: Final = ("skip-work", "wrong-weights", "vanish")
_POLL_SECONDS: Final = 0.05
_ERROR_LINES: Final = 12


def check(home: Home, flags: Mapping[str, object], fault: str) -> Settings:
    """The settings of this start; raises Misuse for whatever a node could not run on."""
    settings = resolve(Layers(read_config(home), str(home.config), os.environ, flags)).settings
    account_of(key_text(home))
    network = read_network(home)
    wanted, joined = settings.network.network, network.genesis.name
    if wanted not in {"", joined}:
        raise Misuse(
            f"network.network is {wanted!r}, and this node belongs to {joined!r}",
            fix=f"take it out of {home.config}, or use the home that joined {wanted!r}",
        )
    if fault and fault not in FAULTS:
        raise Misuse(f"there is no fault {fault!r}", fix=f"one of: {', '.join(FAULTS)}")
    if fault and not network.genesis.params.development:
        raise Misuse(
            f"{network.genesis.name!r} is no development network: no faults on purpose",
            fix="try them in: dpin sim up --nodes 5",
        )
    return settings


def command(folder: str | None, flags: Mapping[str, object], fault: str) -> list[str]:
    """The words that start the node process."""
    words = [sys.executable, "-m", "dpin", "_node"]
    words += ["--home", folder] if folder is not None else []
    words += ["--fault", fault] if fault else []
    for key, value in flags.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--set", f"{key}={text}"]
    return words


def become(words: Sequence[str], seed: bytes | None = None) -> NoReturn:
    """Turn this process into the node: same terminal, same signals, same exit status.

    `seed` is the opened key, where the file is encrypted.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    more = [] if seed is None else ["--key-fd", str(hand_over(seed))]
    os.execve(words[0], [*words, *more], clean_environment())  # noqa: S606  # This very Python.


def start_detached(home: Home, words: Sequence[str], seed: bytes | None = None) -> Running:
    """Start a node that outlives its terminal; returns when it answers."""
    process = spawn(home, words, seed)
    return wait_until_up(home, process)


def spawn(home: Home, words: Sequence[str], seed: bytes | None = None) -> "subprocess.Popen[bytes]":
    """Start a node process that logs into its home; `seed`: as `become`."""
    handed = [] if seed is None else [hand_over(seed)]
    more = [word for descriptor in handed for word in ("--key-fd", str(descriptor))]
    try:
        with log_path(home).open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # This very Python, with words of our own.
                [*words, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                pass_fds=handed,
                start_new_session=True,
            )
    finally:
        for descriptor in handed:
            os.close(descriptor)


def wait_until_up(home: Home, process: "subprocess.Popen[bytes]") -> Running:
    """What the node says of itself once it answers; raises ClientError with its last words."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        running = read_running(home)
        if running is not None and running.pid == process.pid:
            return running
        time.sleep(_POLL_SECONDS)
    if process.poll() is None:
        process.terminate()
        raise ClientError("timed-out", "the node did not start in time", f"see {log_path(home)}")
    raise _died(home)


def _died(home: Home) -> ClientError:
    ended = how_it_ended(home)
    if ended is None:
        last = "\n".join(tail(home)[-_ERROR_LINES:])
        return ClientError("node-died", f"the node ended at its start:\n{last}", "dpin doctor")
    return ClientError(*ended)


def wait_until_gone(home: Home) -> None:
    """Wait until no node runs on this home; raises Unavailable when it takes too long."""
    deadline = time.monotonic() + STOP_SECONDS
    while read_running(home) is not None:
        if time.monotonic() > deadline:
            raise Unavailable(f"the node of {home.root} has not ended in {STOP_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)
