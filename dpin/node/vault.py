"""What a validator signs and reveals with: made where it runs, and kept before it is used."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from dpin.base.crypto import SigningKey
from dpin.ledger.beacon import Chain
from dpin.ledger.chains import OwnChains
from dpin.ledger.identity import HoldChain, HoldSigner, Identity, WantChain, WantSigner
from dpin.node.home import (
    Home,
    add_signer,
    chain_secret,
    read_beacons,
    read_signers,
    write_beacon,
)

PAUSE_SECONDS: Final = 0.02  # between strides of a chain: it takes a minute, and few per cent

Tell = Callable[[HoldSigner | HoldChain], Awaitable[None]]


def identity_of(home: Home, seed: bytes) -> Identity:
    """Who the node of this home is; raises Misuse for a damaged file."""
    signers = [SigningKey(one) for one in read_signers(home, seed)]
    return Identity(SigningKey(seed), OwnChains(read_beacons(home)), signers)


class Vault:
    """Makes keys and chains as the machine asks for them, or a person does."""

    def __init__(self, nursery: trio.Nursery, home: Home, seed: bytes, tell: Tell) -> None:
        self._nursery = nursery
        self._home = home
        self._seed = seed
        self._tell = tell

    def perform(self, effect: WantSigner | WantChain) -> None:
        """Do what the machine asks; what was made is told later."""
        match effect:
            case WantSigner():
                self._nursery.start_soon(self._rekey)
            case WantChain(number):
                self._nursery.start_soon(self.make_chain, number, PAUSE_SECONDS)

    async def _rekey(self) -> None:
        await self.make_signer()

    async def make_signer(self) -> SigningKey:
        """A new consensus key, durable before anybody hears of it."""
        key = SigningKey(add_signer(self._home, self._seed))
        await self._tell(HoldSigner(key))
        return key

    async def make_chain(self, number: int, pause: float) -> None:
        """The hash chain of this number, a stride at a time."""
        values: list[bytes] = []
        for value in Chain().strides(chain_secret(self._seed, number)):
            values.append(value)
            await trio.sleep(pause)
        table = b"".join(reversed(values))
        write_beacon(self._home, table, number)
        await self._tell(HoldChain(number, table))
