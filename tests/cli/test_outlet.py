"""A node's log, when nobody reads it any more or the disk takes no more of it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpin.cli.outlet import Outlet


def test_a_line_that_the_disk_does_not_take_is_lost_and_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.StringIO()

    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "write", full)
    outlet = Outlet(file)
    assert outlet.write("one\n") == 4
    monkeypatch.undo()
    outlet.write("two\n")
    outlet.flush()
    assert file.getvalue() == "two\n"


def test_a_file_that_was_closed_loses_lines_and_raises_nothing() -> None:
    file = io.StringIO()
    file.close()
    outlet = Outlet(file)
    outlet.flush()
    assert outlet.write("gone\n") == 5


def test_a_reader_that_has_gone_away_is_not_written_to_again() -> None:
    readable, writable = os.pipe()
    os.close(readable)
    with os.fdopen(writable, "w") as file:
        outlet = Outlet(file)
        outlet.write("nobody reads this\n")
        outlet.flush()
        assert os.fstat(file.fileno()).st_rdev == Path(os.devnull).stat().st_rdev
        outlet.write("nor this\n")
        outlet.flush()


@pytest.mark.process
def test_a_process_that_logs_outlives_the_reader_of_its_log_and_ends_well() -> None:
    code = (
        "import sys, structlog\n"
        "from dpin.cli.service import set_up_logs\n"
        "from dpin.node.settings import LogSection\n"
        "set_up_logs(LogSection(format='json'))\n"
        "for number in range(100):\n"
        "    structlog.get_logger().info('line', number=number)\n"
        "    number or sys.stdin.readline()\n"
        "sys.exit(7)\n"
    )
    with subprocess.Popen(  # noqa: S603  # This very Python, with words of our own.
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert '"number": 0' in process.stdout.readline()
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 7
