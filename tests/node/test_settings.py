"""The operator's choices."""

import tomllib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import Misuse
from dpin.base.ids import NodeId
from dpin.compute.engine import ONE_PROCESS
from dpin.node.names import name_of
from dpin.node.settings import (
    Layers,
    Resolved,
    Settings,
    config_text,
    known_keys,
    meaning,
    resolve,
)


def origins(resolved: Resolved) -> dict[str, tuple[object, str]]:
    return {choice.key: (choice.value, choice.origin) for choice in resolved.choices}


def test_nothing_written_gives_the_defaults() -> None:
    resolved = resolve(Layers())
    assert resolved.settings == Settings()
    assert {choice.origin for choice in resolved.choices} == {"default"}


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default() -> None:
    text = "[api]\nport = 1\n[share]\nmax_jobs = 2\n[node]\nname = 'file'\n"
    environment = {"DPIN_API__PORT": "10", "DPIN_NODE__NAME": "variable"}
    resolved = resolve(Layers(text, "my.toml", environment, {"api.port": 100, "node.name": None}))
    said = origins(resolved)
    assert said["api.port"] == (100, "flag")
    assert said["node.name"] == ("variable", "DPIN_NODE__NAME")
    assert said["share.max_jobs"] == (2, "my.toml")
    assert said["log.level"] == ("info", "default")


def test_a_word_that_is_none_of_a_few_is_told_which_they_are() -> None:
    with pytest.raises(Misuse, match="it is one of all-reduce, parameter-server, fsdp2"):
        resolve(Layers(environment={"DPIN_COMPUTE__TOPOLOGY": "ring"}))


def test_lists_come_from_a_variable_with_commas() -> None:
    variable = {"DPIN_NETWORK__LISTEN": "/ip4/0.0.0.0/tcp/4610, /ip6/::1/tcp/0"}
    settings = resolve(Layers(environment=variable)).settings
    assert settings.network.listen == ("/ip4/0.0.0.0/tcp/4610", "/ip6/::1/tcp/0")


def test_truth_comes_from_a_variable_as_a_word() -> None:
    assert not resolve(Layers(environment={"DPIN_SHARE__PROVIDE": "false"})).settings.share.provide


def test_a_group_of_machines_needs_a_place_to_meet() -> None:
    variables = {"DPIN_COMPUTE__NNODES": "2"}
    with pytest.raises(Misuse, match="no host:port"):
        resolve(Layers(environment=variables))
    meets = {"DPIN_COMPUTE__RDZV_ENDPOINT": "10.0.0.1:29400", "DPIN_COMPUTE__NPROC_PER_NODE": "4"}
    engine = resolve(Layers(environment=variables | meets)).settings.compute.engine
    assert (engine.world, engine.endpoint) == (8, ("10.0.0.1", 29400))
    assert Settings().compute.engine == ONE_PROCESS


def test_other_variables_of_ours_are_left_alone() -> None:
    assert resolve(Layers(environment={"DPIN_HOME": "x"})).settings == Settings()


def test_quantities_come_out_as_integers() -> None:
    text = "[share]\ndisk = '1.5GB'\n[jobs]\nmin_price = '0.25'\nstake = '1,000'\n"
    settings = resolve(Layers(text)).settings
    assert settings.share.disk_bytes == 1_500_000_000
    assert settings.jobs.price_floor == 250_000
    assert settings.jobs.stake_tokens == 1_000_000_000


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[api]\nprot = 1", "api.port"),
        ("[apo]\nport = 1", "api.port"),
        ("port = 1", "known: api"),
        ("[api]\nport = 'x'", "port = 0"),
        ("[api]\nport = 70000", "port = 0"),
        ("[share]\ndisk = '20'", "12GB"),
        ("[share]\ndisk = '20 parsecs'", "GB"),
        ("[jobs]\nmin_price = 0.5", 'min_price = "1"'),
        ("[jobs]\nmin_price = '-1'", "write digits, such as 12"),
        ("[network]\nlisten = ['/ip4/1.2.3.4/udp/1']", "/tcp/"),
        ("[log]\nlevel = 'loud'", "info"),
        ("[api", "TOML"),
        ("a = " + "[" * 5_000, "TOML"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(Misuse) as refusal:
        resolve(Layers(text))
    assert hint in refusal.value.fix


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(Misuse, match="DPIN_API__PROT") as refusal:
        resolve(Layers(environment={"DPIN_API__PROT": "1"}))
    assert "api.port" in refusal.value.fix


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(Misuse, match="longer"):
        resolve(Layers("#" * 100_000))


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(Misuse):
        resolve(Layers(text))


def test_the_written_config_sets_the_name_and_shows_every_default() -> None:
    text = config_text("cosy-otter")
    assert tomllib.loads(text)["node"] == {"name": "cosy-otter"}
    shown = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line)
    for key in known_keys():
        assert f"{key.partition('.')[2]} = " in shown
        assert meaning(key) in text
    assert resolve(Layers(text)).settings.node.name == "cosy-otter"


def test_a_name_belongs_to_an_id_for_ever() -> None:
    assert name_of(NodeId(bytes(32))) == name_of(NodeId(bytes(32)))
    names = {name_of(NodeId(bytes([index]) * 32)) for index in range(200)}
    assert len(names) > 180
