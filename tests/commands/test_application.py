import os
import re
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from medusis_tf.commands.application import GROUPS, load
from medusis_tf.commands.evaluate import evaluate
from tests.command_runner import run_command

ROOT = Path(__file__).parents[2]
NAMES = [name for commands in GROUPS.values() for name in commands]


def medusis(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "medusis_tf", *arguments],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_every_command_has_a_help_text_and_options():
    for name in NAMES:
        command = load(name)
        assert command.name == name
        assert command.help
        assert command.params


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_command_has_a_largest_value(name):
    """Absurd counts are refused before any work, as in configurations."""
    for each in load(name).params:
        if getattr(each, "min", None) is not None and each.name != "truncation":
            assert each.max is not None, each.name  # truncation is infinite by default


def test_an_absurd_count_is_refused():
    status, _, errors = run_command(evaluate, "--run", "missing", "--mean-of", 1_000_000)
    assert status == 2
    assert "Invalid value for '--mean-of': Input should be less than or equal to 10000" in errors


def programs():
    """Return the modules that run one command with `python -m`."""
    files = [*(ROOT / "pipelines").glob("*.py"), *(ROOT / "medusis_tf").glob("[a-z]*.py")]
    modules = [path for path in files if '__name__ == "__main__"' in path.read_text()]
    return [f"{path.parent.name}.{path.stem}" for path in sorted(modules)]


@pytest.mark.parametrize("module", programs())
def test_every_module_with_a_command_is_also_a_sub_command(module, monkeypatch, capsys):
    name = module.partition(".")[2].replace("_", "-")
    assert name in NAMES
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert end.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert " ".join(load(name).help.split()[:5]) in printed


def modules_after(code):
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_help_imports_no_heavy_module():
    code = (
        "import sys\n"
        "sys.argv = ['medusis', '--help']\n"
        "from medusis_tf.commands.application import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sys.modules)"
    )
    modules = modules_after(code)
    assert not modules & {"tensorflow", "keras", "numpy", "scipy", "nibabel", "pydantic"}
    assert not any(name.startswith("medusis_tf.config") for name in modules)


def test_the_help_of_a_command_needs_no_tensorflow():
    names = [name for title in GROUPS for name in GROUPS[title] if title != "Studies"]
    code = (
        f"import sys\nfrom medusis_tf.commands.application import load\nfor n in {names}: load(n)\n"
    )
    assert not modules_after(f"{code}print(*sys.modules)") & {"tensorflow", "keras"}


def test_without_arguments_the_commands_are_listed_by_group():
    result = medusis(TERM="dumb")
    assert result.returncode == 0
    for names in ([f"─ {title} ─" for title in GROUPS], [f"│ {name} " for name in NAMES]):
        positions = [result.stdout.index(name) for name in names]
        assert positions == sorted(positions)


def test_the_version_is_that_of_the_package():
    assert medusis("--version").stdout == f"medusis {version('medusis_tf')}\n"


def test_an_unknown_command_gets_a_suggestion():
    result = medusis("trian")
    assert result.returncode == 2
    assert "Did you mean 'train'?" in result.stderr


def test_a_user_error_of_a_command_has_exit_status_2(tmp_path):
    result = medusis("train", "--config", str(tmp_path / "absent.yaml"))
    assert result.returncode == 2
    assert re.fullmatch(r"error: cannot read .*absent.yaml: .*\n", result.stderr)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("medusis pre", "prepare-synthrad2023"), ("medusis train --dr", "--dry-run")],
)
def test_the_shell_completes_commands_and_options(words, expected):
    result = medusis(
        _MEDUSIS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    assert expected in result.stdout.splitlines(), result
