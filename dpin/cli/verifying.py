"""Whether a proof shows what it says, told to people. Reads files; needs no node."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dpin.base.codec import encode
from dpin.base.errors import Misuse, NotVerified, unreadable
from dpin.base.units import MicroTokens, format_tokens
from dpin.cli.link import home_of
from dpin.cli.options import whole_id
from dpin.cli.proving import read_text
from dpin.light.client import Trust, trust_genesis
from dpin.light.facts import ACCOUNT, NotProven, Part
from dpin.light.fields import BadFile
from dpin.light.files import read_proof, read_trust
from dpin.light.notes import BadNote
from dpin.light.pack import BadPack, unpack
from dpin.light.proofs import Proof
from dpin.light.verify import Shown, verify
from dpin.node.home import read_network
from dpin.node.invite import INVITE_BYTES_MAX, INVITE_PREFIX, read_invite

DAY_MS: Final = 86_400_000
AGE_DAYS: Final = 7  # from here on there is a warning
REASONS: Final = 100  # codes below it are of settlements, but for 0
SHORT: Final = 8
SAY_IT: Final = "--trust CHECKPOINT-FILE, --genesis FILE, or --chain ID"
MONEY: Final = ("free", "stake", "locked", "credit")  # an account's first fields


def read_file(path: Path) -> Proof:
    """The proof in a file; raises Misuse for what is none, NotVerified for what cannot be right."""
    try:
        return read_proof(read_text(path))
    except BadFile as problem:
        raise Misuse(f"{path} is no proof: {problem}", fix="dpin ledger prove writes one") from None
    except (BadNote, NotProven) as problem:
        raise NotVerified(f"not proven: {problem}", fix="ask for the proof again") from None


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the command line says is trusted: at most one of these, else the network of `home`."""

    checkpoint: Path | None
    genesis: Path | None
    chain: str
    home: str | None

    def find(self, proof: Proof) -> Trust:
        """Raises Misuse where nothing is trusted, or too much."""
        given = [one for one in (self.checkpoint, self.genesis, self.chain) if one]
        if len(given) > 1:
            raise Misuse("two things cannot be trusted at once", fix=f"one of {SAY_IT}")
        if self.checkpoint:
            return self._from_file(self.checkpoint)
        if self.genesis:
            return _founders(_genesis_in(self.genesis), str(self.genesis))
        if self.chain:
            return self._from_id(proof)
        try:
            network = read_network(home_of(self.home))
        except Misuse:
            raise Misuse("nothing is trusted: no network is known here", fix=SAY_IT) from None
        return trust_genesis(encode(network.genesis))

    def _from_file(self, path: Path) -> Trust:
        try:
            return read_trust(read_text(path))
        except BadFile as problem:
            raise Misuse(
                f"{path} is no checkpoint: {problem}", fix="dpin ledger checkpoint writes one"
            ) from None

    def _from_id(self, proof: Proof) -> Trust:
        """The proof brings the genesis along, and that has the network's id as its digest."""
        if whole_id(self.chain, "64 hex digits: dpin net show") != proof.chain.hex():
            raise NotVerified(
                f"not proven: this is of the network {proof.chain.hex()}", fix="ask for the other"
            )
        if not proof.genesis:
            raise Misuse("this proof does not hold the network's genesis", fix="--trust, --genesis")
        return _founders(proof.genesis, "the genesis in it")


def _genesis_in(path: Path) -> bytes:
    try:
        data = path.read_bytes()[: INVITE_BYTES_MAX + 1]
    except OSError as problem:
        raise unreadable(path, problem) from None
    if data.lstrip().startswith(INVITE_PREFIX.encode()):
        return encode(read_invite(data.decode(errors="replace")).genesis)
    return data


def _founders(genesis: bytes, where: str) -> Trust:
    try:
        return trust_genesis(genesis)
    except NotProven as problem:
        raise Misuse(f"{where}: {problem}", fix="an invite to the network will do") from None


def tell_age(trust: Trust, days_max: int | None) -> str:
    """A warning where trust is old, else nothing; raises NotVerified where it is too old."""
    days = (int(time.time() * 1000) - trust.seen_ms) // DAY_MS
    text = (
        f"what is trusted is {days} days old; validators of then may have left since, and "
        "whoever has left can sign anything"
    )
    if days_max is not None and days > days_max:
        raise NotVerified(f"not proven: {text}", fix="trust a newer checkpoint")
    return text if days >= AGE_DAYS else ""


def judge(proof: Proof, trust: Trust) -> Shown:
    """What a proof shows; raises NotVerified."""
    try:
        return verify(proof, trust)
    except (BadNote, BadPack, NotProven) as problem:
        raise NotVerified(f"not proven: {problem}", fix="ask for the proof again") from None


def money_of(part: Part) -> dict[str, int]:
    """What an account holds, in micro-tokens; empty for what is not an account."""
    if part.kind != ACCOUNT or part.value is None:
        return {}
    fields = unpack(part.value)
    assert isinstance(fields, list)
    return {
        name: value for name, value in zip(MONEY, fields, strict=False) if isinstance(value, int)
    }


def verdict_values(shown: Shown, warning: str) -> dict[str, object]:
    """All that is shown, for programs."""
    checkpoint, receipt, part = shown.checkpoint, shown.receipt, shown.part
    return {
        "verified": True,
        "chain": shown.trust.chain.hex(),
        "checkpoint": {
            "sequence": checkpoint.sequence,
            "epoch": checkpoint.epoch,
            "height": checkpoint.height,
            "time_ms": checkpoint.time_ms,
            "state_root": checkpoint.state_root.hex(),
            "log_size": shown.certificate.size,
            "log_root": shown.certificate.root.hex(),
        },
        "signers": [member.node.hex() for member in shown.signers],
        "weight": shown.weight,
        "total": shown.total,
        "epochs_crossed": shown.crossed,
        "continues": shown.continues,
        "receipt": receipt
        and {
            "subject": receipt.subject.hex(),
            "height": receipt.height,
            "index": shown.index,
            "code": receipt.code,
            "detail": receipt.detail,
        },
        "account": part
        and {
            "node": part.identity.hex(),
            "there": part.value is not None,
            **money_of(part),
        },
        "warning": warning,
    }


def verdict_text(shown: Shown) -> str:
    """All that is shown, for people."""
    checkpoint, size = shown.checkpoint, shown.certificate.size
    signers = " ".join(member.node.hex()[:SHORT] for member in shown.signers)
    rows = [("network", shown.trust.chain.hex())]
    if shown.receipt is not None:
        receipt = shown.receipt
        outcome = f"{receipt.detail} (code {receipt.code})"
        rows += [
            ("receipt", f"{receipt.subject.hex()}: {outcome}"),
            ("", f"in commit {receipt.height}, leaf {shown.index} of {size} of the log"),
        ]
    if shown.part is not None:
        rows += [("account", f"{shown.part.identity.hex()}: {_holding(shown.part)}")]
    rows += [
        ("checkpoint", f"{checkpoint.sequence} of epoch {checkpoint.epoch}, at commit "
                       f"{checkpoint.height}"),
        ("signed by", f"{len(shown.signers)} of {len(shown.trust.committee.members)} validators, "
                      f"weight {shown.weight} of {shown.total}: {signers}"),
        ("trusted", _trusted(shown)),
    ]  # fmt: skip
    return f"{_headline(shown)}\n" + "\n".join(f"{name:<11} {text}" for name, text in rows)


def _headline(shown: Shown) -> str:
    if shown.receipt is None:
        return "proven: the state of an account" if shown.part else "proven: a checkpoint"
    code = shown.receipt.code
    if 0 < code < REASONS:
        return "proven: the ledger settled this unit"
    return f"proven: the ledger {'refused' if code else 'committed'} this transaction"


def _trusted(shown: Shown) -> str:
    since, crossed = shown.since, shown.crossed
    if not since.size:
        text = "the founders of the network"
    else:
        goes_on = "goes on" if shown.continues else "was not shown to go on"
        text = f"checkpoint {since.sequence} of epoch {since.committee.epoch}, whose log {goes_on}"
    return f"{text}; {crossed} ends of epochs in between" if crossed else text


def _holding(part: Part) -> str:
    if part.value is None:
        return "there is no such account"
    held = money_of(part)
    return "  ".join(f"{format_tokens(MicroTokens(held[name]))} {name}" for name in held)
