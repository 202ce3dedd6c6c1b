"""What Prometheus reads: well-formed, and the figures of the node's own views."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

from dpin.gateway.metrics import metrics_text
from dpin.node.netviews import HistogramView, NetworkView
from tests.gateway.test_server import served
from tests.support.fake_control import FakeControl


class Delayed(FakeControl):
    """Announcements came late."""

    @override
    def network(self) -> NetworkView:
        delays = HistogramView(bounds=[1_000, 10_000], counts=[3, 1, 2], total=9, p50=1, p99=None)
        return msgspec.structs.replace(super().network(), announcement_delay=delays)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_prometheus_reads_what_the_views_say() -> None:
    control = FakeControl()
    async with served(control) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)
    assert found["dpin_peers", (("path", "direct"),)] == 1
    assert found["dpin_peers", (("path", "relay"),)] == 0
    assert found["dpin_dials_total", (("outcome", "refused"),)] == 2
    assert found["dpin_net_bytes_total", (("direction", "in"), ("protocol", "gossip"))] == 6
    assert found["dpin_reachability", (("verdict", "outbound only"),)] == 1
    assert found["dpin_clock_ahead_seconds", ()] == 0.012
    assert found["dpin_directory_nodes", ()] == 5
    assert found["dpin_directory_buckets", ()] == 2
    assert found["dpin_directory_own_records", (("kept", "true"),)] == 2
    assert found["dpin_directory_own_records", (("kept", "false"),)] == 1
    assert found["dpin_ledger_height", ()] == control.node().ledger.height


def test_buckets_add_up_to_the_count() -> None:
    found = samples(metrics_text(Delayed()).decode())
    name = "dpin_gossip_delay_seconds"
    bounds = [found[f"{name}_bucket", (("le", bound),)] for bound in ("0.001", "0.01", "+Inf")]
    assert bounds == [3, 4, 6]
    assert found[f"{name}_count", ()] == 6


def test_no_label_grows_with_peers_or_jobs() -> None:
    found = samples(metrics_text(FakeControl()).decode())
    labels = {label for _, pairs in found for label, _ in pairs}
    assert labels <= {
        "version", "state", "path", "verdict", "topic", "outcome", "direction", "protocol",
        "cause", "reason", "le", "kept",
    }  # fmt: skip
