"""The command line: one file per command, which parses, calls and prints, and holds no logic.

Whatever is heavy (torch, transformers, pyarrow, polars, the recipes) is imported inside the functions, so
that every `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any, NoReturn

import typer

from pairkit.cli import eval as evaluations
from pairkit.cli.build import build
from pairkit.cli.export import export
from pairkit.cli.inspect import inspect
from pairkit.cli.losses import losses
from pairkit.cli.online import online
from pairkit.cli.overrides import SETTINGS
from pairkit.cli.process import signals, streams
from pairkit.cli.push import push
from pairkit.cli.quickstart import quickstart
from pairkit.cli.replicate import replicate
from pairkit.cli.report import report
from pairkit.cli.sources import sources
from pairkit.cli.sweep import sweep
from pairkit.cli.train import train
from pairkit.cli.view import view
from pairkit.errors import Interrupted, PairkitError, UsageError
from pairkit.imports import only_named
from pairkit.version import __version__

app = typer.Typer(
    name="pairkit",
    help="Preference data for language models, and training on it.",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage, 129 SIGHUP, 130 SIGINT, 143 SIGTERM.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich help takes twice as long to start as all of the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command(context_settings=SETTINGS)(build)
app.command(context_settings=SETTINGS)(inspect)
app.command(context_settings=SETTINGS)(train)
app.command(context_settings=SETTINGS)(sweep)
app.command(context_settings=SETTINGS)(online)
app.add_typer(evaluations.app, name="eval")
app.command()(view)
app.command()(report)
app.command()(export)
app.command(context_settings=SETTINGS)(push)
app.command()(sources)
app.command()(losses)
app.command()(quickstart)
app.command()(replicate)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"pairkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    # Until a command states what it names: whatever it reads from disk may come from anywhere.
    context.with_resource(only_named(()))


# The base of every mistake that typer finds itself. Where it is imported from depends on typer's version.
TyperUsageError: Any = typer.BadParameter.__bases__[0]


def main() -> None:
    """Run the command line and exit: with 0, 1 after an error, 2 after wrong usage, 130 after SIGINT.

    An error is one line on standard error, without a traceback. SIGTERM and SIGHUP end a command as SIGINT
    does, with 143 and 129; the first of several signals decides.
    """
    output = streams.guard()
    signals.raise_on_stops()
    _check_place()
    try:
        # Not `app()`, which would put a hook for uncaught exceptions before the one of the signals.
        code = typer.main.get_command(app)(prog_name="pairkit", standalone_mode=False)
    except KeyboardInterrupt:  # before a command had begun
        code = Interrupted.exit_code
    except Interrupted as error:
        _fail(str(error), signals.exit_code(error))
    except PairkitError as error:
        _fail(str(error), error.exit_code)
    except TyperUsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # `pairkit` alone: its message is the whole help
            error.show()
            sys.exit(UsageError.exit_code)
        # Without the prefix that pydantic, which checks the values for typer, gives its own messages.
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        command = error.ctx.command_path if error.ctx else "pairkit"
        _fail(f"{message}; see: {command} --help", UsageError.exit_code)
    except Exception as error:
        if package := _missing_requirement(error):
            _fail(f"{package} is not installed, and this command needs it: pip install {package}", 1)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            from pairkit.files import name_too_long

            _fail(str(name_too_long(error)), 1)
        if not signals.came():
            raise
        # Some libraries turn the exception of a signal into their own: a failed import, as a rule.
        _fail(f"stopped ({type(error).__name__}: {error})", signals.exit_code())
    if code == Interrupted.exit_code:  # a signal before a command had anything to keep
        _fail("stopped; run the same command again", signals.exit_code())
    signals.hold_stops()
    if problem := streams.lost(output):
        _fail(problem, 1)
    _exit(code or 0)


def _check_place() -> None:
    """End with one line where the working directory was removed, without which torch ends the process."""
    try:
        os.getcwd()
    except OSError as error:
        _fail(f"the working directory: {error.strerror}; go to one that exists (cd)", 1)


def _missing_requirement(error: Exception) -> str | None:
    """Return which of the packages that pairkit requires is not installed; None for another error."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    from importlib.metadata import requires

    names = {re.split(r"[^\w-]", each)[0] for each in requires("pairkit") or () if "extra ==" not in each}
    # Packages have hyphens where their modules have underscores, and one has another name.
    module = (error.name or "").partition(".")[0]
    package = {"yaml": "pyyaml"}.get(module, module.replace("_", "-"))
    return package if package in {name.replace("_", "-").lower() for name in names} else None


def _fail(message: str, code: int) -> NoReturn:
    signals.hold_stops()
    from pairkit.masking import masked
    from pairkit.progress import visible

    # The message of a library, inside ours, may have several lines; names in a file may hold anything.
    line = visible(masked(" ".join(message.split())))
    typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)
    _exit(code)


def _exit(code: int) -> NoReturn:
    signals.end_on_stops(code)
    sys.exit(code)
