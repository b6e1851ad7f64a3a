from pathlib import Path

import pytest
import yaml

from medusis_tf.config.yaml_files import merge, parse_overrides
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.methods.med_usis.config import MedUSISConfig

CONFIGS = Path(__file__).parents[2] / "configs"
THIGH = CONFIGS / "thigh_ct_to_mr.yaml"


SUBJECTS = [
    {"subject": "a", "split": "train", "label_map": "a.nii.gz"},
    {"subject": "b", "split": "train", "image": "b.nii.gz"},
]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["default", "thesis"])
def test_every_config_is_valid_and_reads_back_equal(path, preset, tmp_path):
    values = yaml.safe_load(path.read_text())
    if "method" in values and preset == "thesis":
        pytest.skip("presets are of Med-USIS")
    # What is written for one preset, such as the thesis's own, takes the rest from it.
    overrides = [f"preset={values.get('preset', preset)}", "data.root=/volumes"]
    # Manifests come with the volumes: tests/pipelines makes such.
    if "manifest" in values["data"]:
        overrides.append(f"data.subjects={SUBJECTS}")
    config = load_config(path, overrides)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_a_preset_of_med_usis_is_refused_with_another_method():
    with pytest.raises(UserError, match="preset") as caught:
        load_config(CONFIGS / "legs_diffusion.yaml", ["preset=thesis", "data.root=/volumes"])
    assert len(str(caught.value).splitlines()) == 2


def test_sections_of_another_method_are_one_line():
    with pytest.raises(UserError, match=r"generator.*: of method: med_usis. Received.* diffusion"):
        load_config(THIGH, ["method=diffusion", "data.root=/volumes"])
    with pytest.raises(UserError, match=r"  denoiser: of method: diffusion. .* an override keeps"):
        load_config(THIGH, ["denoiser.num_levels=3", "data.root=/volumes"])


def test_a_saved_config_keeps_every_subject_and_unusual_names(tmp_path):
    names = ["001", "no", "1e3", "0x10", "null", "2020-01-01", "a_b.c-d"]
    patients = [
        {"subject": name, "split": "train", "label_map": f"ü {name}.nii", "image": f"{name}: x.nii"}
        for name in names
    ]
    values = load_config(THIGH, ["data.root=/volumes"]).model_dump(mode="json")
    values["data"]["subjects"] = patients
    config = MedUSISConfig.model_validate(values)
    save_config(config, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml")
    assert again == config
    assert [entry.subject for entry in again.data.subjects] == names


def test_the_file_wins_over_the_preset_and_an_override_over_both():
    config = load_config(THIGH, ["preset=thesis", "training.batch_size=8"])
    assert config.training.r1.mode == "as_step"  # the preset's
    assert config.training.steps == 1000  # the file's
    assert config.training.batch_size == 8


def test_thesis_preset_is_the_published_recipe(tmp_path):
    values = yaml.safe_load(THIGH.read_text())
    for key in ("generator", "discriminator", "segmenter", "loss_weights", "training"):
        values.pop(key)
    values["data"].pop("image_size")
    values["data"]["taxonomy"] = str(CONFIGS / "taxonomies" / "tissue5.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    config = load_config(path, ["preset=thesis"])
    assert (config.generator.name, config.generator.base_channels) == ("wavelet", 16)
    assert (config.discriminator.base_channels, config.segmenter.base_channels) == (128, 64)
    assert (config.data.image_size, config.data.image_channels) == ((256, 256), 3)
    assert config.loss_weights.discriminator == 4.0
    assert config.loss_weights.background == 0.0
    rates = [
        getattr(config.optimizers, name).learning_rate
        for name in ("generator", "segmenter", "discriminator")
    ]
    assert rates == [1e-4, 4e-4, 2e-3]
    assert (config.training.ema.decay, config.training.ema.warm_up) == (0.9999, False)
    assert config.training.initial_gain == 0.02
    assert config.training.schedule == "alternating"


def test_data_root_comes_from_the_environment_unless_given(monkeypatch):
    monkeypatch.setenv("MEDUSIS_DATA", "/volumes")
    assert load_config(THIGH).data.root == Path("/volumes")
    assert load_config(THIGH, ["data.root=/others"]).data.root == Path("/others")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batchsize=3", "training.batchsize: unknown key; did you mean batch_size?"),
        ("training.steps=many", "training.steps: .* Received: 'many'"),
        ("training.steps=0", "training.steps: .*greater than 0. Received: 0"),
        ("training.schedule=both", "'alternating' or 'simultaneous'. Received: 'both'"),
        ("generator.name=unet", "generator: .*'oasis', 'wavelet'"),
        ("data.image_size=[100, 128]", r"generator .* divisible by 16. Received: \[100, 128\]"),
        ("data.image_size=[96, 96]", "discriminator needs .* short side that is a power of two"),
        ("data.image_size=[16, 16]", r"must be at least 32. Received: \[16, 16\]"),
        ("segmenter.num_levels=8", "segmenter needs .* divisible by 256"),
        ("name=../escape", "name: .*pattern"),
        ("data.intensity={lower: 10, upper: 90}", "data.intensity: its name is required"),
        ("data.intensity={name: percentile, lower: 9, upper: 1}", "lower and upper must increase"),
        ("data.intensity={name: clip}", "data.intensity: .*'percentile', 'min_max'"),
        ("data.intensity={name: nyul, percentiles: [1, 99, 50]}", "percentiles must increase"),
        ("data.reading.assume_axes=RPX", "data.reading.assume_axes: .*pattern"),
        ("data.axis=oblique", "'axial', 'coronal' or 'sagittal'. Received: 'oblique'"),
        ("data.cache=disk", "'shards' or 'memory'. Received: 'disk'"),
        ("data.pairing=random", "'unpaired', .*'paired' or 'semi_supervised'"),
        ("data.flip=true", "data.flip: unknown key"),
        ("data.minimum_foreground=1", "less than 1. Received: 1"),
        ("data.skip_ends=-1", "greater than or equal to 0. Received: -1"),
        ("training.profile_steps=7", "profile_steps: Input should be a valid string. Received: 7"),
        ("training.profile_steps=9:8", "FIRST:LAST, .* for example 10:12. Received: '9:8'"),
        ("training.profile_steps=0:8", "FIRST:LAST, .* Received: '0:8'"),
        ("preset=best", "preset: .*'default' or 'thesis'"),
        ("data=3", "data: "),
    ],
)
def test_a_wrong_value_is_named(override, message):
    with pytest.raises(UserError, match=message):
        load_config(THIGH, [override])


def test_a_key_of_another_section_is_not_proposed_in_its_own_place():
    members = "members: [{name: wavelet}, {name: patch}]"
    with pytest.raises(UserError) as error:
        load_config("quickstart", [f"discriminator={{name: ensemble, {members}}}"])
    _, *lines = str(error.value).splitlines()
    assert len(lines) == 2
    for line, key in zip(lines, ("base_channels", "max_channels"), strict=True):
        assert line.startswith(f"  discriminator.ensemble.{key}: unknown key in this section")
        assert "did you mean" not in line
        assert "the keys of the file, so remove it there" in line


def test_every_problem_gets_its_line():
    with pytest.raises(UserError) as error:
        load_config(THIGH, ["training.steps=x", "training.colour=red", "seed=-1"])
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ([{"subject": "a", "split": "train"}], "needs at least one of label_map, ct and image"),
        (
            [{"subject": "a", "split": "train", "image": "a", "label_map": "b", "ct": "c"}],
            "not both",
        ),
        ([{"subject": "a", "split": "train", "image": "a"}] * 2, "once. Duplicated: .'a'."),
        ([{"subject": "a", "split": "train", "image": "a"}], "training split has no label_map"),
        ([{"subject": "a", "split": "train", "label_map": "a"}], "training split has no image"),
        (
            [{"subject": "a", "split": "test", "label_map": "a", "image": "b"}],
            "no image and no",
        ),
        (
            [{"subject": "a", "split": "train", "ct": "a", "overlays": {"liver": "b"}}],
            "unknown classes .'liver'.",
        ),
        (
            [{"subject": "a", "split": "train", "image": "a", "streams": ["label_map"]}],
            "streams lists label_map, but it has none",
        ),
    ],
)
def test_a_wrong_subject_is_named(subjects, message):
    with pytest.raises(UserError, match=message):
        load_config(THIGH, [f"data.subjects={subjects}"])


def test_a_missing_file_and_a_file_that_is_no_yaml_are_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*absent.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(UserError, match=r"broken.yaml is not valid YAML"):
        load_config(broken)
    broken.write_text("- 1")
    with pytest.raises(UserError, match=r"must contain keys and values. Received: list"):
        load_config(broken)


def test_overrides_nest_and_are_yaml():
    overrides = ["a.b=1", "a.c=[1, 2]", "d=text", "a.e=1.0e-3", "f=10:20"]
    assert parse_overrides(overrides) == {
        "a": {"b": 1, "c": [1, 2], "e": 0.001},
        "d": "text",
        "f": "10:20",
    }
    with pytest.raises(UserError, match="'steps'"):
        parse_overrides(["steps"])


def test_merge_lays_dictionaries_and_replaces_lists():
    merged = merge({"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}})
    assert merged == {"a": {"x": 1, "y": [3]}}


def test_a_wrong_subject_is_one_problem():
    subjects = [{"subject": "a", "split": "train", "image": "a.nii.gz", "label_source": "x"}]
    with pytest.raises(UserError) as error:
        load_config(THIGH, [f"data.subjects={subjects}"])
    assert "label_source requires label_map" in str(error.value)
    assert "at least 1 item" not in str(error.value)


def test_an_integer_of_thousands_of_digits_is_refused_in_a_sentence():
    with pytest.raises(UserError, match=r"seed: .* Received: an integer of thousands of digits"):
        load_config(THIGH, [f"seed=0x{'f' * 6000}"])
