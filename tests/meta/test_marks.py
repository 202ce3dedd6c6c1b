"""Marks that decide which run a test is in: a file without its mark would be in none."""

from tests.meta.documents import ROOT


def test_files_of_process_tests_are_marked_as_such() -> None:
    files = sorted((ROOT / "tests" / "process").glob("test_*.py"))
    assert len(files) > 5
    unmarked = [file.name for file in files if "pytest.mark.process" not in file.read_text()]
    assert unmarked == []
