"""Scores of a round, signed by who has found them; whoever holds the job's blobs finds them again.

A statement names the numeric class that it was computed in: in another one losses differ a little
before they are rounded, so only those of one class are compared.
"""

import json
from collections.abc import Iterable
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SigningKey, digest, verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest, JobId, NodeId, Round
from dpin.compute.scores import SCORE_MAX, UPDATES_MAX, Score

STATEMENT_TAG: Final = "dpin/scores/v1"
SCHEMA: Final = "dpin.v1/scores"
SCORES_FILE: Final = "scores.json"
TEXT_BYTES_MAX: Final = 16 << 20


class Statement(Wire, frozen=True):
    """What one node has found about the updates of one round."""

    job: JobId
    round: Round
    fingerprint: Digest  # numeric class
    scores: tuple[Score, ...]  # by lease


class Signed(Wire, frozen=True):
    """A statement, and whose it is."""

    node: NodeId
    statement: Statement
    signature: bytes


def stated(key: SigningKey, chain: ChainId, statement: Statement) -> Signed:
    """Sign it."""
    said = digest(STATEMENT_TAG, encode(statement))
    return Signed(key.node_id, statement, key.sign(STATEMENT_TAG, chain, said))


def check(signed: Signed, chain: ChainId) -> None:
    """Raise PeerFault unless it is signed, and such as a scorer can say."""
    scores = signed.statement.scores
    bounded = all(abs(score) <= SCORE_MAX for one in scores for score in (one.assigned, one.other))
    if len(scores) > UPDATES_MAX or not bounded:
        raise PeerFault("scores that no scorer can have found")
    said = digest(STATEMENT_TAG, encode(signed.statement))
    if not verify(signed.node, STATEMENT_TAG, chain, said, signed.signature):
        raise PeerFault("scores that are not signed by who is said to have found them")


def statements_text(chain: ChainId, statements: Iterable[Signed]) -> str:
    """The file `scores.json`: the numbers for people, and the signed bytes as hexadecimal."""
    record = {
        "schema": SCHEMA,
        "chain": chain.hex(),
        "statements": [
            {
                "round": one.statement.round,
                "signer": one.node.hex(),
                "scores": {
                    score.lease.hex(): [score.assigned, score.other]
                    for score in one.statement.scores
                },
                "signed": encode(one).hex(),
            }
            for one in statements
        ],
    }
    return json.dumps(record, indent=1) + "\n"


def read_statements(text: str) -> tuple[Signed, ...]:
    """Read the file and check each signature; raises PeerFault, saying what is wrong."""
    if len(text) > TEXT_BYTES_MAX:
        raise PeerFault("the file of scores is too long")
    try:
        record = json.loads(text)
        chain = ChainId(bytes.fromhex(record["chain"]))
        found = [decode(Signed, bytes.fromhex(one["signed"])) for one in record["statements"]]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise PeerFault("the file of scores cannot be read") from None
    for signed in found:
        check(signed, chain)
    return tuple(found)
