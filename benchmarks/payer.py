"""A program outside the network's nodes that pays: it dials four validators and sends transfers.

It speaks the nodes' own protocol over libp2p and follows nothing: what became of its transfers is
for the nodes to say.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_bytes
from time import monotonic_ns
from typing import Final

import trio

from dpin.base.codec import encode
from dpin.base.crypto import SEED_BYTES, SigningKey, digest
from dpin.base.ids import ChainId, Digest, NodeId
from dpin.base.units import MILLION, MicroTokens
from dpin.ledger.messages import SubmitTransaction
from dpin.ledger.transactions import Transfer, sign, transaction_id
from dpin.net.envelope import Service, wrap
from dpin.net.host import Host, HostOptions, open_host

ACCOUNTS: Final = 256  # each has at most 64 transactions waiting at its validator
GRANT: Final = MicroTokens(10 * MILLION)
PAID: Final = MicroTokens(1)
PAUSE_SECONDS: Final = 0.005
TRIES_MAX: Final = 2_000
JUMP: Final = 100  # the validators' own transactions use the numbers below


@dataclass(frozen=True, slots=True)
class Payment:
    """A signed transaction on its way to one validator."""

    id: Digest
    validator: int
    message: bytes


class Purse:
    """Many accounts, each with its validator, so that its transactions come in order."""

    def __init__(self, chain: ChainId) -> None:
        self._chain = chain
        self._keys = [SigningKey(digest("bench", number.to_bytes(2))) for number in range(ACCOUNTS)]
        self._used = [0] * ACCOUNTS
        self._next = 0
        self.balances = [0] * ACCOUNTS  # what each must have when all is applied

    def expected(self) -> dict[bytes, int]:
        """By account: what it has free when everything made here is applied."""
        return {key.node_id: free for key, free in zip(self._keys, self.balances, strict=True)}

    def grants(self, founders: Sequence[SigningKey]) -> list[Payment]:
        """From each validator's own account to those that will pay through it."""
        payments = []
        for number, key in enumerate(self._keys):
            at = number % len(founders)
            sequence = JUMP + number // len(founders)
            self.balances[number] += GRANT
            operation = Transfer(key.node_id, GRANT, b"")
            payments.append(self._payment(founders[at], sequence, (operation,), at))
        return payments

    def payments(self, count: int, validators: int, transfers: int = 1) -> list[Payment]:
        """Transactions of each account in turn, that pay to the next one so many times."""
        made = []
        for number in range(self._next, self._next + count):
            index = number % ACCOUNTS
            to = (index + 1) % ACCOUNTS
            self._used[index] += 1
            self.balances[index] -= transfers * PAID
            self.balances[to] += transfers * PAID
            operations = (Transfer(self._keys[to].node_id, PAID, b""),) * transfers
            sequence, at = self._used[index], index % validators
            made.append(self._payment(self._keys[index], sequence, operations, at))
        self._next += count
        return made

    def _payment(
        self, key: SigningKey, sequence: int, operations: tuple[Transfer, ...], at: int
    ) -> Payment:
        signed = sign(key, self._chain, sequence, operations)
        body = encode(SubmitTransaction(encode(signed)))
        message = wrap(self._chain, Service.LEDGER, body)
        return Payment(transaction_id(signed.transaction), at, message)


class Payer:
    """A host that is connected to every validator."""

    def __init__(self, host: Host, validators: Sequence[NodeId]) -> None:
        self.sent: dict[bytes, int] = {}  # id -> CLOCK_MONOTONIC in ns
        self._host = host
        self._validators = validators

    async def pay(self, payment: Payment) -> None:
        """Send one transaction; tries again where the outbox to its validator is full."""
        for _ in range(TRIES_MAX):
            if self._host.send(self._validators[payment.validator], payment.message):
                self.sent[payment.id] = monotonic_ns()
                return
            await trio.sleep(PAUSE_SECONDS)
        raise SystemExit("a validator takes no more")

    async def steadily(self, payments: Sequence[Payment], rate: int) -> None:
        """Send so many a second, one by one."""
        began = trio.current_time()
        for number, payment in enumerate(payments):
            await trio.sleep_until(began + number / rate)
            await self.pay(payment)

    async def eagerly(
        self, payments: Sequence[Payment], open_max: int, applied: Callable[[], int]
    ) -> None:
        """Send as fast as they are applied: at most `open_max` are under way."""
        waiting = deque(payments)
        sent, base = 0, applied()
        while waiting:
            for _ in range(min(len(waiting), open_max - (sent - (applied() - base)))):
                await self.pay(waiting.popleft())
                sent += 1
            await trio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def connected(addresses: Sequence[str]) -> AsyncIterator[Payer]:
    """A payer with a host of its own, connected to these validators."""
    async with (
        open_host(HostOptions(token_bytes(SEED_BYTES))) as host,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_ignore, host)
        validators = [await host.dial(address) for address in addresses]
        yield Payer(host, validators)
        nursery.cancel_scope.cancel()


async def _ignore(host: Host) -> None:
    """Nothing that the validators say is of interest, but it must be taken."""
    async for _ in host.events:
        pass
