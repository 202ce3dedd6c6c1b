"""A running node as Prometheus reads it: `/metrics`, taken from its views when it is asked.

Base units (seconds, bytes), and no label that grows with jobs or peers; those are in
`dpin net peers --json` and `dpin status --json`.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from dpin.base.units import MICROS_PER_SECOND, MILLION
from dpin.node.control import Control
from dpin.node.netviews import HistogramView, LinkView, NetworkView
from dpin.node.status import NodeView

METRICS_TYPE: Final = CONTENT_TYPE_LATEST
MILLIS_PER_SECOND: Final = 1_000


def metrics_text(control: Control) -> bytes:
    """Everything that is counted, as text."""
    registry = CollectorRegistry()
    registry.register(_Node(control.node(), control.network(), control.links()))
    return generate_latest(registry)


class _Node(Collector):
    """One node at one moment."""

    def __init__(self, node: NodeView, network: NetworkView, links: list[LinkView]) -> None:
        self._node = node
        self._network = network
        self._links = links

    @override
    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._self()
        yield from self._connections()
        yield from self._directory()
        yield from self._messages()
        yield from self._work()

    def _self(self) -> Iterator[Metric]:
        node, ledger = self._node, self._node.ledger
        build = GaugeMetricFamily("dpin_build_info", "Always 1.", labels=["version"])
        build.add_metric([node.version], 1)
        state = GaugeMetricFamily("dpin_node_state", "1 for the state it is in.", labels=["state"])
        state.add_metric([node.state], 1)
        yield from (build, state)
        gauges = (
            ("dpin_start_time_seconds", "When it started.", node.started_ms / MILLIS_PER_SECOND),
            ("dpin_ledger_height", "Commits executed.", ledger.height),
            ("dpin_ledger_epoch", "Of the ledger.", ledger.epoch),
            ("dpin_ledger_pending", "Transactions that wait.", ledger.pending),
            ("dpin_tokens_free", "Of this node, in tokens.", node.money.free / MILLION),
            ("dpin_tokens_stake", "Of this node, in tokens.", node.money.stake / MILLION),
            ("dpin_warnings", "What dpin doctor does not find well.", len(node.warnings)),
        )
        yield from (GaugeMetricFamily(name, text, value=value) for name, text, value in gauges)

    def _connections(self) -> Iterator[Metric]:
        network = self._network
        peers = GaugeMetricFamily("dpin_peers", "Connected.", labels=["path"])
        for path in ("direct", "relay"):
            peers.add_metric([path], sum(link.path == path for link in self._links))
        reach = GaugeMetricFamily("dpin_reachability", "1 for the verdict.", labels=["verdict"])
        reach.add_metric([network.reach.verdict], 1)
        mesh = GaugeMetricFamily("dpin_gossip_mesh_peers", "By topic.", labels=["topic"])
        for topic, size in network.mesh.items():
            mesh.add_metric([topic], size)
        yield from (peers, reach, mesh)
        yield _counter("dpin_dials", "Dials, by how they ended.", "outcome", network.dials)
        restarts = "Times that the network was opened again."
        yield CounterMetricFamily("dpin_net_restarts", restarts, value=network.restarts)
        if network.clock_ahead_ms is not None:
            ahead = network.clock_ahead_ms / MILLIS_PER_SECOND
            text = "How far the clocks of peers are ahead."
            yield GaugeMetricFamily("dpin_clock_ahead_seconds", text, value=ahead)

    def _directory(self) -> Iterator[Metric]:
        directory = self._network.directory
        gauges = (
            ("dpin_directory_nodes", "Reached before, for lookups.", directory.nodes),
            ("dpin_directory_buckets", "With a node in it.", sum(map(bool, directory.buckets))),
            ("dpin_directory_records", "Kept for all.", directory.kept),
        )
        yield from (GaugeMetricFamily(name, text, value=value) for name, text, value in gauges)
        if directory.explored_ms is not None:
            text = "When it last looked for more nodes."
            at = directory.explored_ms / MILLIS_PER_SECOND
            yield GaugeMetricFamily("dpin_directory_explored_time_seconds", text, value=at)
        own = GaugeMetricFamily(
            "dpin_directory_own_records", "By whether others keep it.", labels=["kept"]
        )
        oldest = GaugeMetricFamily(
            "dpin_directory_own_oldest_time_seconds", "When others were told.", labels=["kept"]
        )
        for kept in (True, False):
            times = [copy.at_ms for copy in directory.own if bool(copy.copies) is kept]
            own.add_metric([str(kept).lower()], len(times))
            if times:
                oldest.add_metric([str(kept).lower()], min(times) / MILLIS_PER_SECOND)
        yield from (own, oldest)

    def _messages(self) -> Iterator[Metric]:
        network = self._network
        moved = CounterMetricFamily(
            "dpin_net_bytes", "Bytes of all peers.", labels=["direction", "protocol"]
        )
        for direction, counted in (("in", network.bytes_in), ("out", network.bytes_out)):
            for protocol, count in counted.items():
                moved.add_metric([direction, protocol], count)
        yield moved
        yield _counter("dpin_net_dropped", "Messages dropped.", "cause", network.dropped)
        late = "From the author of an announcement to here."
        yield _histogram("dpin_gossip_delay_seconds", late, network.announcement_delay)
        yield _histogram("dpin_peer_rtt_seconds", "Round trips to peers.", network.round_trip)

    def _work(self) -> Iterator[Metric]:
        node = self._node
        text = "Leases that it works on."
        yield GaugeMetricFamily("dpin_serving", text, value=len(node.serving))
        yield CounterMetricFamily("dpin_offers_seen", "Offers.", value=node.offers_seen)
        yield CounterMetricFamily("dpin_offers_taken", "Offers.", value=node.offers_taken)
        declined = node.offers_declined
        yield _counter("dpin_offers_declined", "Offers not taken.", "reason", declined)


def _counter(name: str, text: str, label: str, counted: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counted.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, view: HistogramView) -> Metric:
    """Buckets are cumulative, the last one is for everything."""
    family = HistogramMetricFamily(name, text)
    buckets: list[tuple[str, float]] = []
    so_far = 0
    bounds = [str(bound / MICROS_PER_SECOND) for bound in view.bounds]
    for bound, count in zip([*bounds, "+Inf"], view.counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    family.add_metric([], buckets, view.total / MICROS_PER_SECOND)
    return family
