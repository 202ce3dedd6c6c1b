"""What a node believes of its peers is what they said themselves."""

from pathlib import Path

from trio.testing import MockClock

from dpin.node.presence import Presence, announce, topic_of
from tests.support.villages import BEGAN, CHAIN, key_of, village


async def test_nobody_is_announced_by_another(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    stranger = key_of(99)
    async with village(tmp_path, 2) as made:
        author, hearer = made.people[0], made.people[1]
        await made.until(lambda: author.node in hearer.seen.peers, 60)
        forged = announce(stranger, CHAIN, Presence("stranger", "1", (), BEGAN))
        await author.host.publish(topic_of(CHAIN), forged)
        await made.until(lambda: hearer.seen.met(author.node).blames == 1, 60)
        assert stranger.node_id not in hearer.seen.peers
