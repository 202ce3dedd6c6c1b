"""The router's help: asked for what is worth it, told of what came of it, given back."""

import trio
from trio.testing import MockClock

from dpin.net.portmap import RENEW_SECONDS, RETRY_SECONDS, keep
from dpin.net.reach import Mapping

LISTENING = ("/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/10.0.0.2/tcp/4610/p2p/x", "/ip6/::1/tcp/3/p2p/x")


class Router:
    """One that maps what it is asked to, if it is there, and if it likes."""

    def __init__(self, *, found: bool, willing: bool) -> None:
        self.found, self.willing = found, willing
        self.mapped: list[int] = []
        self.asked = 0

    async def discover(self) -> bool:
        self.asked += 1
        await trio.sleep(2)
        return self.found

    async def add_port_mapping(self, port: int) -> bool:
        self.mapped += [port] * self.willing
        return self.willing

    async def remove_port_mapping(self, port: int) -> bool:
        self.mapped = [other for other in self.mapped if other != port]
        return True

    def get_external_ip(self) -> str | None:
        return "11.0.0.9"


async def told(router: Router, seconds: float) -> list[tuple[Mapping, tuple[str, ...]]]:
    """What is told in so many seconds."""
    found: list[tuple[Mapping, tuple[str, ...]]] = []
    with trio.move_on_after(seconds):
        await keep(LISTENING, lambda *news: found.append(news), router)
    return found


async def test_the_port_is_opened_and_given_back(autojump_clock: MockClock) -> None:  # noqa: ARG001
    router = Router(found=True, willing=True)
    assert await told(router, 3) == [(Mapping.MAPPED, ("/ip4/11.0.0.9/tcp/4610/p2p/x",))]
    assert router.mapped == []
    await told(router, RENEW_SECONDS + 5)
    assert router.asked == 3


async def test_a_router_that_refuses_or_is_none_is_asked_again_later(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    assert await told(Router(found=True, willing=False), 3) == [(Mapping.REFUSED, ())]
    nobody = Router(found=False, willing=True)
    assert await told(nobody, RETRY_SECONDS + 5) == 2 * [(Mapping.NO_GATEWAY, ())]
