"""The main job of dpin, shown from nothing: a network of five processes trains, checks and pays.

Four nodes found a network on loopback. One has a model trained by the other three; in the middle a
fifth joins by invite, one provider is killed, and the fifth takes its place. Then a provider serves
the new model, and a second, shorter job meets a provider that cheats. Nothing is simulated.
"""

import argparse
import json
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

from rich.console import Console

from dpin.base.units import TOKEN, format_tokens
from dpin.client.client import Client
from dpin.compute.presets import DEMO_CORPUS_BYTES, DEMO_INNER, DEMO_MODEL, DEMO_ROUNDS, DEMO_SEATS
from dpin.compute.sizes import builtin_parameters
from dpin.node.status import JobDetail, LogEntry, NodeView
from scripts.demo_claims import (
    JOINT_MARGIN,
    LOSS_MAX,
    Claims,
    Run,
    check_bytes,
    check_ledger,
    joint_steps,
    nodes_table,
    rounds_table,
    units_table,
)
from scripts.demo_compare import Alone, train_alone
from scripts.demo_network import (
    DemoError,
    DemoNode,
    accept,
    dpin,
    found_network,
    invite_with,
    make_nodes,
    wait_for,
)

GRANT: Final = "2000"
TEXT_BYTES: Final = 200
VALIDATORS: Final = (  # name, price of a unit, takes jobs
    ("ada", "1", False),
    ("bea", "1.0", True),
    ("cyd", "1.1", True),
    ("dan", "1.2", True),
)
NEWCOMER: Final = ("eve", "1.3", True)


@dataclass(frozen=True, slots=True)
class Size:
    """How long the demonstration is."""

    rounds: int
    steps: int
    corpus_bytes: int
    cheat_rounds: int  # of a job of its own; 0: the newcomer cheats in the main job
    compare: bool


FULL: Final = Size(DEMO_ROUNDS, DEMO_INNER.steps, DEMO_CORPUS_BYTES, 2, compare=True)
# A newcomer is ready after a few rounds, and its seat must last for some more.
SHORT: Final = Size(11, 12, 600_000, 0, compare=False)
SKIP_WORK: Final = "skip-work"


class Demo:
    """The story, act by act."""

    def __init__(self, folder: Path, size: Size, console: Console) -> None:
        self.folder = folder
        self.size = size
        self.console = console
        self.claims = Claims(console)
        self.began = time.monotonic()
        self.nodes: list[DemoNode] = []
        self.training = Event()  # the first round of the main job has begun
        self.under_way = Event()  # the second

    def say(self, text: str) -> None:
        """One line of the story, with the time since the start."""
        self.console.print(
            f"[dim]{time.monotonic() - self.began:6.1f} s[/]  {text}", highlight=False
        )

    # --- act one: a network ---

    def network(self) -> None:
        """Five keys, four validators, one network."""
        self.say("making five nodes: a key each, and a chain of four million hashes")
        self.nodes = make_nodes(self.folder / "nodes", (*VALIDATORS, NEWCOMER))
        validators = self.nodes[: len(VALIDATORS)]
        found_network("demo", validators)
        wait_for("the nodes find each other", 60, lambda: self._connected(validators))
        wait_for("providers register and stake", 90, lambda: self._staked(validators[1:]))
        views = self.views(validators)
        self.say(f"four validators, connected; {views[0].ledger.tolerates} may be faulty")

    def _connected(self, nodes: list[DemoNode]) -> bool | None:
        views = [node.look() for node in nodes]
        return all(view is not None and view.peers >= len(nodes) - 1 for view in views) or None

    def _staked(self, nodes: list[DemoNode]) -> bool | None:
        views = [node.look() for node in nodes]
        return all(view is not None and view.money.stake > 0 for view in views) or None

    # --- act two: training, and a loss ---

    def train(self) -> JobDetail:
        """The main job; returns what became of it."""
        ada, bea, eve = self.nodes[0], self.nodes[1], self.nodes[4]
        accept(eve, invite_with(ada, eve, GRANT))
        job = self._submit(self._job_file("model", self.size.rounds))
        with Client(ada.home) as client:
            loss = Thread(target=self._lose_one)
            loss.start()
            for entry in client.events(job):
                self._tell(entry)
                if entry.kind == "round":
                    self.training.set()
                if entry.data.get("round") and "participants" in entry.data:
                    self.under_way.set()
            loss.join()
            detail = client.job(job)
        if detail.job.state != "done":
            raise DemoError(f"the job ended as {detail.job.state}: {detail.job.reason}")
        bea.start()
        self.say("bea is started again, and reads what it missed")
        return detail

    def _lose_one(self) -> None:
        """While the others train: eve joins, then bea is killed in the middle of a round."""
        bea, eve = self.nodes[1], self.nodes[4]
        cheats = not self.size.cheat_rounds
        if not self.training.wait(120):  # Until then eve could win one of the first seats.
            raise DemoError("no round has begun")
        eve.start(SKIP_WORK if cheats else "")
        how = f" and will cheat (--fault {SKIP_WORK})" if cheats else ""
        self.say(f"[bold]eve joins[/] by invite, with {GRANT} tokens from ada{how}")
        wait_for("eve registers and stakes", 60, lambda: self._staked([eve]))
        if not self.under_way.wait(120):
            raise DemoError("no second round has begun")
        bea.kill()
        self.say("[bold red]bea is killed[/] (SIGKILL), in the middle of a round")

    def _job_file(self, name: str, rounds: int) -> Path:
        path = self.folder / f"{name}.yaml"
        model = DEMO_MODEL
        shape = f"layers: {model.layers}, heads: {model.heads}, width: {model.width}"
        bytes_max = f"bytes_max: {self.size.corpus_bytes}B"
        lines = (
            f"name: {name}",
            "type: train",
            f"data: {{path: {sysconfig.get_path('stdlib')}, suffixes: [.py], {bytes_max}}}",
            f"model: {{{shape}, context: {model.context}}}",
            "args:",
            "  learning_rate: 3e-3",
            f"  batch_size: {DEMO_INNER.batch}",
            f"  steps_per_round: {self.size.steps}",
            f"  rounds: {rounds}",
            f"resources: {{nodes: {DEMO_SEATS}, memory: 500MB}}",
            "limits: {cost: 200}",
            f"output: {name}",
        )
        path.write_text("\n".join(lines) + "\n")
        return path

    def _submit(self, path: Path) -> str:
        words = ("submit", str(path), "--home", self.nodes[0].folder, "--json")
        plan = json.loads(dpin(*words, "--dry-run"))
        cost, known = plan["cost_max"] // TOKEN, len(plan["providers"])
        self.say(f"dpin submit {path.name}: at most {cost} tokens, {known} providers known")
        told = dpin(*words, "--detach")
        return str(json.loads(told)["id"])

    def _tell(self, entry: LogEntry) -> None:
        if entry.kind in {"round", "lease", "phase", "end", "warning"} or "held-out" in entry.text:
            self.say(entry.text)

    # --- act three: the model is used ---

    def generate(self) -> None:
        """A provider serves the new model."""
        words = ["run", str(self.folder / "model"), "def ", "--tokens", str(TEXT_BYTES)]
        told = json.loads(dpin(*words, "--home", self.nodes[0].folder, "--json"))
        self.console.print(told["text"], style="cyan", highlight=False)
        self.say(
            f"{len(told['bytes']) // 2} bytes from a provider, first after "
            f"{told['first_token_seconds']:.1f} s, then {told['tokens_per_second']:.0f} a second"
        )
        made = len(told["bytes"]) // 2
        self.claims.check(
            "a provider served the new model, checked and paid",
            f"{made} bytes, {told['state']} ({told['reason']})",
            holds=made == TEXT_BYTES and told["state"] == "done" and told["reason"] == "verified",
        )

    # --- act four: a cheat ---

    def cheat(self) -> JobDetail:
        """Eve pretends to work; two others find out."""
        ada, eve = self.nodes[0], self.nodes[4]
        eve.stop()
        eve.price = "0.5"
        eve.start(SKIP_WORK)
        wait_for("eve is back", 60, lambda: self._connected_again(eve))
        self.say("[bold]eve now cheats[/] (--fault skip-work), and is the cheapest")
        job = self._submit(self._job_file("cheated", self.size.cheat_rounds))
        with Client(ada.home) as client:
            for entry in client.events(job):
                self._tell(entry)
                if entry.kind == "verify":
                    self.say(entry.text)
            return client.job(job)

    def _connected_again(self, node: DemoNode) -> bool | None:
        view = node.look()
        ready = view is not None and view.peers >= len(VALIDATORS) and view.device is not None
        return True if ready else None

    # --- what it has shown ---

    def views(self, nodes: list[DemoNode]) -> list[NodeView]:
        """What every node shows."""
        return [view for view in (node.look() for node in nodes) if view is not None]

    def settled(self) -> list[NodeView]:
        """All nodes, once the ledger has come to rest with all of them at one height."""

        def look() -> list[NodeView] | None:
            views = self.views(self.nodes)
            heights = {(view.ledger.height, view.ledger.root) for view in views}
            return views if len(views) == len(self.nodes) and len(heights) == 1 else None

        found: list[NodeView] = wait_for("all nodes come to the same height", 60, look)
        return found

    def stop(self) -> None:
        """End every process that was started."""
        for node in self.nodes:
            node.stop()


def check_training(demo: Demo, detail: JobDetail, alone: Alone | None) -> None:
    """Loss, survival and verdicts of the main job."""
    claims, rounds = demo.claims, detail.rounds
    names = [lease.name for lease in detail.leases]
    claims.check(
        "the killed provider was replaced by the newcomer",
        ", ".join(names),
        holds=names[-1] == "eve" and any(name == "bea" for name in names),
    )
    claims.check(
        "no round was lost",
        f"{sum(entry.included > 0 for entry in rounds)} of {len(rounds)} rounds took updates",
        holds=all(entry.included > 0 for entry in rounds),
    )
    verified = detail.verdicts.get("PAID:verified", 0)
    claims.check(
        "units were re-executed blind, and agreed", str(detail.verdicts), holds=verified > 0
    )
    before, after = detail.holdout_before or 0.0, detail.holdout_after or 99.0
    if alone is None:
        claims.check(
            "held-out loss fell",
            f"{before:.3f} to {after:.3f} nats a byte",
            holds=after < before - 1,
        )
        return
    claims.check(
        "held-out loss < 2.7 nats a byte", f"{before:.3f} to {after:.3f}", holds=after < LOSS_MAX
    )
    claims.check(
        "within 8 % of as many steps at the joint batch",
        f"{after:.3f} against {alone.joint:.3f}: {after / alone.joint - 1:+.1%}"
        f" (one provider alone: {alone.sequential:.3f})",
        holds=after <= JOINT_MARGIN * alone.joint,
    )


def check_cheat(demo: Demo, detail: JobDetail) -> None:
    """The cheat lost, the honest were paid, the requester was made whole."""
    cheats = [lease for lease in detail.leases if lease.name == "eve"]
    honest = [lease for lease in detail.leases if lease.name not in {"eve", "bea"}]
    lost = sum(unit.lost for lease in cheats for unit in lease.units)
    paid = sum(unit.paid for lease in cheats for unit in lease.units)
    reasons = " ".join(sorted({u.reason for lease in cheats for u in lease.units if u.lost}))
    demo.claims.check(
        "the cheat was caught and slashed",
        f"eve lost {format_tokens(lost)}, earned {format_tokens(paid)}: {reasons}",
        holds=lost > 0 and paid == 0 and "bad-work" in reasons,
    )
    taken = sum(unit.lost for lease in honest for unit in lease.units)
    figure = f"{format_tokens(taken)} lost"
    demo.claims.check("no honest provider that stayed lost a token", figure, holds=taken == 0)


@contextmanager
def staged(demo: Demo) -> Iterator[Demo]:
    """Whatever happens, every process ends."""
    try:
        yield demo
    finally:
        demo.say("stopping the nodes")
        demo.stop()


def play(demo: Demo) -> None:
    """All acts, then the tables."""
    size, console = demo.size, demo.console
    demo.network()
    detail = demo.train()
    alone = None
    if size.compare:
        demo.say("for comparison: as many steps in one process, alone and at the joint batch")
        steps = joint_steps(detail, DEMO_SEATS)
        demo.say(f"{steps} joint steps are as much data as the providers had time for")
        alone = train_alone(demo.nodes[0].home, demo.folder / "model", detail, steps)
    training = demo.settled()
    demo.generate()
    cheated = demo.cheat() if size.cheat_rounds else None
    final = demo.settled()

    run = Run(detail, DEMO_SEATS, size.steps, size.rounds, builtin_parameters(DEMO_MODEL))
    rounds_table(console, run)
    units_table(console, detail)
    if cheated is not None:
        console.print("The job with a cheat:")
        units_table(console, cheated)
    nodes_table(console, final)
    check_training(demo, detail, alone)
    check_bytes(demo.claims, run, training[1:])
    check_cheat(demo, cheated or detail)
    check_ledger(demo.claims, final)
    demo.claims.show()
    console.print(f"model     {demo.folder / 'model'} (README.md there loads it in plain torch)")
    console.print(f"receipts  dpin receipts {detail.job.id} --home {demo.nodes[0].folder}")


def main(arguments: list[str]) -> int:
    """Exit status 0 only if every claim was checked and holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a minute, for CI: fewer steps")
    parser.add_argument("--folder", type=Path, default=Path("demo-out"))
    chosen = parser.parse_args(arguments)
    folder = chosen.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    demo = Demo(folder, SHORT if chosen.short else FULL, Console(width=110))
    try:
        with staged(demo):
            play(demo)
    except DemoError as error:
        demo.console.print(f"[red]the demonstration failed:[/] {error}", highlight=False)
        demo.console.print(f"the nodes' logs: {folder}/nodes/*/node.log")
        return 1
    demo.say("done")
    return 0 if demo.claims.all_hold else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
