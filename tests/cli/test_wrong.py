"""What is typed wrongly is one sentence, its fix and its status, and does nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse
from dpin.cli import submit
from dpin.cli.app import run
from dpin.node import sweep
from dpin.node.home import create_key, locate, prepare
from dpin.node.jobfile import read_job
from tests.support.api_server import api_server
from tests.support.fake_control import NODE_ID, FakeControl

Printed = pytest.CaptureFixture[str]
JOB = "j-7f3a2c10"
ZEROS = "0" * 64
COLD = SigningKey(bytes(32)).node_id.hex()
WRONG = {  # what is typed: the status, and words of the sentence
    f"wallet send {ZEROS} 1": (2, "nobody's key"),
    f"wallet send {NODE_ID} 0": (2, "nothing to send"),
    f"wallet send {NODE_ID} 1 {ZEROS} 1": (2, "nobody's key"),
    "wallet send --batch lost.csv": (2, "lost.csv, line 2: "),
    "wallet send --batch fine.csv --memo rent": (2, "a batch is a file alone"),
    f"wallet credit {ZEROS} 1": (2, "nobody's key"),
    f"wallet prepare {COLD} {ZEROS} 1": (2, "nobody's key"),
    f"wallet prepare {COLD} {NODE_ID}": (2, "a node and an amount"),
    "wallet sign cut --key plain.key": (2, "cut short"),
    "wallet sign fine.csv --key plain.key": (2, "does not begin with"),
    "wallet submit cut": (2, "does not begin with"),
    "wallet create plain.key --plain": (2, "never written over"),
    "wallet create nowhere/x --plain": (2, "there is no folder nowhere"),
    "wallet export plain.key": (2, "never written over"),
    "wallet account folder": (2, "is a directory"),
    "wallet history --count 0": (2, "greater than"),
    "validator bond": (2, "Missing argument"),
    "validator register now": (2, "unexpected"),
    "submit job.yaml --parallel 3": (2, "is no sweep"),
    "submit job.yaml --anew": (2, "is no sweep"),
    "submit sweep.yaml --parallel 65": (2, "less than or equal to 64"),
    "submit sweep.yaml --parallel 0": (2, "greater than or equal to 1"),
    "submit twice.yaml": (2, "has a value twice"),
    f"submit --attach {JOB} --dry-run": (2, "only followed"),
    f"submit --attach {JOB} --set args.rounds=3": (2, "only followed"),
    f"submit --attach {JOB} --parallel 2": (2, "only followed"),
    f"submit --attach {JOB} --anew": (2, "only followed"),
    f"submit job.yaml --attach {JOB}": (2, "name a job file, or a job to follow"),
    "run folder text --tokens 100001": (2, "less than or equal to 100000"),
    "lineage folder --signer bea": (2, "is not a whole id"),
    "verify fine.csv --max-age -1": (2, "greater than or equal to 0"),
    f"ledger prove {ZEROS} --wait -1": (2, "greater than or equal to 0"),
    f"ledger prove {ZEROS} --output plain.key": (2, "is something else"),
    "ledger checkpoint --output plain.key": (2, "is something else"),
    "ledger verify fine.csv": (2, "is no archive"),
    "ledger diff fine.csv": (2, "is no dump"),
    f"audit {COLD} --result nowhere": (4, "there is no nowhere"),
    f"audit {COLD} --ledger fine.csv --blobs folder": (2, "is no archive"),
    f"report {JOB} --output fine.csv": (2, "fine.csv: "),
    f"fetch {JOB} --output fine.csv": (2, "fine.csv"),
    f"blob seal fine.csv --out new --to {ZEROS}": (2, "is not a node's id"),
    f"blob seal fine.csv --out fine.csv --to {COLD}": (2, "fine.csv: "),
    "sim clients nowhere": (4, "nowhere: No such file"),
    "sim up --folder fine.csv": (2, "is no folder"),
    "sim run nothing": (2, "no simulation"),
}
JOB_FILE = "type: train\ndata: {path: fine.csv}\n"


@pytest.fixture(autouse=True)
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControl]:
    monkeypatch.chdir(tmp_path)
    home = locate(str(tmp_path / "home"), {})
    prepare(home)
    create_key(home)
    files = {
        "fine.csv": f"{NODE_ID},1\n",
        "lost.csv": f"{NODE_ID},1\n{ZEROS},1\n",
        "cut": "dpin transaction 1: to be signed\nabc",
        "plain.key": home.key.read_text(),
        "job.yaml": JOB_FILE,
        "sweep.yaml": f"{JOB_FILE}sweep: {{args.rounds: [1, 2]}}\n",
        "twice.yaml": f"{JOB_FILE}sweep: {{args.rounds: [1, 1]}}\n",
    }
    for name, text in files.items():
        Path(name).write_text(text)
    Path("plain.key").chmod(0o600)
    made = tmp_path / "made"
    made.mkdir()
    Path("folder").mkdir()
    control = FakeControl()
    control.output = str(made)
    (made / "model.safetensors").write_bytes(b"weights")
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        monkeypatch.setenv("DPIN_HOME", str(home.root))
        monkeypatch.setenv("DPIN_PASSPHRASE", "correct horse")
        yield control


@pytest.mark.parametrize("words", WRONG)
def test_what_is_typed_wrongly_is_told_with_its_fix_and_changes_nothing(
    words: str, control: FakeControl, capsys: Printed, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    status, sentence = WRONG[words]
    assert run(words.split()) == status
    told = capsys.readouterr()
    assert not told.out
    *_, first, second = told.err.splitlines()
    assert first.startswith("error[")
    assert sentence in first
    assert second.startswith("  fix: ")
    assert control.asked == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_limits_that_a_command_states_are_those_of_a_job_file() -> None:
    text = "type: inference\nmodel: m\nprompt: p\ntokens: "
    assert read_job(f"{text}{submit.TOKENS_MAX}", "job.yaml") is not None
    with pytest.raises(Misuse, match="tokens"):
        read_job(f"{text}{submit.TOKENS_MAX + 1}", "job.yaml")
    assert sweep.POINTS_MAX == submit.POINTS_MAX
