"""Print the tables and verdicts of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from medusis_tf.metrics.tables import Content
from medusis_tf.reports.evaluation.tables import EvaluationTable, evaluation_tables
from medusis_tf.reports.evaluation.verdicts import Verdict, verdicts

# Wide enough for every table, if there is no terminal.
_WIDTH = 160


def print_evaluation(content: Content) -> None:
    """Print the tables of an evaluation, and then the verdicts.

    Args:
        content: Content of `metrics.json`.
    """
    print_tables(evaluation_tables(content), verdicts(content))


def print_tables(tables: Sequence[EvaluationTable], found: Sequence[Verdict]) -> None:
    """Print tables, and then verdicts."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for table in tables:
        _print_table(console, table)
    for verdict in found:
        _print_verdict(console, verdict)


def _print_table(console: Console, content: EvaluationTable) -> None:
    # rich breaks the title of a table at the width of the table.
    console.print(content.title, style="bold", highlight=False, markup=False)
    table = Table()
    table.add_column(content.first_column, overflow="fold")
    for column in content.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, cells in content.rows:
        table.add_row(name, *cells)
    console.print(table)
    for note in content.notes:
        console.print(Padding(note, (0, 0, 0, 1)), style="dim", highlight=False, markup=False)
    console.print()


def _print_verdict(console: Console, verdict: Verdict) -> None:
    style = {True: "green", False: "red", None: "yellow"}[verdict.is_good]
    console.print(f"{verdict.title}:", style=f"bold {style}", end=" ", highlight=False)
    console.print(verdict.text, highlight=False, markup=False)
