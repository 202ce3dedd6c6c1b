"""What an operator hears who lets code of others run."""

from msgspec.structs import replace

from dpin.node.panorama import sandbox_checks
from tests.support.jobs import PROBED


def test_a_machine_that_cannot_lock_code_up_is_told_why() -> None:
    [fine] = sandbox_checks(PROBED, custom_code=True)
    assert (fine.name, fine.verdict) == ("sandbox", "ok")
    [bad] = sandbox_checks(replace(PROBED, sandbox="no Landlock"), custom_code=True)
    assert bad.verdict == "warn"
    assert "no Landlock" in bad.detail
    assert bad.fix


def test_who_lets_no_code_run_hears_nothing_of_it() -> None:
    assert sandbox_checks(replace(PROBED, sandbox="no Landlock"), custom_code=False) == []
    assert sandbox_checks(None, custom_code=True) == []
