"""The application `medusis`: all commands of the package, as sub-commands.

A command's module is imported when the command runs. `medusis --help` imports none of them, so it
answers at once, without TensorFlow.
"""

from importlib.metadata import version
from pkgutil import resolve_name
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from medusis_tf.console import CONTEXT_SETTINGS, fail, guard
from medusis_tf.errors import UserError

NAME = "medusis"


class Command(NamedTuple):
    """One sub-command.

    Attributes:
        function: `module:function`, a function with typer annotations; its docstring is the help.
        summary: One sentence for the list of commands.
    """

    function: str
    summary: str


# In the order of a user's day.
GROUPS: dict[str, dict[str, Command]] = {
    "Start": {
        "quickstart": Command(
            "medusis_tf.commands.quickstart:quickstart",
            "Train on phantom volumes, evaluate, export, and synthesize MR volumes.",
        ),
        "configs": Command(
            "medusis_tf.commands.configs:configs",
            "List the example configurations and class tables, or print or copy one.",
        ),
    },
    "Label maps and subject lists": {
        "segment-ct": Command(
            "medusis_tf.commands.segment_ct:segment_ct",
            "Write the label map of a CT in the classes of a class table.",
        ),
        "tissue-label-map": Command(
            "medusis_tf.commands.tissue_label_map:tissue_label_map",
            "Write the tissue label map of a subject's CT, made by thresholds.",
        ),
        "prepare-synthrad2023": Command(
            "medusis_tf.commands.prepare_synthrad2023:prepare_synthrad2023",
            "Write the subject list of SynthRAD2023 Task 1.",
        ),
        "prepare-autopet": Command(
            "medusis_tf.commands.prepare_autopet:prepare_autopet",
            "Write the subject list of AutoPET.",
        ),
        "prepare-thigh": Command(
            "medusis_tf.commands.prepare_thigh:prepare_thigh",
            "Write the subject list of the thigh experiment.",
        ),
        "prepare-brain": Command(
            "medusis_tf.commands.prepare_brain:prepare_brain",
            "Write the subject list of a brain experiment.",
        ),
        "register-pairs": Command(
            "medusis_tf.commands.register_pairs:register_pairs",
            "Register the CT of each subject to the image, and write the pairs.",
        ),
    },
    "Train": {
        "prepare": Command(
            "medusis_tf.commands.prepare:prepare",
            "Check every volume, convert it to slices once, and write report.html.",
        ),
        "appearance": Command(
            "medusis_tf.commands.appearance:appearance",
            "Estimate the grey levels of the classes from unpaired data.",
        ),
        "train": Command(
            "medusis_tf.commands.train:train",
            "Train one experiment and write its run to runs/NAME.",
        ),
    },
    "Evaluate": {
        "evaluate": Command(
            "medusis_tf.commands.evaluate:evaluate",
            "Evaluate synthetic MR of a run, an exported model or a folder of images.",
        ),
        "gallery": Command(
            "medusis_tf.commands.gallery:gallery",
            "Render the images of a run or an exported model, and its worst slices.",
        ),
        "train-segmenter": Command(
            "medusis_tf.commands.train_segmenter:train_segmenter",
            "Train an independent segmenter on real image pairs, for evaluation.",
        ),
    },
    "Use a trained model": {
        "export": Command(
            "medusis_tf.commands.export:export",
            "Export the generator of a run as a SavedModel.",
        ),
        "synthesize": Command(
            "medusis_tf.commands.synthesize:synthesize",
            "Synthesize MR volumes from a label map.",
        ),
        "serve": Command(
            "medusis_tf.commands.serve:serve",
            "Serve exported models over HTTP, with a page to try them.",
        ),
        "export-nnunet": Command(
            "medusis_tf.commands.export_nnunet:export_nnunet",
            "Write images and label maps as an nnU-Net v2 data set.",
        ),
        "convert": Command(
            "medusis_tf.commands.convert:convert",
            "Convert weights of the published PyTorch networks.",
        ),
    },
    "Studies": {
        "reproduce-thesis": Command(
            "medusis_tf.studies.thesis.reproduce:reproduce_thesis",
            "Train and evaluate the rows of the thesis's tables.",
        ),
        "mask-loss-study": Command(
            "medusis_tf.studies.mask_loss.study:mask_loss_study",
            "Compare training with and without the mask loss.",
        ),
        "downstream-segmentation": Command(
            "medusis_tf.commands.downstream_segmentation:downstream_segmentation",
            "Train a segmenter on synthetic MR, and test it on real MR.",
        ),
        "noise-study": Command(
            "medusis_tf.studies.noise_study:noise_study",
            "Measure what the noise changes in the images of a run.",
        ),
        "train-and-evaluate": Command(
            "medusis_tf.studies.train_and_evaluate:train_and_evaluate",
            "Train one run and evaluate it at several step counts.",
        ),
    },
}


class _Group(TyperGroup):
    """Imports a sub-command when it is invoked or completed; the list shows placeholders."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and command else None, rest


def load(name: str) -> Any:
    """Import a sub-command and return it as a command of typer."""
    commands = {name: command for group in GROUPS.values() for name, command in group.items()}
    single = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    try:
        function = resolve_name(commands[name].function)
    except UserError as error:  # what another package offers cannot be loaded
        fail(error)
    single.command(name, context_settings=CONTEXT_SETTINGS)(guard(function))
    return typer.main.get_command(single)


def make_application() -> typer.Typer:
    """Return the application with all sub-commands."""
    application = typer.Typer(
        name=NAME,
        cls=_Group,
        context_settings=CONTEXT_SETTINGS,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    application.callback()(_main)
    for title, commands in GROUPS.items():
        for name, command in commands.items():
            decorate = application.command(name, help=command.summary, rich_help_panel=title)
            decorate(_placeholder)
    return application


def run_command(name: str) -> None:
    """Run one sub-command as a program of its own, and exit."""
    load(name)()


def main() -> None:
    """Run the application and exit."""
    make_application()(prog_name=NAME)


def _main(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    """Unsupervised synthesis of MR volumes from CT label maps.

    `medusis COMMAND --help` describes a command and its options. `medusis quickstart` is a first
    try that needs no data.
    """
    if show_version:
        typer.echo(f"{NAME} {version('medusis_tf')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _placeholder() -> None:
    """Stand for a sub-command that is not imported yet."""
