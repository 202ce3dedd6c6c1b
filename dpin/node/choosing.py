"""What an operator has chosen, as the market reads it."""

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse
from dpin.market.engagement import Fault
from dpin.market.privacy import parse_datasets
from dpin.market.provider import Choice
from dpin.node.names import name_of
from dpin.node.settings import SANDBOXED, Settings


def choice_of(settings: Settings, fault: str, key: SigningKey, *, development: bool) -> Choice:
    """The operator's choices that the market reads; raises Misuse for a fault out of place."""
    if fault and not development:
        raise Misuse(
            "--fault is for development networks; this one is not",
            fix="leave --fault out, or make one: dpin net create NAME --preset development",
        )
    return Choice(
        name=settings.node.name or name_of(key.node_id),
        provides=settings.share.provide,
        price=settings.jobs.price_floor,
        stake=settings.jobs.stake_tokens,
        leases_max=settings.share.max_jobs,
        disk_bytes=settings.share.disk_bytes,
        fault=Fault(fault),
        custom_code=settings.jobs.custom_code == SANDBOXED,
        datasets=parse_datasets(settings.jobs.datasets),
    )
