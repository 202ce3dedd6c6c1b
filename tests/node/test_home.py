"""A node's folder."""

import os
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Final

import pytest
import trio

from dpin.base.errors import Misuse, Unavailable
from dpin.base.ids import Digest, NodeId
from dpin.ledger.beacon import Chain
from dpin.ledger.genesis import found
from dpin.ledger.params import DEVELOPMENT
from dpin.node import home as homes
from dpin.node.home import Running
from dpin.node.invite import Invite
from tests.support.files import files_limited_to

HOLDER: Final = """
import sys
from dpin.node.home import held, locate
with held(locate(sys.argv[1], {})):
    print("held", end="", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> homes.Home:
    made = homes.locate(str(tmp_path / "h"), {})
    homes.prepare(made)
    return made


def network(name: str) -> Invite:
    genesis = found(name, 1, {NodeId(b"n" * 32): Digest(b"a" * 32)}, DEVELOPMENT)
    return Invite(genesis, ("/ip4/127.0.0.1/tcp/1/p2p/x",))


def test_a_folder_given_holds_all_and_the_variable_comes_second(tmp_path: Path) -> None:
    given = homes.locate(str(tmp_path), {"DPIN_HOME": "/elsewhere"})
    assert given.config.parent == given.key.parent == tmp_path
    assert homes.locate(None, {"DPIN_HOME": str(tmp_path)}) == given


def test_without_a_folder_config_and_data_lie_where_the_system_keeps_them() -> None:
    assert homes.locate(None, {}).root.name == "dpin"


def test_a_key_is_made_once_and_read_by_its_owner_alone(home: homes.Home) -> None:
    seed = homes.create_key(home)
    assert homes.read_key(home) == seed
    assert home.key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Misuse, match="never written over"):
        homes.create_key(home)
    assert homes.read_key(home) == seed


def test_a_key_that_found_no_room_leaves_nothing_in_its_way(home: homes.Home) -> None:
    with files_limited_to(8), pytest.raises(Unavailable, match="too large"):
        homes.create_key(home)
    assert homes.create_key(home) == homes.read_key(home)


def test_a_key_that_others_may_read_is_refused_with_the_command_that_helps(
    home: homes.Home,
) -> None:
    homes.create_key(home)
    home.key.chmod(0o644)
    with pytest.raises(Misuse) as refusal:
        homes.read_key(home)
    assert refusal.value.fix == f"chmod 600 {home.key}"


@pytest.mark.parametrize("text", ["", "hello", "dpin key 1: keep secret, keep a copy\nabc\n"])
def test_a_damaged_key_is_refused(home: homes.Home, text: str) -> None:
    home.key.write_text(text)
    home.key.chmod(0o600)
    with pytest.raises(Misuse, match="damaged"):
        homes.read_key(home)


def test_a_key_of_bytes_that_are_no_text_is_refused(home: homes.Home) -> None:
    home.key.write_bytes(b"\xff\xfe")
    home.key.chmod(0o600)
    with pytest.raises(Misuse, match="not text"):
        homes.read_key(home)


def test_no_key_leads_to_init(home: homes.Home) -> None:
    with pytest.raises(Misuse) as refusal:
        homes.read_key(home)
    assert refusal.value.fix.startswith("dpin init")


def test_no_network_leads_to_both_commands(home: homes.Home) -> None:
    with pytest.raises(Misuse) as refusal:
        homes.read_network(home)
    assert "dpin net create NAME" in refusal.value.fix
    assert "dpin net join INVITE" in refusal.value.fix


def test_a_network_joined_twice_is_kept_and_another_is_refused(home: homes.Home) -> None:
    homes.write_network(home, network("garden"))
    homes.write_network(home, network("garden"))
    assert homes.read_network(home) == network("garden")
    with pytest.raises(Misuse, match="'garden' already"):
        homes.write_network(home, network("meadow"))
    assert homes.read_network(home) == network("garden")


def test_a_damaged_genesis_is_a_clear_error(home: homes.Home) -> None:
    home.genesis.write_bytes(b"nonsense")
    with pytest.raises(Misuse, match="damaged"):
        homes.read_network(home)


def test_a_second_process_on_one_home_is_refused_and_the_first_frees_it(home: homes.Home) -> None:
    taken = rf"another node uses this folder: pid {os.getpid()}"
    with homes.held(home), pytest.raises(Misuse, match=taken), homes.held(home):
        raise AssertionError
    with homes.held(home):
        pass


async def test_the_lock_of_a_killed_process_is_free(home: homes.Home) -> None:
    command = [sys.executable, "-c", HOLDER, str(home.root)]
    process = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        assert await process.stdout.receive_some() == b"held"
        with pytest.raises(Misuse, match=f"pid {process.pid} "), homes.held(home):
            raise AssertionError
        process.kill()
        await process.wait()
    with homes.held(home):
        pass


def test_what_a_node_says_of_itself_is_read_back_and_rubbish_is_nobody(home: homes.Home) -> None:
    assert homes.read_running(home) is None
    said = Running(1, "http://127.0.0.1:2", 3, "0.1.0")
    homes.write_running(home, said)
    assert homes.read_running(home) == said
    home.running.write_text("{")
    assert homes.read_running(home) is None
    homes.clear_running(home)
    homes.clear_running(home)
    assert not home.running.exists()


def test_the_beacon_table_may_be_missing(home: homes.Home) -> None:
    assert homes.read_beacon(home) is None
    homes.write_beacon(home, b"table")
    assert homes.read_beacon(home) == b"table"


def test_a_lost_beacon_table_is_made_again_from_the_key(
    home: homes.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "Chain", lambda: Chain(1 << 12))
    table = homes.ensure_beacon(home, b"s" * 32)
    home.beacon.unlink()
    assert homes.ensure_beacon(home, b"s" * 32) == table == homes.read_beacon(home)


def test_a_file_swollen_beyond_all_measure_is_refused(home: homes.Home) -> None:
    home.config.write_text("#" * 70_000)
    with pytest.raises(Misuse, match="larger"):
        homes.read_config(home)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        homes.prepare(homes.locate(str(tmp_path / "file" / "home"), os.environ))


def test_a_config_is_written_whole(home: homes.Home) -> None:
    assert not homes.read_config(home)
    homes.write_config(home, "[api]\n")
    assert homes.read_config(home) == "[api]\n"
    assert [path.name for path in home.root.glob("*.new")] == []


def test_where_a_node_answered_is_read_back_and_a_damaged_file_is_nothing(
    home: homes.Home,
) -> None:
    assert homes.read_listening(home) == ()
    homes.write_listening(home, ("/ip4/127.0.0.1/tcp/1/p2p/x", "/ip6/::1/tcp/2/p2p/x"))
    assert homes.read_listening(home) == ("/ip4/127.0.0.1/tcp/1/p2p/x", "/ip6/::1/tcp/2/p2p/x")
    home.listening.write_bytes(b"\xff\xfe")
    assert homes.read_listening(home) == ()
