"""Consensus keys lie in the home, readable to nobody without the node's key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dpin.base.errors import Misuse
from dpin.ledger.identity import SIGNERS_MAX
from dpin.node import home as homes
from dpin.node.signerfile import NONCE_BYTES, decode_signers, encode_signers
from dpin.node.vault import identity_of

NODE = bytes([1]) * 32
SEEDS = [bytes([number]) * 32 for number in range(2, 5)]
NONCE = bytes(NONCE_BYTES)


@pytest.fixture
def home(tmp_path: Path) -> homes.Home:
    made = homes.home_in(tmp_path / "node", tmp_path / "node" / "config.toml")
    homes.prepare(made)
    return made


def test_what_was_written_is_read_and_shows_no_key() -> None:
    text = encode_signers(NODE, SEEDS, NONCE)
    assert decode_signers(NODE, text) == tuple(SEEDS)
    assert all(seed.hex() not in text for seed in SEEDS)


def test_only_the_newest_are_kept() -> None:
    many = [number.to_bytes(32) for number in range(SIGNERS_MAX + 3)]
    assert decode_signers(NODE, encode_signers(NODE, many, NONCE)) == tuple(many[3:])


@pytest.mark.parametrize(
    "bent",
    [
        lambda text: text[:-4] + "0000\n",
        lambda text: text.replace("signers 1", "signers 2"),
        lambda text: text[:80],
        lambda text: text + "zz",
        lambda _: "",
    ],
)
def test_a_damaged_file_is_refused_and_not_quoted(bent: Callable[[str], str]) -> None:
    text = encode_signers(NODE, SEEDS, NONCE)
    with pytest.raises(Misuse, match="damaged, or of another node") as refused:
        decode_signers(NODE, bent(text))
    assert text[-40:-1] not in str(refused.value)


def test_another_nodes_key_does_not_open_it() -> None:
    with pytest.raises(Misuse, match="of another node"):
        decode_signers(bytes([9]) * 32, encode_signers(NODE, SEEDS, NONCE))


def test_keys_that_were_made_are_held_after_a_restart_the_newest_last(home: homes.Home) -> None:
    assert identity_of(home, NODE).newest.node_id == identity_of(home, NODE).key.node_id
    first = homes.add_signer(home, NODE)
    second = homes.add_signer(home, NODE)
    assert homes.read_signers(home, NODE) == (first, second)
    identity = identity_of(home, NODE)
    assert len(identity.signers) == 2
    assert identity.newest is identity.signers[-1]
    assert home.signers.stat().st_mode & 0o077 == 0
    home.signers.chmod(0o644)
    with pytest.raises(Misuse, match="others may read"):
        identity_of(home, NODE)


def test_further_hash_chains_lie_beside_the_first(home: homes.Home) -> None:
    assert homes.read_beacons(home) == {}
    homes.write_beacon(home, b"first")
    homes.write_beacon(home, b"third", 2)
    (home.root / "beacon.table.new").write_bytes(b"half")
    assert homes.read_beacons(home) == {0: b"first", 2: b"third"}
    assert len({homes.chain_secret(NODE, number) for number in range(4)}) == 4
