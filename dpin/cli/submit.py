"""Giving work away: jobs from a file, and single generations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import AttachOption, HomeOption, JsonOption, SetOption, say, show

TOKENS_MAX = 100_000  # as of `type: inference`; a test holds them together
AT_ONCE = 2  # jobs of a sweep
POINTS_MAX = 64  # of a sweep, likewise
TRYING = "reading the data and the model as the job would; a first time loads torch"


def submit(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="A job file, as YAML.")] = "",
    *,
    sets: SetOption = None,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not follow it.")] = False,
    parallel: Annotated[
        int | None,
        typer.Option(min=1, max=POINTS_MAX, help="Jobs of a sweep at one time; else 2."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin a sweep again that was begun before.")
    ] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Then show it hop by hop.")] = False,
    attach: AttachOption = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Start a job and follow it; the exit status is the job's. Ctrl-C leaves it running."""
    from dpin.base.errors import Misuse
    from dpin.cli.link import connect, show_view
    from dpin.cli.pictures import plan_text
    from dpin.cli.sweeps import take_up, trials_of
    from dpin.client.client import request_from

    others = any((sets, name, dry_run, detach, parallel is not None, anew))
    _check_what(file, attach, others=others)
    trials = trials_of(Path(file), sets or [], name) if file else []
    if (parallel or anew) and not trials:
        raise Misuse(f"{file} is no sweep: it is one job", fix="leave out --parallel and --anew")
    request = request_from(Path(file), sets or [], name) if file and not trials else None
    with connect(home) as node:
        if trials:
            take_up(node, trials, anew=anew)
            at_once = parallel or AT_ONCE
            _sweep(node, trials, parallel=at_once, detach=detach, dry_run=dry_run, json=json)
        elif request is None:
            _follow(node, node.job(attach).job.id, json=json, trace=trace)
        elif dry_run:
            say(TRYING)
            plan = node.plan(request)
            show_view("plan", plan) if json else show(plan_text(plan))
        else:
            job = node.submit(request)
            if detach:
                show_view("submitted", job) if json else show(job.id)
                return
            say(f"{job.id} {job.name}")
            _follow(node, job.id, json=json, trace=trace)


def _check_what(file: str, attach: str, *, others: bool) -> None:
    """Raises Misuse where it is not clear what to do, or an option would have no effect."""
    from dpin.base.errors import Misuse

    if bool(file) == bool(attach):
        raise Misuse("name a job file, or a job to follow", fix="dpin submit job.yaml")
    if attach and others:
        raise Misuse("a job that runs is only followed", fix=f"dpin submit --attach {attach}")


def _sweep(
    node: object, found: Sequence[object], *, parallel: int, detach: bool, dry_run: bool, json: bool
) -> None:
    from dpin.base.units import format_tokens
    from dpin.cli.link import show_values
    from dpin.cli.pictures import plan_text
    from dpin.cli.sweeps import (
        Trial,
        plans_of,
        run_sweep,
        submit_all,
        sweep_exit,
        sweep_text,
        sweep_values,
    )
    from dpin.client.client import Client

    assert isinstance(node, Client)
    trials = [trial for trial in found if isinstance(trial, Trial)]
    if dry_run:
        say(TRYING)
        plans = plans_of(node, [trial for trial in trials if not trial.begun])
        whole = sum(plan.cost_max for plan in plans)
        words = f"{len(plans)} jobs, {format_tokens(whole)} at most"
        first = f"; the first:\n\n{plan_text(plans[0])}" if plans else ""
        show_values("plans", {"plans": plans}) if json else show(words + first)
    elif detach:
        submit_all(node, trials)
        ids = [trial.job for trial in trials]
        show_values("submitted", {"jobs": ids}) if json else show("\n".join(ids))
    else:
        run_sweep(node, trials, parallel)
        show_values("sweep", sweep_values(trials)) if json else show(sweep_text(trials))
        raise typer.Exit(sweep_exit(trials))


def _follow(node: object, job: str, *, json: bool, trace: bool) -> None:
    from dpin.cli.follow import follow
    from dpin.cli.link import show_view
    from dpin.cli.tracing import timeline, timeline_text
    from dpin.client.client import Client

    assert isinstance(node, Client)
    code = follow(node, job)
    if trace:
        say(timeline_text(timeline(node.job(job), node.log(job))))
    if json:
        show_view("job", node.job(job))
    raise typer.Exit(code)


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="A model's folder.")],
    prompt: Annotated[str, typer.Argument(metavar="TEXT", help="What it continues.")],
    *,
    tokens: Annotated[int, typer.Option(min=1, max=TOKENS_MAX, help="Bytes to generate.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, max=10, help="0 is greedy.")] = 0.8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    max_cost: Annotated[str, typer.Option(metavar="TOKENS", help="At most.")] = "10",
    verbose: Annotated[bool, typer.Option("--verbose", help="Say how fast it was.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Continue a text with a model, on a provider; the text comes as it is made."""
    from dpin.base.units import parse_tokens
    from dpin.cli.generation import follow_generation
    from dpin.cli.link import connect
    from dpin.node.control import RunRequest

    parse_tokens(max_cost)
    request = RunRequest(
        model=str(Path(model).resolve()),
        prompt=prompt,
        tokens=tokens,
        temperature=temperature,
        seed=seed,
        max_cost=max_cost,
    )
    with connect(home) as node:
        result = follow_generation(node, request, json=json)
    if verbose:
        say(result.speed)
    raise typer.Exit(result.code)
