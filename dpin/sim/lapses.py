"""Whole nodes that outlive what they sign and reveal with: a lost log, a hash chain that ends."""

from typing import Final

from dpin.base.ids import NodeId, short
from dpin.base.units import after, seconds
from dpin.ledger.beacon import Chain
from dpin.sim.stage import MEMBERS, Report, since
from dpin.sim.timeline import dice
from dpin.sim.wholes import Wholes

EPOCH_MS: Final = 8_000
LOST: Final = since(12)  # in the second epoch
SHORT: Final = Chain(1 << 8)
PATIENCE: Final = seconds(60)
CHAINS: Final = 2  # that end while it lasts
LOOKS: Final = 15
LOOK: Final = seconds(10)
UNHEARD_MAX: Final = 250  # rounds: an epoch begins 60 above the one before


class Lapse(Wholes):
    """One validator loses its log: it must not sign with the key that signed what was lost."""

    def __init__(self, seed: int) -> None:
        super().__init__("rekey", seed, EPOCH_MS)
        self.victim: NodeId = self.nodes[dice(seed, "victim").below(MEMBERS)]
        self.other = next(node for node in self.nodes if node != self.victim)

    def play(self) -> Report:
        """Lose it, and wait until the victim has its seat again, twice started since."""
        world = self.world
        world.run(LOST)
        before, epoch = self.key(), self.machine(self.other).peer.state.epoch
        world.crash(self.victim)
        world.stations[self.victim].disk.go_back(0)
        world.start(self.victim)
        self.until_it_signs()
        seated = self.machine(self.other).peer.state.epoch
        world.crash(self.victim)
        world.start(self.victim)
        self.until_it_signs()
        problems = [*world.trace.problems, *self.wrong(before, seated - epoch)]
        return self.report(problems, {"renewed": self.signed(), "epochs": seated - epoch})

    def until_it_signs(self) -> None:
        """Wait for it, with patience."""
        world = self.world
        now, end = world.timeline.now, after(world.timeline.now, PATIENCE)
        while now < end and not world.trace.problems:
            now = after(now, seconds(0.5))
            world.run(now)
            if self.signs():
                return

    def key(self) -> NodeId:
        """The consensus key that the victim is registered with."""
        return self.validators(self.other)[self.victim].signer

    def signed(self) -> int:
        """How many checkpoints of the present epoch the victim has signed, as others count it."""
        term = self.machine(self.other).peer.state.term
        place = self.nodes.index(self.victim)
        newest = sum(noted.cosigners >> place & 1 for noted in term.noted)
        return term.seated[place].cosigned + newest

    def signs(self) -> bool:
        """Whether the victim signs with the key that it is registered with now."""
        member = self.machine(self.victim).peer.replica.engine.member
        return member.may_sign and member.used_up is None and self.signed() > 0

    def wrong(self, before: NodeId, epochs: int) -> list[str]:
        """What is not as it must be."""
        found = [f"{short(node)} signed twice" for node in self.slashed()]
        if self.key() == before:
            found.append("the key that signed what was lost is still registered")
        if not self.signs():
            found.append("the victim does not sign, or not after one more start")
        if epochs != 1:
            found.append(f"it took {epochs} epochs")
        return found


def rekey(seed: int) -> Report:
    """A validator loses its log, and has its seat again in the next epoch, with a new key."""
    return Lapse(seed).play()


class Long(Wholes):
    """Hash chains that end soon, again and again."""

    def __init__(self, seed: int) -> None:
        super().__init__("renew", seed, EPOCH_MS // 2, SHORT)

    def play(self) -> Report:
        """Go on for some chains; all members must reveal what can be checked, in each epoch."""
        world, oldest = self.world, 0
        for _ in range(LOOKS):
            world.run(after(world.timeline.now, LOOK))
            oldest = max(oldest, self.oldest())
        number = min(self.chains())
        problems = list(world.trace.problems)
        if number < CHAINS:
            problems.append(f"the network is in chain {number} yet")
        if oldest > UNHEARD_MAX:
            problems.append(f"somebody revealed nothing that could be checked for {oldest} rounds")
        return self.report(problems, {"renewed": number, "unheard_rounds": oldest})

    def chains(self) -> list[int]:
        """The number of each validator's chain."""
        known, chains = self.validators(self.nodes[0]), self.machine(self.nodes[0]).peer.identity
        return [chains.chains.number(known[node].anchor_round) for node in self.nodes]

    def oldest(self) -> int:
        """Rounds since the reveal that was checked longest ago, of those checked last."""
        peer = self.machine(self.nodes[0]).peer
        return peer.replica.engine.core.decided - min(it.round for it in peer.state.term.seated)


def renew(seed: int) -> Report:
    """Validators whose chains last 256 rounds change to the next, and the next."""
    return Long(seed).play()


LAPSES: Final = {"rekey": rekey, "renew": renew}
