"""The benchmarks run, check what they measure, and print tables; their figures are not judged."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.federated_least import least, steps_at_once
from dpin.compute.task import ModelSpec
from tests.meta.documents import ROOT

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
SECONDS_MAX = 200


def printed_by(module: str, *words: str) -> str:
    """What a benchmark prints with --short; fails the test when it fails."""
    done = subprocess.run(  # noqa: S603  # A program of our own.
        [sys.executable, "-m", module, "--short", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{module}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.long
def test_the_benchmark_of_the_ledger_finds_all_applied_and_one_root_everywhere() -> None:
    table = printed_by("benchmarks.ledger", "--only", "whole", "ordered", "alone", "simulated")
    assert "on all four" in table
    assert "transactions a second, by all four" in table
    assert "tx/s" in table


@pytest.mark.long
def test_the_benchmark_of_a_node_finds_no_torch_in_it() -> None:
    table = printed_by("benchmarks.node")
    [torch] = [line for line in table.splitlines() if "processes with torch" in line]
    assert " 0 " in torch


@pytest.mark.long
def test_the_benchmark_of_workers_finds_one_numeric_class() -> None:
    assert "each one after: ready" in printed_by("benchmarks.workers")


def test_the_benchmark_of_the_log_reads_all_back() -> None:
    assert "signed in batches of 1024" in printed_by("benchmarks.log")


@pytest.mark.long
def test_the_benchmark_of_joining_ends_with_the_state() -> None:
    assert "Joining 20,000 accounts" in printed_by("benchmarks.join")


def test_the_benchmark_of_joining_over_the_network_ends_with_the_state() -> None:
    assert "20,000 accounts over libp2p" in printed_by("benchmarks.joining")


@pytest.mark.long
def test_the_benchmark_of_training_compares_with_the_joint_batch() -> None:
    assert "joint batch" in printed_by("benchmarks.training")


def test_the_benchmark_of_codecs_reads_back_what_it_wrote() -> None:
    assert "sparse: to bytes" in printed_by("benchmarks.codecs")


@pytest.mark.long
def test_the_benchmark_of_averaging_checks_the_mean() -> None:
    assert "2 peers, int8" in printed_by("benchmarks.averaging")


@pytest.mark.long
def test_the_benchmark_of_bytes_trains_both_ways() -> None:
    assert "times fewer bytes" in printed_by("benchmarks.bytes")


@pytest.mark.long
def test_the_benchmark_of_proofs_checks_each_of_them() -> None:
    table = printed_by("benchmarks.proofs")
    assert "bytes an account" in table
    assert "| 31 | account |" in table


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_benchmark_of_blobs_fetches_what_was_given_also_after_a_kill() -> None:
    table = printed_by("benchmarks.bulk")
    [again] = [line for line in table.splitlines() if "fetched again" in line]
    assert "goal at most 2" in again


@pytest.mark.long
def test_the_benchmark_of_questions_checks_each_answer() -> None:
    assert "bulk socket" in printed_by("benchmarks.questions")


@pytest.mark.long
def test_the_benchmark_of_liars_merges_in_two_orders() -> None:
    assert "sign flip" in printed_by("benchmarks.robust", "--seats", "4")


def test_the_benchmark_of_masks_finds_exact_sums() -> None:
    assert "sums exact" in printed_by("benchmarks.secagg")


@pytest.mark.long
def test_the_benchmark_of_churn_loses_units() -> None:
    assert "killed: 25 %" in printed_by("benchmarks.churn")


@pytest.mark.long
def test_the_benchmark_of_a_home_line_sends_what_the_tuner_reckons_with() -> None:
    table = printed_by("benchmarks.uplink")
    assert "utilisation" in table
    assert "chosen by auto" in table


@pytest.mark.long
def test_the_benchmark_of_federated_rounds_merges_every_client() -> None:
    assert "10 simulated clients" in printed_by("benchmarks.federated")


def test_workers_that_do_nothing_but_a_round_come_to_one_state(tmp_path: Path) -> None:
    model = ModelSpec(layers=1, heads=1, width=8, context=8)
    found = least(tmp_path, model, owners=2, steps=4, rounds=3)
    assert len(found) == 2
    assert min(found) > 0
    assert steps_at_once(model, owners=2, steps=4) > 0


@pytest.mark.long
def test_the_benchmark_of_gossip_delivers_everything_once() -> None:
    assert "100.0% delivered" in printed_by("benchmarks.gossip")


@pytest.mark.long
def test_the_benchmark_of_a_start_connects_and_is_greeted() -> None:
    assert "start to first useful message" in printed_by("benchmarks.start")
