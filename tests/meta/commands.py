"""Which test runs which documented command. A command without a line here fails `test_docs`."""

from typing import Final

_FIRST_STEPS: Final = "tests/meta/test_pages_run.py::test_the_first_steps_of_the_readme_work"
_TWO_MACHINES: Final = "tests/meta/test_pages_run.py::test_the_page_on_two_machines_works"
_BENCHMARKS: Final = "tests/process/test_benchmarks.py"

TESTED: Final = {
    ". .venv/bin/activate": _FIRST_STEPS,
    "dpin init": _FIRST_STEPS,
    "dpin net create home": _FIRST_STEPS,
    "dpin node start --detach": _FIRST_STEPS,
    "dpin node status": _FIRST_STEPS,
    "dpin wallet": _FIRST_STEPS,
    "dpin doctor": _FIRST_STEPS,
    "dpin node stop": _FIRST_STEPS,
    "dpin node start --detach --listen /ip4/0.0.0.0/tcp/4610": _TWO_MACHINES,
    "dpin net invite > invite.txt": _TWO_MACHINES,
    'dpin net join "$(cat invite.txt)"': _TWO_MACHINES,
    "dpin peers": _TWO_MACHINES,
    "dpin net invite --grant 1500 --to NODE_ID": _TWO_MACHINES,
    "dpin submit job.yaml --dry-run": _TWO_MACHINES,
    "dpin submit job.yaml": _TWO_MACHINES,
    "dpin jobs": _TWO_MACHINES,
    "python -m benchmarks.ledger": (
        f"{_BENCHMARKS}::test_the_benchmark_of_the_ledger_finds_all_applied_and_one_root_everywhere"
    ),
    "python -m benchmarks.node": (
        f"{_BENCHMARKS}::test_the_benchmark_of_a_node_finds_no_torch_in_it"
    ),
    "python -m benchmarks.robust": (
        f"{_BENCHMARKS}::test_the_benchmark_of_liars_merges_in_two_orders"
    ),
    "python -m benchmarks.secagg": f"{_BENCHMARKS}::test_the_benchmark_of_masks_finds_exact_sums",
    "python -m benchmarks.log": f"{_BENCHMARKS}::test_the_benchmark_of_the_log_reads_all_back",
    "python -m benchmarks.join": (
        f"{_BENCHMARKS}::test_the_benchmark_of_joining_ends_with_the_state"
    ),
    "python -m benchmarks.joining": (
        f"{_BENCHMARKS}::test_the_benchmark_of_joining_over_the_network_ends_with_the_state"
    ),
    "python -m benchmarks.proofs": (
        f"{_BENCHMARKS}::test_the_benchmark_of_proofs_checks_each_of_them"
    ),
    "python -m benchmarks.bulk": (
        f"{_BENCHMARKS}::test_the_benchmark_of_blobs_fetches_what_was_given_also_after_a_kill"
    ),
    "python -m benchmarks.gossip": (
        f"{_BENCHMARKS}::test_the_benchmark_of_gossip_delivers_everything_once"
    ),
    "python -m benchmarks.start": (
        f"{_BENCHMARKS}::test_the_benchmark_of_a_start_connects_and_is_greeted"
    ),
    "python -m benchmarks.questions": (
        f"{_BENCHMARKS}::test_the_benchmark_of_questions_checks_each_answer"
    ),
    "python -m benchmarks.workers": (
        f"{_BENCHMARKS}::test_the_benchmark_of_workers_finds_one_numeric_class"
    ),
    "python -m benchmarks.training": (
        f"{_BENCHMARKS}::test_the_benchmark_of_training_compares_with_the_joint_batch"
    ),
}

# Not run by pytest, and why.
EXEMPT: Final = {
    "python -m benchmarks.rounds": "what it starts, benchmarks.node starts too: no time for both",
    "scripts/test": "it is what runs the tests",
    "scripts/demo": "scripts/test ends with scripts/demo --short",
}
