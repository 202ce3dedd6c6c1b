"""A whole node that has signatures checked by processes of its own, and goes on without them."""

from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens
from dpin.ledger import offload
from dpin.ledger.genesis import chain_id
from dpin.ledger.messages import SubmitTransaction
from dpin.ledger.transactions import SignedTransaction, Transfer, sign
from dpin.net.envelope import Service, wrap
from dpin.net.host import Host, HostOptions, open_host
from dpin.node.checkers import LOST
from dpin.node.desk import Desk
from dpin.node.settings import LedgerSection
from tests.support.cluster import network
from tests.support.hosts import seed, until
from tests.support.running import running_node, seed_of, settings

TO = NodeId(bytes([7]) * 32)
AT_ONCE = 60  # an account may have 64 waiting
FIRST = 100  # the node's own transactions use the numbers below


GENESIS, _ = network(1)
CHAIN = chain_id(GENESIS)


def signed(number: int) -> SignedTransaction:
    pay = Transfer(TO, MicroTokens(1), b"")
    return sign(SigningKey(seed_of(0)), CHAIN, FIRST + number, pay)


def submit(host: Host, node: NodeId, transaction: SignedTransaction) -> None:
    body = encode(SubmitTransaction(encode(transaction)))
    assert host.send(node, wrap(CHAIN, Service.LEDGER, body))


def received(node: Desk) -> int:
    account = node._peer.state.accounts.get(TO)
    return 0 if account is None else account.free


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_worker(child)]


def is_worker(child: psutil.Process) -> bool:
    with suppress(psutil.Error):  # It ends just now.
        return any("signature_worker" in word for word in child.cmdline())
    return False


async def test_signatures_are_checked_by_another_process_and_after_its_end_by_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However few arrive together: a busy machine may be slower than the blocks come.
    monkeypatch.setattr(offload, "WORTH_IT", 0)
    choices = msgspec.structs.replace(settings(), ledger=LedgerSection(verifiers=1))
    async with (
        running_node(tmp_path, genesis=GENESIS, choices=choices) as node,
        open_host(HostOptions(seed(9))) as payer,
    ):
        validator = await payer.dial(node.node().addresses[0])
        for number in range(AT_ONCE):
            submit(payer, validator, signed(number))
        wrong = msgspec.structs.replace(signed(AT_ONCE), signature=bytes(64))
        submit(payer, validator, wrong)
        await until(lambda: received(node) == AT_ONCE)
        [worker] = workers()
        worker.kill()
        for number in range(AT_ONCE, 2 * AT_ONCE):
            submit(payer, validator, signed(number))
        await until(lambda: received(node) == 2 * AT_ONCE)
        await until(lambda: LOST in node.node().warnings)
        assert not workers()
