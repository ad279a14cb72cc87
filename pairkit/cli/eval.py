"""`pairkit eval`: measure a model, a judge or a ranker."""

from __future__ import annotations

import typer

from pairkit.cli.evaluations.alpaca_eval import alpaca_eval
from pairkit.cli.evaluations.arena_hard import arena_hard
from pairkit.cli.evaluations.compare import compare
from pairkit.cli.evaluations.gsm8k import gsm8k
from pairkit.cli.evaluations.ifeval import ifeval
from pairkit.cli.evaluations.judge import judge
from pairkit.cli.evaluations.matrix import matrix
from pairkit.cli.evaluations.mt_bench import mt_bench
from pairkit.cli.evaluations.ranker import ranker
from pairkit.cli.evaluations.tasks import tasks
from pairkit.cli.overrides import SETTINGS

app = typer.Typer(help="Measure a model, a judge or a ranker.", no_args_is_help=True)
app.command("alpaca_eval", context_settings=SETTINGS)(alpaca_eval)
app.command("arena_hard", context_settings=SETTINGS)(arena_hard)
app.command("mt_bench", context_settings=SETTINGS)(mt_bench)
app.command(context_settings=SETTINGS)(matrix)
app.command(context_settings=SETTINGS)(gsm8k)
app.command(context_settings=SETTINGS)(ifeval)
app.command(context_settings=SETTINGS)(tasks)
app.command(context_settings=SETTINGS)(judge)
app.command(context_settings=SETTINGS)(ranker)
app.command()(compare)
