"""How the last run of a node in the background ended, as its log tells."""

from pathlib import Path

import pytest

from dpin.node.home import home_in
from dpin.node.lastwords import TAIL_BYTES, Ended, how_it_ended, log_path

READY = '{"event": "ready"}'
FULL = "error[unavailable]: cannot write the log: No space left on device"
FIX = "  fix: make room on that disk"
ENDED = Ended(
    "unavailable", "cannot write the log: No space left on device", "make room on that disk"
)


@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        (None, None),
        ([], None),
        ([READY], None),
        ([READY, FULL, FIX], ENDED),
        ([READY, FULL, FIX, "a library says that it leaks"], ENDED),
        ([READY, FULL], ENDED._replace(fix="")),
        ([READY, FULL, FIX, READY], None),
        ([READY, FULL, FIX, READY, '{"event": "stopped"}'], None),
        ([READY, FULL, FIX, *["Traceback"] * 9], None),
        (["x" * TAIL_BYTES, FULL, FIX], ENDED),
    ],
)
def test_a_run_ended_with_the_error_that_its_log_ends_with(
    lines: list[str] | None, ended: Ended | None, tmp_path: Path
) -> None:
    home = home_in(tmp_path, tmp_path / "config.toml")
    if lines is not None:
        log_path(home).write_text("".join(f"{line}\n" for line in lines))
    assert how_it_ended(home) == ended
