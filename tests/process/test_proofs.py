"""What a running network has committed is proven to somebody who has never run a node."""

import json
from pathlib import Path

import pytest

from scripts.demo_network import dpin
from tests.support.network import Town, run, told

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]


def test_a_payment_is_proven_where_no_node_has_run(network: Town, tmp_path: Path) -> None:
    proof, nowhere = tmp_path / "receipt.json", str(tmp_path / "nowhere")
    sent = told(network.ada, "wallet", "send", network.bea.node_id, "1.5")["transaction"]
    chain = told(network.ada, "net", "show")["chain"]
    assert isinstance(sent, str)
    assert isinstance(chain, str)
    account = ("--account", network.bea.node_id)
    done = run(network.ada, "ledger", "prove", sent, *account, "--wait", "180", "-o", str(proof))
    assert done.returncode == 0, done.stderr
    stranger = ("verify", str(proof), "--chain", chain, "--home", nowhere)
    assert "proven: the ledger committed this transaction" in dpin(*stranger)
    shown = json.loads(dpin(*stranger, "--json"))
    assert shown["receipt"]["subject"] == sent
    assert shown["weight"] * 3 > shown["total"] * 2
    assert shown["account"]["there"]
