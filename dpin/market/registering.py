"""What a provider says of itself on the ledger, and of its sandbox to itself."""

from dpin.compute.task import Probed
from dpin.ledger.transactions import Register


def no_sandbox(probed: Probed) -> str:
    """Why this node cannot run a requester's module; empty where it can."""
    on_cpu = probed.devices[0].kind == "cpu"
    return probed.sandbox if on_cpu else "such modules run on CPUs alone"


def is_same(registered: Register, wanted: Register) -> bool:
    """Whether the ledger already says it; a beacon anchor is another matter."""
    return _spoken(registered) == _spoken(wanted)


def _spoken(register: Register) -> tuple[object, ...]:
    return (
        register.name,
        register.device,
        register.memory_bytes,
        register.fingerprint,
        register.provides,
    )
