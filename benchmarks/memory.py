"""Memory of training on a node beside the same steps in plain torch, each in a process of its own.

    python -m benchmarks.memory [--short]

Both train the built-in model on the same batches with AdamW; the losses must be alike. What counts
is the most that a process held at once (ru_maxrss), the interpreter and torch included; a node's
worker also hashes and writes four window states and an update, and holds the global state.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import torch

from benchmarks.local import load, show
from benchmarks.training import JOB, Bench
from dpin.base.codec import encode
from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, Round
from dpin.base.units import MILLION
from dpin.compute.checkpoint import decode_global
from dpin.compute.course import course_of
from dpin.compute.presets import QUICK
from dpin.compute.probe import settle
from dpin.compute.task import (
    InnerSpec,
    ModelSpec,
    Opened,
    OpenJob,
    Prepare,
    Prepared,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.tensors import as_float
from dpin.compute.train import seat_examples
from dpin.compute.weights import loaded

BIG: Final = ModelSpec(layers=4, heads=8, width=512, context=256)
SMALL: Final = ModelSpec(layers=2, heads=4, width=128, context=64)
STEPS: Final = 4
LIMIT: Final = 1.3
LEASE: Final = Digest(b"memory".ljust(32, b"\0"))


def manifest_of(model: ModelSpec, prepared: Prepared) -> TrainManifest:
    """One seat, one round, four windows of one step."""
    return TrainManifest(
        model=model,
        inner=InnerSpec(1_000, 100_000, 0, 4, STEPS),
        outer=QUICK,
        seats=1,
        rounds=1,
        windows=STEPS,
        shards=(NO_BLOB,),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=prepared.state_hash,
        fingerprint=prepared.fingerprint,
    )


def node(model: ModelSpec, folder: Path, prepared: Prepared) -> float:
    """Train one unit as a node's worker does; the mean loss."""
    bench = Bench()
    manifest = manifest_of(model, prepared)
    bench.do(
        OpenJob(
            job=JOB,
            manifest=encode(manifest),
            shards=prepared.shards,
            holdout=prepared.holdout,
            checkpoint=prepared.initial,
            round=Round(0),
            folder=str(folder / "work"),
        ),
        Opened,
    )
    done = bench.do(TrainUnit(LEASE, 0, Round(0), True, 0, ""), Trained)  # noqa: FBT003 (wire)
    return done.loss_micronats / MILLION


def plain(model: ModelSpec, prepared: Prepared) -> float:
    """The same steps as everybody writes them; the mean loss."""
    manifest = manifest_of(model, prepared)
    state = decode_global(Path(prepared.initial).read_bytes(), model)
    module = loaded(model, as_float(state.parameters))
    del state
    groups = [
        {"params": [part for part in module.parameters() if part.ndim > 1], "weight_decay": 0.1},
        {"params": [part for part in module.parameters() if part.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    course = course_of(manifest)
    examples = seat_examples(manifest, [Path(prepared.shards[0]).read_bytes()], 0)
    losses = []
    for step in range(STEPS):
        rows = examples.batch((JOB, LEASE, 0, step), manifest.inner.batch)
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step)
        optimizer.zero_grad()
        scores = module(rows[:, :-1])
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].reshape(-1))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def measured(how: str, folder: Path, *, short: bool) -> tuple[int, float]:
    """Most bytes held, and the loss, of one way in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.memory", "--way", how, "--folder", str(folder)]
    done = subprocess.run(
        [*words, *(["--short"] if short else [])], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return int(told["bytes"]), float(told["loss"])


def child(how: str, model: ModelSpec, folder: Path) -> None:
    """Do it one way and print what it took."""
    settle()
    said = json.loads((folder / "prepared.json").read_text())
    prepared = Prepared(
        tuple(said["shards"]), said["holdout"], said["initial"], NO_DIGEST, 0, NO_DIGEST
    )
    loss = node(model, folder, prepared) if how == "node" else plain(model, prepared)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"bytes": most, "loss": loss}) + "\n")


def main() -> None:
    """Print the table; ends with an error where the losses differ or the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--way", choices=["node", "plain"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    model = SMALL if options.short else BIG
    if options.way:
        child(options.way, model, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parameters = prepare(model, folder)
        found = {how: measured(how, folder, short=options.short) for how in ("plain", "node")}
    ratio = found["node"][0] / found["plain"][0]
    rows = [
        (how, f"{most / MILLION:,.0f} MB, loss {loss:.4f}", "")
        for how, (most, loss) in found.items()
    ]
    show(
        f"{parameters:,} parameters, batch 4 of {model.context} bytes; load {load()}",
        [*rows, ("node, times plain", f"{ratio:.2f}", f"{LIMIT}")],
    )
    if abs(found["node"][1] - found["plain"][1]) > 1e-2 or ratio > LIMIT:  # noqa: PLR2004
        raise SystemExit("the losses differ, or the node takes too much memory")


def prepare(model: ModelSpec, folder: Path) -> int:
    """Shards and checkpoint in the folder; how many parameters."""
    settle()
    (folder / "corpus.txt").write_bytes(b"the quick brown fox jumps over the lazy dog.\n" * 4_000)
    command = Prepare(
        corpus=str(folder / "corpus.txt"),
        suffixes=(".txt",),
        bytes_max=1 << 20,
        shards=1,
        holdout_ppm=50_000,
        model=model,
        seed=b"memory",
        folder=str(folder),
    )
    prepared = Bench().do(command, Prepared)
    said = {"shards": prepared.shards, "holdout": prepared.holdout, "initial": prepared.initial}
    (folder / "prepared.json").write_text(json.dumps(said))
    return prepared.parameters


if __name__ == "__main__":
    main()
