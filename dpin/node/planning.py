"""From a job file to an order, and from an order to what it would cost."""

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import trio

from dpin.base.errors import Misuse, OverBudget
from dpin.base.ids import NO_BLOB, NO_DIGEST
from dpin.base.units import MILLION, Ppm, format_tokens, parse_tokens, seconds
from dpin.compute.sizes import builtin_parameters
from dpin.compute.task import TrainManifest
from dpin.ledger.transactions import Propose
from dpin.market.offers import cost_max, expected_unit_ms, verifier_fee
from dpin.market.orders import InferOrder, Order, TrainOrder
from dpin.market.preparing import generation_of, parameters_of, propose_infer, propose_train
from dpin.node.control import RunRequest
from dpin.node.home import Home
from dpin.node.jobfile import InferenceJob, JobSpec, Limits, TrainJob
from dpin.node.ordering import (
    CONFIG_FILE,
    MODEL_FILE,
    Places,
    infer_order,
    train_order,
    type_of,
    with_windows,
)
from dpin.node.peer import Peer
from dpin.node.settings import JobsSection
from dpin.node.spending import check_spending
from dpin.node.status import PeerView, PlanView
from dpin.node.trying import Tried
from dpin.node.tuning import own_code, tuned
from dpin.node.words import counted

CONFIG_BYTES_MAX: Final = 64 * 1024
INFER_MEMORY_BYTES: Final = 256 << 20
RUN_SECONDS: Final = 600
_OUTPUT_FIX: Final = "name another folder, or let the user who runs the node write there"


async def order_of(spec: JobSpec, folder: str, name: str) -> Order:
    """The order that a job file describes; raises Misuse where it names what is not there."""
    order = await _train(spec, folder) if isinstance(spec, TrainJob) else await _infer(spec, folder)
    await trio.to_thread.run_sync(check_output, Path(order.output))
    return _named(order, name) if name else order


def check_output(folder: Path) -> None:
    """Raises Misuse where a result could not be written: better now than once it is paid for."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise Misuse(f"output: {there} is no folder", fix="name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Misuse(f"output: the node may not write into {there}", fix=_OUTPUT_FIX)
    try:  # Root may do all that access asks for, and /proc has no room for a folder all the same.
        Path(tempfile.mkdtemp(prefix=".dpin-", dir=there)).rmdir()
    except OSError as error:
        raise Misuse(
            f"output: no folder can be made in {there}: {error.strerror}", fix=_OUTPUT_FIX
        ) from None


async def _train(job: TrainJob, folder: str) -> TrainOrder:
    places = Places(_under(folder, job.data.path), _under(folder, job.output))
    if not await trio.Path(places.source).exists():
        raise Misuse(f"data.path: there is no {places.source}", fix="name a text file or a folder")
    await check_spending(job.privacy, job.rounds)
    if job.module is not None:
        return await own_code(
            train_order(job, places, 0), job.module, _under(folder, job.module.path)
        )
    if job.hub is None:
        unit_ms = expected_unit_ms(builtin_parameters(job.model), _draft(job))
        return train_order(job, places, unit_ms)
    order = await tuned(train_order(job, places, 0), job.hub, _under(folder, job.hub.folder))
    return with_windows(order, expected_unit_ms(parameters_of(order), _draft(order)))


async def _infer(job: InferenceJob, folder: str) -> InferOrder:
    places = Places(_under(folder, job.model), _under(folder, job.output))
    return infer_order(job, places, await _config(places.source), INFER_MEMORY_BYTES)


async def run_order(request: RunRequest, home: Home) -> InferOrder:
    """The order of one `dpin run`."""
    job = InferenceJob(
        name=f"run {request.model}",
        model=request.model,
        prompt=request.prompt.encode(),
        tokens=request.tokens,
        temperature_ppm=Ppm(round(request.temperature * MILLION)),
        limits=Limits(parse_tokens(request.max_cost), seconds(RUN_SECONDS)),
        output=str(home.jobs),
        seed=request.seed,
    )
    return await _infer(job, "")


def _under(folder: str, name: str) -> str:
    return str(Path(folder) / Path(name).expanduser())


async def _config(source: str) -> str:
    folder = trio.Path(source)
    for name in (MODEL_FILE, CONFIG_FILE):
        if not await (folder / name).exists():
            raise Misuse(
                f"{source} is not a model directory: it has no {name}",
                fix="name a folder that `dpin fetch` has written",
            )
    data = await (folder / CONFIG_FILE).read_bytes()
    return data[:CONFIG_BYTES_MAX].decode("utf-8", "replace")


def _named(order: Order, name: str) -> Order:
    return msgspec.structs.replace(order, name=name)


def _draft(job: TrainJob | TrainOrder) -> TrainManifest:
    """The job's manifest as far as it is known before anything was prepared."""
    return TrainManifest(
        model=job.model,
        inner=job.inner,
        outer=job.outer,
        seats=job.seats,
        rounds=job.rounds,
        windows=job.windows if isinstance(job, TrainOrder) else 1,
        shards=(),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=NO_DIGEST,
        fingerprint=NO_DIGEST,
        encoding=job.encoding,
        robust=job.robust,
        privacy=job.privacy,
    )


def plan_of(tried: Tried, peer: Peer, providers: list[PeerView]) -> PlanView:
    """What the order would do and cost, without doing it."""
    order = tried.order
    propose, parameters = _proposal(order, peer)
    account = peer.state.accounts.get(peer.key.node_id)
    warnings = list(tried.warnings)
    if len(providers) < propose.seats:
        known = counted(len(providers), "provider")
        warnings.append(f"{counted(propose.seats, 'seat')}, but {known} known")
    warnings += [*_memory_warnings(propose, peer), *_price_warnings(propose, peer)]
    if account is None or account.spendable < order.budget:
        warnings.append("limits.cost is more than the balance")
    return PlanView(
        name=order.name,
        kind=type_of(order),
        seats=propose.seats,
        rounds=propose.rounds,
        steps=propose.steps,
        windows=propose.windows,
        price_cap=propose.price_cap,
        cost_max=cost_max(peer.params, propose),
        balance=account.spendable if account else 0,
        parameters=parameters,
        unit_fee=verifier_fee(peer.params, propose, propose.price_cap),
        providers=providers,
        warnings=warnings,
        chosen=tried.chosen,
    )


def _memory_warnings(propose: Propose, peer: Peer) -> list[str]:
    """Whether anybody else who has registered to work has as much memory as is asked for."""
    others = [
        account.registration.memory_bytes
        for node, account in peer.state.accounts.items()
        if node != peer.key.node_id and account.registration and account.registration.provides
    ]
    most = max(others, default=propose.memory_bytes)
    if propose.memory_bytes <= most:
        return []
    return [
        f"resources.memory asks for {_gigabytes(propose.memory_bytes)}, and no provider known has "
        f"more than {_gigabytes(most)}: nobody will take the job"
    ]


def _gigabytes(size: int) -> str:
    return f"{size / 10**9:.1f}GB"


def _price_warnings(propose: Propose, peer: Peer) -> list[str]:
    """Whether units at this price find providers that ask what a new node asks."""
    usual = JobsSection().price_floor
    if propose.price_cap >= usual:
        return []
    needed = cost_max(peer.params, msgspec.structs.replace(propose, price_cap=usual))
    return [
        f"limits.cost leaves {format_tokens(propose.price_cap)} for a unit, and most providers ask "
        f"{format_tokens(usual)}: that takes a limits.cost of {format_tokens(needed)}"
    ]


def check_price(order: Order, peer: Peer) -> None:
    """Raises OverBudget where the whole job's cost cannot buy a single unit."""
    propose, _ = _proposal(order, peer)
    if not propose.price_cap:
        units = counted(propose.seats * propose.rounds, "unit")
        raise OverBudget(
            f"{format_tokens(order.budget)} cannot pay for {units} of work",
            fix="raise limits.cost (--max-cost), or see what it takes: dpin submit FILE --dry-run",
        )


def _proposal(order: Order, peer: Peer) -> tuple[Propose, int]:
    parameters = parameters_of(order)
    match order:
        case TrainOrder():
            draft = _draft(order)
            return propose_train(order, draft, parameters, peer.params), parameters
        case InferOrder():
            return propose_infer(order, generation_of(order), peer.params), parameters
