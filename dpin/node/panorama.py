"""Views of the node itself and of its peers, with what it knows of its own health."""

from dataclasses import dataclass
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_MILLI
from dpin.compute.task import Probed
from dpin.ledger.accounts import Account, registered
from dpin.ledger.committee import committee_of
from dpin.ledger.views import name_of
from dpin.node.comparing import fork_checks
from dpin.node.health import Health
from dpin.node.home import read_bootstrap, read_running
from dpin.node.peer import Peer
from dpin.node.presence import Presence
from dpin.node.roomcheck import room_check
from dpin.node.seen import Met, Seen
from dpin.node.status import (
    Check,
    DeviceView,
    LedgerView,
    Money,
    NodeView,
    PeerView,
    ServingView,
    Traffic,
)
from dpin.node.surroundings import Surroundings
from dpin.node.words import counted
from dpin.storage.wanted import Purpose

PANEL_WHOLE: Final = 7  # C1: below it two votes convict


@dataclass(frozen=True, slots=True)
class Panorama:
    """All views of one node but those of its jobs."""

    peer: Peer
    seen: Seen
    around: Surroundings

    def node(self, serving: list[ServingView]) -> NodeView:
        """The node itself."""
        peer, seen = self.peer, self.seen
        offers = peer.provider.offers
        running = read_running(self.around.home)
        return NodeView(
            version=self.around.version,
            name=peer.choice.name,
            node_id=self._me.hex(),
            network=peer.genesis.name,
            chain=peer.chain.hex(),
            development=peer.params.development,
            state=self._state,
            rest=self.seen.rest,
            started_ms=seen.started // MICROS_PER_MILLI,
            api=running.api if running else "",
            addresses=list(self.around.host.addresses),
            peers=len(self._company),
            provides=peer.choice.provides,
            device=self._device,
            money=money_of(peer.state.accounts.get(self._me) or Account()),
            ledger=self._ledger,
            traffic=self._traffic,
            serving=serving,
            offers_seen=offers.seen,
            offers_taken=offers.taken,
            offers_declined=dict(offers.declined),
            warnings=[check.detail for check in self.checks() if check.verdict != "ok"],
        )

    def peers(self) -> list[PeerView]:
        """Everybody that the ledger or the network knows, this node left out."""
        connected = set(self._company)
        known = {*connected, *self.seen.peers, *registered(self.peer.state.accounts)}
        return [self._peer_view(node, connected) for node in sorted(known - {self._me})]

    def announced(self) -> list[Presence]:
        """What the providers say of themselves, this node left out."""
        nodes = [NodeId(bytes.fromhex(view.node_id)) for view in self.peers() if view.provides]
        found = [self.seen.peers[node].presence for node in nodes if node in self.seen.peers]
        return [presence for presence in found if presence is not None]

    def checks(self) -> list[Check]:
        """What the running node knows of its own health."""
        return [
            self._check_device(),
            *sandbox_checks(self.seen.probed, custom_code=self.peer.choice.custom_code),
            room_check(self.peer),
            *self._health.checks(),
            self._check_committee(),
            self._check_panel(),
            *fork_checks(self.peer),
            *(
                Check(name="node", verdict="warn", detail=text, fix="")
                for text in (*self.seen.warnings, *self.peer.unread)
            ),
        ]

    @property
    def _health(self) -> Health:
        peer, around = self.peer, self.around
        founders = len(peer.genesis.founders)
        bootstrap = (*read_bootstrap(around.home), *around.settings.network.bootstrap)
        return Health(peer.chain, around.host, self.seen, around.now(), founders > 1, bootstrap)

    @property
    def _me(self) -> NodeId:
        return self.peer.key.node_id

    @property
    def _company(self) -> list[NodeId]:
        """Who is connected, but for strangers: who dials back comes by a name of no meaning."""
        accounts, greeted = self.peer.state.accounts, self.seen.acquaintances.known
        return [node for node in self.around.host.peers() if node in accounts or node in greeted]

    @property
    def _state(self) -> str:
        there = "online" if self._company else "alone"
        return self.seen.rest.state or there

    @property
    def _device(self) -> DeviceView | None:
        probed = self.seen.probed
        if probed is None:
            return None
        device = probed.devices[0]
        return DeviceView(
            name=device.name,
            kind=device.kind,
            memory_bytes=device.memory_bytes,
            fingerprint=probed.fingerprint_text,
            reason=probed.reason,
        )

    @property
    def _ledger(self) -> LedgerView:
        peer, state = self.peer, self.peer.state
        committee = committee_of(state.term.committee)
        engine = peer.replica.engine
        return LedgerView(
            height=state.height,
            tick=state.tick,
            time_ms=state.time,
            round=self.seen.round,
            root=peer.executor.rooted[1].hex() if peer.executor.rooted else None,
            root_height=peer.executor.rooted[0] if peer.executor.rooted else 0,
            epoch=engine.core.epoch,
            certified=engine.certificate.checkpoint.height if engine.certificate else 0,
            validator=committee.index(self._me) is not None,
            signing=engine.may_sign,
            committee=[name_of(state, member) for member in committee.members],
            tolerates=committee.tolerates,
            transactions=self.seen.transactions,
            pending=len(engine.mempool),
            in_accounts=state.in_accounts,
            in_bonds=sum(validator.bond for validator in state.validators.values()),
            in_escrow=sum(state.jobs[job].escrow for job in state.live_jobs),
            treasury=state.treasury,
            reserve=state.reserve,
        )

    @property
    def _traffic(self) -> Traffic:
        counted = self.around.host.traffic().values()
        came, went = self.around.courier.bytes_in, self.around.courier.bytes_out
        return Traffic(
            control_in=sum(peer.control_in for peer in counted),
            control_out=sum(peer.control_out for peer in counted),
            gossip_in=sum(peer.gossip_in for peer in counted),
            gossip_out=sum(peer.gossip_out for peer in counted),
            shards_in=came[Purpose.SHARD],
            shards_out=went[Purpose.SHARD],
            updates_in=came[Purpose.UPDATE],
            updates_out=went[Purpose.UPDATE],
            checks_in=came[Purpose.CHECK],
            checks_out=went[Purpose.CHECK],
            models_in=came[Purpose.MODEL],
            models_out=went[Purpose.MODEL],
            bulk_in=sum(peer.bulk_in for peer in counted),
            bulk_out=sum(peer.bulk_out for peer in counted),
        )

    def _peer_view(self, node: NodeId, connected: set[NodeId]) -> PeerView:
        account = self.peer.state.accounts.get(node) or Account()
        met = self.seen.peers.get(node, Met())
        registration, presence = account.registration, met.presence
        name = presence.name if presence else name_of(self.peer.state, node)
        return PeerView(
            node_id=node.hex(),
            name=registration.name if registration else name,
            address=presence.addresses[0] if presence and presence.addresses else "",
            connected=node in connected,
            validator=any(one.node == node for one in self.peer.state.term.committee.members),
            device=registration.device if registration else "",
            provides=registration.provides if registration else False,
            free=account.free,
            stake=account.stake,
            last_seen_ms=met.seen // MICROS_PER_MILLI,
            blame=met.blames,
            reason=met.reason,
        )

    def _check_device(self) -> Check:
        probed = self.seen.probed
        if self.seen.no_device:
            return Check(
                name="device",
                verdict="fail" if self.peer.choice.provides else "warn",
                detail=self.seen.no_device,
                fix="install torch: pip install 'dpin[compute]'",
            )
        if probed is None:
            provides = self.peer.choice.provides
            detail = "being probed" if provides else "not looked for until it gives a job"
            return Check(name="device", verdict="ok", detail=detail, fix="")
        detail = f"{probed.devices[0].name}: {probed.reason}"
        return Check(name="device", verdict="ok", detail=detail, fix="")

    def _check_committee(self) -> Check:
        committee = committee_of(self.peer.state.term.committee)
        tolerates, members = committee.tolerates, counted(len(committee), "validator")
        return Check(
            name="committee",
            verdict="ok" if tolerates else "warn",
            detail=f"{members}: tolerates {counted(tolerates, 'faulty validator')}",
            fix="" if tolerates else "a network of four or more tolerates one",
        )

    def _check_panel(self) -> Check:
        able = len(list(registered(self.peer.state.accounts)))
        small = able < PANEL_WHOLE
        return Check(
            name="checks",
            verdict="warn" if small else "ok",
            detail=f"disputes are decided by two peers; {counted(able, 'node')} able to check",
            fix=f"with {PANEL_WHOLE} there could be an appeal" if small else "",
        )


def sandbox_checks(probed: Probed | None, *, custom_code: bool) -> list[Check]:
    """Whether code of others can be locked up, where the operator lets it run."""
    if not custom_code or probed is None:
        return []
    if not probed.sandbox:
        detail = "modules of requesters run locked up: Landlock and seccomp are here"
        return [Check(name="sandbox", verdict="ok", detail=detail, fix="")]
    return [
        Check(
            name="sandbox",
            verdict="warn",
            detail=f"jobs.custom_code is on, and no such job is taken: {probed.sandbox}",
            fix='custom_code = "off", or give the machine what it lacks: docs/own-modules.md',
        )
    ]


def money_of(account: Account) -> Money:
    """An account as a view."""
    return Money(
        free=account.free,
        stake=account.stake,
        locked=account.locked,
        credit=account.credit,
        sequence=account.sequence_high,
    )
