"""What is wrong with a node's place in the network, one sentence each, and the one thing to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.ids import ChainId
from dpin.base.units import Instant
from dpin.net.network import Network, Outcome
from dpin.net.reachability import Verdict
from dpin.net.tally import Dialled
from dpin.node.seen import Seen
from dpin.node.status import Check
from dpin.node.words import counted

FIXES: Final = {
    Outcome.REFUSED: "start dpin on that machine, or ask for a new invite there: dpin net invite",
    Outcome.SILENT: "let its TCP port through the firewall of that machine and of its router",
    Outcome.NO_ROUTE: "check the network of this machine: it has no way to that address",
    Outcome.WRONG_NODE: "another node has that address now: ask for a new invite",
    Outcome.CLOSED: "that node is full or has banned this one: try again in ten minutes",
    Outcome.NO_ADDRESS: "write addresses as /ip4/1.2.3.4/tcp/4610/p2p/ID",
    Outcome.STOPPED: "the network of this node is being opened again: wait a little",
    Outcome.FAILED: "start both nodes with log.level = debug, and look at what they say",
}
_INVITE: Final = "on a node that runs: dpin net invite; then here: dpin net join INVITE"


@dataclass(frozen=True, slots=True)
class Health:
    """One node at one moment."""

    chain: ChainId
    host: Network
    seen: Seen
    now: Instant
    has_others: bool  # the network has more nodes than this
    bootstrap: Sequence[str]

    def checks(self) -> list[Check]:
        """Everything about the network, most basic first."""
        return [
            self._open(),
            self._peers(),
            self._bootstrap(),
            self._reach(),
            *self.seen.acquaintances.checks(self.chain),
        ]

    def _open(self) -> Check:
        problem = self.host.problem
        if not problem:
            return _ok("listening", ", ".join(self.host.addresses) or "nowhere")
        return Check(
            name="listening",
            verdict="fail",
            detail=f"the network is not open: {problem}",
            fix="stop what uses the port, or set another in network.listen; it is tried on",
        )

    def _peers(self) -> Check:
        count = len(self.host.peers())
        if count or not self.has_others:
            return _ok("peers", f"{counted(count, 'peer')} connected")
        failed = self._failed(list(self.seen.tally.addresses))
        if not failed:
            known = bool(self.seen.tally.addresses or self.bootstrap)
            return Check(
                name="peers",
                verdict="warn",
                detail="no peers: none has answered yet"
                if known
                else "no peers: this node knows nobody to dial",
                fix="wait a little" if known else _INVITE,
            )
        address, end = failed[-1]
        return Check(
            name="peers",
            verdict="warn",
            detail=f"no peers: {counted(len(failed), 'address')} dialled in vain, "
            f"last {address}: {end.reason}".replace("addresss", "addresses"),
            fix=_fix(end),
        )

    def _bootstrap(self) -> Check:
        total = len(self.bootstrap)
        failed = self._failed(self.bootstrap)
        if not failed:
            return _ok("bootstrap", f"{total} to dial first" if total else "nobody to dial first")
        address, end = failed[0]
        whose = f"{len(failed)} of {total} bootstrap addresses do not answer"
        return Check(
            name="bootstrap",
            verdict="warn",
            detail=f"{whose}, such as {address}: {end.reason}",
            fix=_fix(end),
        )

    def _failed(self, addresses: Sequence[str]) -> list[tuple[str, Dialled]]:
        """Those whose last dial came to nothing."""
        ends = self.seen.tally.addresses
        known = [(address, ends[address]) for address in addresses if address in ends]
        return [(address, end) for address, end in known if end.outcome != Outcome.CONNECTED]

    def _reach(self) -> Check:
        found = self.seen.reachability.finding(self.host.addresses, self.now)
        good = found.verdict in {Verdict.DIRECT, Verdict.UNKNOWN}
        return Check(
            name="reach",
            verdict="ok" if good else "warn",
            detail=f"{found.verdict.value}: {found.detail}",
            fix=found.fix,
        )


def _fix(end: Dialled) -> str:
    return FIXES[Outcome(end.outcome)]


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, verdict="ok", detail=detail, fix="")
