"""The same training in one process, for comparison: what the network's result is held against."""

import json
from dataclasses import dataclass
from pathlib import Path

import trio

from dpin.base.codec import decode
from dpin.base.ids import BlobId, JobId, Round
from dpin.compute.alone import Measure, Measured
from dpin.compute.child import WorkerOptions
from dpin.compute.task import (
    OpenJob,
    Report,
    TrainManifest,
)
from dpin.compute.worker import Ended, Worker, open_worker
from dpin.node.home import Home
from dpin.node.status import JobDetail
from dpin.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Alone:
    """Held-out losses, in nats per byte."""

    sequential: float
    joint: float


def train_alone(home: Home, model: Path, detail: JobDetail, steps: int) -> Alone:
    """Train from the job's own start on its own shards; both runs at once, one core each."""
    provenance = json.loads((model / "provenance.json").read_text())
    store = BlobStore(home.blobs, 1 << 40)
    data = store.path(BlobId(bytes.fromhex(provenance["manifest"]))).read_bytes()
    manifest: TrainManifest = decode(TrainManifest, data)
    command = OpenJob(
        job=JobId(bytes.fromhex(detail.job.ledger_id or "")),
        manifest=data,
        shards=tuple(str(store.path(shard)) for shard in manifest.shards),
        holdout=str(store.path(manifest.holdout)),
        checkpoint=str(store.path(manifest.initial)),
        round=Round(0),
        folder="alone",
    )
    losses: dict[bool, float] = {}

    async def measure(*, joint: bool) -> None:
        async with open_worker(WorkerOptions(home.worker, nice=0)) as worker:
            await worker.send(command)
            await worker.send(Measure(steps, joint))
            losses[joint] = await _loss(worker)

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            for joint in (False, True):
                nursery.start_soon(lambda joint=joint: measure(joint=joint))

    trio.run(both)
    return Alone(losses[False], losses[True])


async def _loss(worker: Worker) -> float:
    async for report in worker.reports:
        if isinstance(report, Measured):
            return report.loss_micronats / 1_000_000
        _refuse(report)
    raise RuntimeError("the worker ended without a result")


def _refuse(report: Report | Ended) -> None:
    if isinstance(report, Ended) or type(report).__name__ == "Failed":
        raise RuntimeError(f"the comparison failed: {report}")
