"""The experiment files of the thesis's rows are valid with a prepared data set."""

import pytest

from medusis_tf.commands.prepare_autopet import prepare_autopet
from medusis_tf.commands.prepare_synthrad2023 import prepare_synthrad2023
from medusis_tf.commands.train import train
from medusis_tf.methods.experiment import load_config
from tests.command_runner import run_command
from tests.commands.miniatures import autopet_first, synthrad2023

ROWS = ("oasis", "oasis_mask", "wavelet", "wavelet_mask", "thesis")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    made = {}
    for name, write, command in [
        ("synthrad2023", synthrad2023, prepare_synthrad2023),
        ("autopet", autopet_first, prepare_autopet),
    ]:
        made[name] = write(tmp_path_factory.mktemp(name))
        assert run_command(command, "--root", made[name])[0] == 0
    return made


@pytest.fixture
def configs(request):
    return request.config.rootpath / "configs"


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("data_set", ["synthrad2023", "autopet"])
def test_a_dry_run_accepts_the_file(roots, configs, data_set, row):
    path = configs / f"{data_set}_{row}.yaml"
    root = f"data.root={roots[data_set]}"
    status, out, err = run_command(train, "--config", path, root, "--dry-run")
    assert status == 0, err
    assert f"# valid; the run would be written to runs/{data_set}_{row}" in out


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(("data_set", "num_classes"), [("synthrad2023", 31), ("autopet", 37)])
def test_settings_match_the_name_of_the_row(roots, configs, data_set, num_classes, row):
    config = load_config(configs / f"{data_set}_{row}.yaml", [f"data.root={roots[data_set]}"])
    assert config.name == f"{data_set}_{row}"
    assert config.preset == ("thesis" if row == "thesis" else "default")
    assert config.generator.name == ("oasis" if row.startswith("oasis") else "wavelet")
    assert config.generator.base_channels == (64 if row.startswith("oasis") else 16)
    assert (config.loss_weights.mask > 0) == row.endswith("_mask")
    assert config.data.image_size == (256, 256)
    assert config.data.num_classes == num_classes
    channels = 3 if row == "thesis" else 1
    assert config.data.image_channels == channels


@pytest.mark.parametrize("data_set", ["synthrad2023", "autopet"])
def test_the_thesis_scales_every_slice(roots, configs, data_set):
    config = load_config(configs / f"{data_set}_thesis.yaml", [f"data.root={roots[data_set]}"])
    assert config.data.intensity.name == "slice_min_max"
    assert config.data.skip_ends == (5 if data_set == "synthrad2023" else 0)
    assert config.training.schedule == "alternating"


def test_overrides_in_the_comments_are_valid(roots, configs):
    for data_set, overrides in [
        ("synthrad2023", ["generator.name=oasis", "training.batch_size=2"]),
        ("synthrad2023", ["generator.noise_dim=0"]),
        ("autopet", ["optimizers.generator.learning_rate=1.0e-4"]),
    ]:
        path = configs / f"{data_set}_thesis.yaml"
        load_config(path, [f"data.root={roots[data_set]}", *overrides])


@pytest.mark.parametrize("data_set", ["synthrad2023", "autopet"])
def test_a_missing_manifest_is_reported(configs, tmp_path, data_set):
    arguments = (f"data.root={tmp_path}", "--dry-run")
    path = configs / f"{data_set}_wavelet.yaml"
    status, _, err = run_command(train, "--config", path, *arguments)
    assert status == 2
    assert f"{data_set}.csv" in err
