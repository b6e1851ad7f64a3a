from pathlib import Path

import pytest
import yaml

from medusis_tf.config.packaged import CONFIGS, TABLES, find_config, find_table
from medusis_tf.methods.experiment import load_config


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml"])
def test_a_packaged_configuration_is_found_by_name(name):
    assert find_config(Path(name)) == CONFIGS / "quickstart.yaml"


@pytest.mark.parametrize(
    "name",
    [
        "synthrad31",
        "synthrad31.yaml",
        "taxonomies/synthrad31",
        "configs/taxonomies/synthrad31.yaml",
    ],
)
def test_a_packaged_table_is_found_by_name(name):
    assert find_table(name) == TABLES / "synthrad31.yaml"


def test_a_file_comes_before_the_packaged_one(working_folder):
    (working_folder / "quickstart.yaml").touch()
    (working_folder / "tables").mkdir()
    (working_folder / "tables" / "synthrad31.yaml").touch()
    assert find_config(Path("quickstart.yaml")) == Path("quickstart.yaml")
    assert find_table("synthrad31.yaml", Path("tables")) == Path("tables/synthrad31.yaml")


@pytest.mark.parametrize(
    "name", ["other/quickstart.yaml", "/quickstart.yaml", "quickstart.yml", "x"]
)
def test_another_path_is_not_replaced(name):
    assert find_config(Path(name)) == Path(name)


def test_a_configuration_elsewhere_may_name_a_packaged_table(working_folder):
    values = yaml.safe_load((CONFIGS / "quickstart.yaml").read_text())
    values["data"] |= {"taxonomy": "tissue5", "root": "."}
    values["data"]["label_sources"] = {"tool": "totalsegmentator_v2"}
    (working_folder / "mine.yaml").write_text(yaml.safe_dump(values))
    data = load_config(Path("mine.yaml")).data
    assert data.num_classes == 5
    assert data.label_sources["tool"][5] == "liver"


def test_the_legs_experiments_differ_in_their_generator_only():
    values = [
        yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        for name in ("legs_ct_to_mr", "legs_transformer")
    ]
    generators = [each.pop("generator") for each in values]
    assert [each.pop("name") for each in values] == ["legs_ct_to_mr", "legs_transformer"]
    assert values[0] == values[1]
    changed = {"name": "transformer", "transformer_finest": 2}
    assert generators[1] == {**generators[0], **changed}


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("legs_25d", {"volumes", "training"}),
        ("legs_3d", {"volumes", "data", "generator", "discriminator", "segmenter", "training"}),
    ],
)
def test_the_experiments_of_volumes_differ_from_slices_in_sections(name, sections):
    slices, volumes = (
        yaml.safe_load((CONFIGS / f"{each}.yaml").read_text()) for each in ("legs_ct_to_mr", name)
    )
    changed = {key for key in volumes if slices.get(key) != volumes[key]}
    assert changed == sections | {"name"}
    different = {
        key for key in volumes["training"] if volumes["training"][key] != slices["training"][key]
    }
    assert different == {"batch_size"}


@pytest.mark.parametrize("name", ["legs_diffusion", "legs_thesis"])
def test_all_experiments_on_the_legs_have_the_same_patients_and_classes(name):
    legs, other = (
        yaml.safe_load((CONFIGS / f"{each}.yaml").read_text())["data"]
        for each in ("legs_ct_to_mr", name)
    )
    assert {**legs, "image_channels": 1} == {"image_channels": 1, **other}
