"""Flower's rounds, for federated.py: run by a Python that has flwr 1.41 with its simulation.

    PYTHON federated_flower.py deploy|simulate CLIENTS KILOFLOATS ROUNDS

Prints [seconds, ...]: every round but the first, from the moment the strategy is asked whom to
train to the moment it has the mean, less the longest training of a client, which is one addition.
The mean is checked. Deployed, there are one SuperLink and a SuperNode a client, on loopback.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

CLIENT = """
import time
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    began = time.perf_counter()
    moved = [part + 1 for part in message.content["arrays"].to_numpy_ndarrays()]
    spent = time.perf_counter() - began
    metrics = MetricRecord({"num-examples": 1, "spent": spent})
    content = RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics})
    return Message(content=content, reply_to=message)
"""
SERVER = """
import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

class Timed(FedAvg):
    seconds = []

    def configure_train(self, *words, **named):
        self.began = time.perf_counter()
        return super().configure_train(*words, **named)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        spent = max(float(one.content["metrics"]["spent"]) for one in replies)
        found = super().aggregate_train(server_round, replies)
        self.seconds.append(time.perf_counter() - self.began - spent)
        return found

@app.main()
def main(grid, context):
    wanted = context.run_config
    clients, rounds = int(wanted["clients"]), int(wanted["rounds"])
    rule = Timed(
        fraction_train=1.0,
        fraction_evaluate=0.0,
        min_train_nodes=clients,
        min_available_nodes=clients,
    )
    start = ArrayRecord([np.zeros(1000 * int(wanted["kilofloats"]), np.float32)])
    found = rule.start(grid=grid, initial_arrays=start, num_rounds=rounds)
    mean = found.arrays.to_numpy_ndarrays()[0]
    assert np.allclose(mean, rounds), "the mean is wrong"
    Path(wanted["out"]).write_text(json.dumps(Timed.seconds))
"""
PROJECT = """
[project]
name = "rounds"
version = "1.0.0"
license = { file = "LICENSE" }
requires-python = ">=3.10,<4.0"
dependencies = ["flwr>=1.41.0"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "benchmark"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "rounds.server:app"
clientapp = "rounds.client:app"

[tool.flwr.app.config]
clients = 1
kilofloats = 1
rounds = 1
out = ""
"""
FEDERATION = """
[superlink]
default = "bench"

[superlink.bench]
address = "127.0.0.1:{port}"
insecure = true
"""
SIMULATION = """
import sys
from types import SimpleNamespace

from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from rounds import client, server

wanted = dict(clients={clients}, kilofloats={kilofloats}, rounds={rounds}, out={out!r})
app = ServerApp()

@app.main()
def main(grid, context):
    server.main(grid, SimpleNamespace(run_config=wanted))

run_simulation(
    server_app=app,
    client_app=client.app,
    num_supernodes={clients},
    backend_config=dict(client_resources=dict(num_cpus=1)),
)
"""
READY = "Uvicorn running"
PATIENCE_SECONDS = 180.0


def written(folder: Path) -> Path:
    """The app as Flower takes it; its folder."""
    package = folder / "app" / "rounds"
    package.mkdir(parents=True)
    (folder / "home").mkdir()
    for name, text in (("__init__", ""), ("client", CLIENT), ("server", SERVER)):
        (package / f"{name}.py").write_text(text)
    (folder / "app" / "pyproject.toml").write_text(PROJECT)
    (folder / "app" / "LICENSE").write_text("Apache-2.0\n")
    return folder / "app"


def environment(folder: Path) -> dict[str, str]:
    """Flower's words are found, and nothing is reported to anybody."""
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "app"),
        "FLWR_HOME": str(folder / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def simulate(folder: Path, clients: int, kilofloats: int, rounds: int) -> None:
    """Its simulation engine, in a process of its own."""
    text = SIMULATION.format(
        clients=clients, kilofloats=kilofloats, rounds=rounds, out=str(folder / "out.json")
    )
    subprocess.run(
        [sys.executable, "-c", text],
        env=environment(folder),
        stdout=sys.stderr,
        check=True,
        timeout=400,
    )


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def awaited(path: Path, words: str, patience: float = PATIENCE_SECONDS) -> None:
    """Until these words stand in a file."""
    end = time.monotonic() + patience
    while not path.exists() or words not in path.read_text():
        if time.monotonic() > end:
            raise TimeoutError(f"{path}: {path.read_text() if path.exists() else 'nothing'}")
        time.sleep(0.1)


def deploy(folder: Path, clients: int, kilofloats: int, rounds: int) -> None:
    """Its deployment engine: a SuperLink, the SuperNodes, and a run."""
    known, home, port = environment(folder), folder / "home", free_port()
    (home / "config.toml").write_text(FEDERATION.format(port=port))
    with ExitStack() as stack:

        def start(name: str, *words: str) -> Path:
            log = folder / f"{name}.log"
            out = stack.enter_context(log.open("w"))
            process = subprocess.Popen(words, stdout=out, stderr=out, env=known, cwd=home)
            stack.callback(ended, process)
            return log

        link = start(
            "link",
            "flower-superlink",
            "--insecure",
            "--port",
            str(port),
            "--disable-runtime-dependency-installation",
        )
        awaited(link, READY)
        address = f"127.0.0.1:{port}"
        for number in range(clients):
            node = ["flower-supernode", "--insecure", "--superlink", address]
            awaited(start(f"node-{number}", *node, "--port", str(free_port())), READY)
        wanted = f"clients={clients} kilofloats={kilofloats} rounds={rounds}"
        wanted += f" out='{folder / 'out.json'}'"
        app = str(folder / "app")
        words = ("flwr", "run", app, "bench", "-c", wanted)
        subprocess.run(words, env=known, cwd=home, stdout=sys.stderr, check=True)
        awaited(folder / "out.json", "]", 400.0)


def ended(process: "subprocess.Popen[bytes]") -> None:
    """End a process and wait for it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Run, check, print."""
    engine, clients, kilofloats, rounds = sys.argv[1], *map(int, sys.argv[2:5])
    with tempfile.TemporaryDirectory(prefix="flower-bench-") as name:
        folder = Path(name)
        written(folder)
        {"deploy": deploy, "simulate": simulate}[engine](folder, clients, kilofloats, rounds)
        seconds = json.loads((folder / "out.json").read_text())
    assert len(seconds) == rounds, "a round is missing"
    sys.stdout.write(json.dumps(seconds[1:]) + "\n")


if __name__ == "__main__":
    main()
