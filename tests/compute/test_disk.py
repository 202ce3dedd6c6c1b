"""The executor's files and a corpus read from them."""

from pathlib import Path

import pytest

from dpin.base.errors import Misuse
from dpin.compute.corpus import cut
from dpin.compute.executor import Disk


def test_a_folder_is_read_in_sorted_order_and_cut(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.py").write_bytes(b"22")
    (tmp_path / "a.py").write_bytes(b"11")
    (tmp_path / "c.py").write_bytes(b"33")
    (tmp_path / "a.txt").write_bytes(b"no")
    assert Disk().corpus(str(tmp_path), (".py",), 100) == b"112233"
    assert Disk().corpus(str(tmp_path), (".py",), 3) == b"112"
    assert Disk().corpus(str(tmp_path / "a.txt"), (".py",), 100) == b"no"


def test_a_corpus_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse):
        Disk().corpus(str(tmp_path / "none"), (".py",), 100)


def test_a_file_is_written_whole_and_removed_twice(tmp_path: Path) -> None:
    disk = Disk()
    path = disk.write(str(tmp_path / "new"), "file", b"1")
    assert disk.write(str(tmp_path / "new"), "file", b"2") == path
    assert disk.read(path) == b"2"
    assert [file.name for file in Path(path).parent.iterdir()] == ["file"]
    disk.remove(path)
    disk.remove(path)


@pytest.mark.parametrize("length", [0, 3, 9])
def test_a_file_is_written_into_the_place_of_an_old_one(tmp_path: Path, length: int) -> None:
    disk, folder = Disk(), str(tmp_path / "new")
    old = disk.write(folder, "old", b"longer")
    place = Path(old).stat().st_ino
    path = disk.rewrite(old, folder, "new", b"x" * length, memoryview(b"yz"))
    assert disk.read(path) == b"x" * length + b"yz"
    assert Path(path).stat().st_ino == place
    assert [file.name for file in Path(path).parent.iterdir()] == ["new"]
    assert disk.rewrite(old, folder, "other", b"1") != path  # It is gone: another is made.
    assert sorted(file.name for file in Path(path).parent.iterdir()) == ["new", "other"]


@pytest.mark.parametrize(("shards", "holdout_ppm"), [(0, 1), (5000, 1), (1, 0), (1, 10**6)])
def test_a_cut_that_cannot_be_is_refused(shards: int, holdout_ppm: int) -> None:
    with pytest.raises(Misuse):
        cut(bytes(10**5), shards, holdout_ppm, 16)
