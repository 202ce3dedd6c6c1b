"""What the demonstration reckons, apart from its nodes."""

from msgspec.structs import replace

from scripts.demo_claims import joint_steps
from tests.support.fake_control import FakeControl


def test_the_joint_batch_takes_as_much_data_as_the_units_had_time_for() -> None:
    detail = FakeControl().job("j-7f3a2c10")
    lease, unit = detail.leases[0], detail.leases[0].units[0]
    units = [replace(unit, round=round_, steps=steps) for round_, steps in ((0, 20), (1, 5))]
    leases = [replace(lease, units=units), replace(lease, units=units[:1])]
    assert joint_steps(replace(detail, leases=leases), 3) == (25 + 20) // 3
