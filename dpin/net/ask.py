"""Questions that every node answers to everybody who connects: `/dpin/ask/1`.

One frame there, one frame back, on a stream of its own. Who greets learns whether both belong to
one network, speak one protocol and have one time; see docs/protocol/network.md.
"""

from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId
from dpin.net.envelope import CHAIN_PREFIX_BYTES

PROTOCOL: Final = 1  # of what nodes say to each other; grows when old nodes cannot follow any more
NONCE_BYTES: Final = 16
PORTS_MAX: Final = 4
PORT_MAX: Final = 65_535
ASK_BYTES_MAX: Final = 2_048
TEXT_CHARS_MAX: Final = 128


class Greeting(Wire, frozen=True, tag=1):
    """Who I am: the asker's protocol, network (first bytes of its chain id), version and time."""

    protocol: int
    chain: bytes
    version: str
    clock_ms: int


class Greeted(Wire, frozen=True, tag=2):
    """The same of the answerer, and the IP address that it sees the asker at (empty: unknown)."""

    protocol: int
    chain: bytes
    version: str
    clock_ms: int
    seen_at: str


class AskStatus(Wire, frozen=True, tag=3):
    """How are you?"""


class Status(Wire, frozen=True, tag=4):
    """How the node is; heights and roots are those of its ledger."""

    protocol: int
    chain: bytes  # the whole id
    network: str
    name: str
    version: str
    height: int
    epoch: int
    root_height: int
    root: bytes  # empty: none yet
    peers: int
    validator: bool
    uptime_ms: int
    clock_ms: int


class AskDialBack(Wire, frozen=True, tag=5):
    """Dial me at these ports of the address that you see me at, and say the nonce there."""

    nonce: bytes
    ports: tuple[int, ...]


class DialledBack(Wire, frozen=True, tag=6):
    """Where the answerer dialled, and how that ended for each port (dpin.net.network.Outcome)."""

    seen_at: str
    outcomes: tuple[str, ...]


class Refusal(Wire, frozen=True, tag=7):
    """Not now, or never: why, for people."""

    reason: str


Question = Greeting | AskStatus | AskDialBack
Answer = Greeted | Status | DialledBack | Refusal


def greeting(chain: ChainId, version: str, clock_ms: int) -> Greeting:
    """What a node of this network says first."""
    return Greeting(PROTOCOL, chain[:CHAIN_PREFIX_BYTES], version[:TEXT_CHARS_MAX], clock_ms)


def read_question(data: bytes) -> Question:
    """One question; raises PeerFault."""
    question: Question = decode(Question, data, ASK_BYTES_MAX)
    match question:
        case Greeting(chain=chain, version=version):
            _check_greeting(chain, version)
        case AskDialBack(nonce=nonce, ports=ports):
            ports_fit = 0 < len(ports) <= PORTS_MAX and all(0 < p <= PORT_MAX for p in ports)
            if len(nonce) != NONCE_BYTES or not ports_fit or len(set(ports)) != len(ports):
                raise PeerFault("asks for a dial-back that nobody can make")
        case AskStatus():
            pass
    return question


def read_answer(data: bytes) -> Answer:
    """One answer; raises PeerFault."""
    answer: Answer = decode(Answer, data, ASK_BYTES_MAX)
    match answer:
        case Greeted(chain=chain, version=version, seen_at=seen_at):
            _check_greeting(chain, version)
            _check_text(seen_at)
        case DialledBack(seen_at=seen_at, outcomes=outcomes):
            for text in (seen_at, *outcomes):
                _check_text(text)
        case Refusal(reason=reason):
            _check_text(reason)
        case Status():
            for text in (answer.network, answer.name, answer.version):
                _check_text(text)
    return answer


def write(message: Question | Answer) -> bytes:
    """The bytes of a question or an answer."""
    return encode(message)


def _check_greeting(chain: bytes, version: str) -> None:
    if len(chain) != CHAIN_PREFIX_BYTES:
        raise PeerFault("a greeting without a network")
    _check_text(version)


def _check_text(text: str) -> None:
    """What a stranger writes is shown to people: short, and nothing that moves a cursor."""
    if len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise PeerFault("a text that cannot be shown")
