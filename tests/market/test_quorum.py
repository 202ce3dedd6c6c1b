"""How many updates a job waits for before its rounds go on."""

import pytest
from msgspec.structs import replace

from dpin.compute.safety import PrivacySpec
from dpin.ledger.params import DEVELOPMENT
from dpin.market.preparing import propose_train
from tests.support.jobs import train_manifest
from tests.support.market import train_order


@pytest.mark.parametrize(
    ("mode", "seats", "quorum"),
    [("none", 5, 0), ("secagg", 3, 3), ("secagg", 9, 5), ("dp", 9, 6), ("secagg+dp", 9, 6)],
)
def test_a_round_waits_for_as_many_as_its_privacy_takes(mode: str, seats: int, quorum: int) -> None:
    order = replace(train_order(seats=seats), privacy=PrivacySpec(mode))
    manifest = replace(train_manifest(seats=seats), privacy=order.privacy)
    assert propose_train(order, manifest, 1_000, DEVELOPMENT).quorum == quorum
