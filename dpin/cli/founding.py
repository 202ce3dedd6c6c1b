"""What a network is, in words and values."""

import re
from typing import Final

from dpin.base.errors import Misuse
from dpin.ledger.committee import tolerated
from dpin.ledger.genesis import Genesis, chain_id
from dpin.node.invite import Invite, write_invite
from dpin.node.names import name_of
from dpin.node.words import counted

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def check_name(name: str) -> str:
    """A network's name as it is; raises Misuse for one that could not be typed everywhere."""
    if not _NAME.fullmatch(name):
        raise Misuse(
            f"{name[:40]!r} cannot be a network's name",
            fix="use at most 32 lower-case letters, digits and hyphens",
        )
    return name


def network_values(invite: Invite) -> dict[str, object]:
    """A network as JSON has it."""
    genesis = invite.genesis
    return {
        "name": genesis.name,
        "chain": chain_id(genesis).hex(),
        "created_ms": genesis.created_ms,
        "preset": genesis.params.preset,
        "development": genesis.params.development,
        "validators": [founder.node.hex() for founder in genesis.founders],
        "tolerates": tolerance(genesis),
        "addresses": list(invite.addresses),
        "invite": write_invite(invite),
    }


def tolerance(genesis: Genesis) -> int:
    """How many faulty validators its first committee bears."""
    return tolerated([founder.weight for founder in genesis.founders])


def network_text(invite: Invite) -> str:
    """A network as people read it."""
    genesis = invite.genesis
    names = ", ".join(name_of(founder.node) for founder in genesis.founders)
    rows = [
        ("network", f"{genesis.name}  ({genesis.params.preset})"),
        ("chain", chain_id(genesis).hex()),
        ("validators", f"{len(genesis.founders)}: {names}"),
        ("", f"tolerates {counted(tolerance(genesis), 'faulty validator')}"),
        ("dials", ", ".join(invite.addresses) or "nobody yet"),
    ]
    if genesis.params.development:
        rows.append(("tokens", "worthless: this network is for development"))
    return "\n".join(f"{name:<11}{text}" for name, text in rows)
