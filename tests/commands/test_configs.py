import json

from medusis_tf.commands.configs import configs
from medusis_tf.config.packaged import CONFIGS, REFINEMENTS, TABLES
from tests.command_runner import run_command, user_error


def test_all_configurations_and_tables_are_listed_with_a_summary():
    status, printed, _ = run_command(configs)
    assert status == 0
    lines = {line.split()[0]: line for line in printed.splitlines() if line.startswith("  ")}
    assert set(lines) == {
        path.stem for folder in (CONFIGS, TABLES) for path in folder.glob("*")
    } - {"taxonomies", "refinements"} | {
        f"refinements/{path.stem}" for path in REFINEMENTS.glob("*")
    }
    assert all(len(line.split()) > 2 and len(line) <= 100 for line in lines.values())


def test_a_configuration_or_a_table_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").touch()
    _, printed, _ = run_command(configs, "quickstart")
    assert printed == (CONFIGS / "quickstart.yaml").read_text()
    _, printed, _ = run_command(configs, "synthrad31")
    assert printed == (TABLES / "synthrad31.yaml").read_text()


def test_a_copy_is_written_to_a_new_file(tmp_path):
    out = tmp_path / "mine.yaml"
    assert run_command(configs, "thigh_ct_to_mr", "--out", out)[0] == 0
    assert out.read_bytes() == (CONFIGS / "thigh_ct_to_mr.yaml").read_bytes()
    assert "exists already" in user_error(configs, "quickstart", "--out", out)
    assert "cannot write" in user_error(configs, "quickstart", "--out", out / "below.yaml")
    assert "named absent" in user_error(configs, "absent")


def test_the_schema_is_printed():
    _, printed, _ = run_command(configs, "--schema")
    assert json.loads(printed)["properties"]
