"""`dpin`: the commands as one tree. What a command needs is imported when it runs."""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer
from typer.core import TyperGroup

from dpin.base.errors import DpinError, helping
from dpin.cli import doctor, jobs, origins, proofs, report, rounds, setup, submit
from dpin.cli.blob import blob
from dpin.cli.exits import ExitCode, tell, tell_known
from dpin.cli.ledger import ledger
from dpin.cli.net import net
from dpin.cli.node import node
from dpin.cli.options import refuse_empty
from dpin.cli.patience import patient
from dpin.cli.sim import sim
from dpin.cli.validator import validator
from dpin.cli.wallet import wallet
from dpin.client.errors import ClientError

app = typer.Typer(
    name="dpin",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(*, asked: bool) -> None:
    if asked:
        doctor.version()
        raise typer.Exit


@app.callback()
def _everywhere(
    *,
    verbose: Annotated[bool, typer.Option("-v", help="Show where an error comes from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """A peer-to-peer network for GPU compute.

    Data goes to stdout, all else to stderr. Exit status: 0 well, 1 a bug, 2 wrong usage, 3 the
    job failed, 4 not found, 5 no node runs, 6 no provider matches, 7 timed out, 8 the result
    failed verification, 9 over budget, 130 interrupted.
    """
    del version, verbose  # `run` has looked for -v: it must know before anything can fail.


app.command()(setup.init)
app.add_typer(net, name="net")
app.add_typer(node, name="node")
app.command()(submit.submit)
app.command(name="jobs")(jobs.jobs)
app.command()(jobs.status)
app.command()(jobs.explain)
app.command()(jobs.logs)
app.command()(jobs.fetch)
app.command()(jobs.cancel)
app.command()(report.report)
app.command()(submit.run)
app.add_typer(wallet, name="wallet")
app.add_typer(validator, name="validator")
app.command()(jobs.receipts)
app.add_typer(ledger, name="ledger")
app.command()(proofs.verify)
app.command()(origins.lineage)
app.command()(rounds.audit)
app.command()(origins.privacy)
app.command()(doctor.peers)
app.command(name="doctor")(doctor.doctor)
app.add_typer(doctor.config, name="config")
app.command()(doctor.version)
app.add_typer(blob, name="blob")
app.add_typer(sim, name="sim")


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def commands() -> TyperGroup:
    """The tree of commands; lists of commands show the whole first sentence of each."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    _say_whole_sentences(root)
    return root


def _say_whole_sentences(group: TyperGroup) -> None:
    for command in group.commands.values():
        first = " ".join((command.help or "").partition("\n\n")[0].split())
        command.short_help = first.partition(". ")[0].removesuffix(".") + "."
        if isinstance(command, TyperGroup):
            _say_whole_sentences(command)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; errors are told as one sentence, a traceback only after `-v`."""
    verbose = bool(arguments) and arguments[0] == "-v"
    try:
        refuse_empty(arguments)
        with patient():
            result = commands().main(list(arguments), prog_name="dpin", standalone_mode=False)
    except (DpinError, ClientError) as problem:
        _trace(verbose=verbose)
        return tell_known(problem)
    except typer.TyperException as problem:
        return _usage(problem)
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _unheard()
    except Exception as problem:  # noqa: BLE001  # The last resort: a bug is one sentence too.
        _trace(verbose=verbose)
        return _unforeseen(problem)
    return int(result) if isinstance(result, int) else ExitCode.OK


def _unforeseen(problem: Exception) -> ExitCode:
    if isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        if isinstance(problem, NotADirectoryError | IsADirectoryError | FileExistsError):
            tell("misuse", f"{where}{problem.strerror}", "name another place")
            return ExitCode.USAGE
        fix = helping(problem) or "name another place, or make room"
        tell("disk", f"{where}{problem.strerror or problem}", fix)
    else:
        tell("bug", f"{type(problem).__name__}: {problem}", "dpin -v COMMAND shows where")
    return ExitCode.BUG


def _unheard() -> ExitCode:
    """The reader of a pipe has had enough: what is still held for it goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _trace(*, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()


def _usage(problem: typer.TyperException) -> ExitCode:
    """What was typed cannot be read; says where the help is."""
    context = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "dpin"
    message = getattr(problem, "format_message", lambda: str(problem))()
    if type(problem).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
    else:
        tell("usage", message.rstrip("."), f"{path} --help")
    return ExitCode.USAGE
