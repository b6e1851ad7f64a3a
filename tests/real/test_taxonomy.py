"""Real label maps and masks mapped by name, compared with their own ids."""

import json
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import load_label_source, load_taxonomy
from medusis_tf.data.labels.remapping import merge, read_masks, remap
from medusis_tf.data.volumes.reading import read_label_map

TABLES = Path(__file__).parents[2] / "configs" / "taxonomies"
READING = ReadingConfig()


def table(name):
    return load_taxonomy(TABLES / f"{name}.yaml")


def source(name):
    return load_label_source(TABLES / f"{name}.yaml")


@pytest.fixture
def folder(shared_data):
    return shared_data / "totalsegmentator"


@pytest.mark.parametrize("name", ["totalsegmentator_v2", "synthrad31", "synthrad31_thesis_order"])
def test_merged_masks_equal_the_multi_label_map(folder, name):
    whole = read_label_map(folder / "example_seg_fast.nii.gz")
    by_id = remap(whole, source("totalsegmentator_v2"), table(name))
    by_mask = read_masks(folder / "masks_fast", table(name), READING)
    np.testing.assert_array_equal(by_mask.array, by_id.array)
    assert len(np.unique(by_id.array)) > 10
    if name == "totalsegmentator_v2":
        np.testing.assert_array_equal(by_id.array, whole.array)


def test_organs_cover_tissues_except_in_the_thesis_order(folder):
    organs = remap(
        read_label_map(folder / "example_seg_fast.nii.gz"),
        source("totalsegmentator_v2"),
        table("synthrad31"),
    ).array
    tissues = {name: read_label_map(folder / "tissue_types" / f"{name}.nii.gz").array > 0
               for name in ("subcutaneous_fat", "torso_fat", "skeletal_muscle")}  # fmt: skip
    tissue = np.where(tissues["skeletal_muscle"], 30, 0)
    tissue[tissues["subcutaneous_fat"] | tissues["torso_fat"]] = 29
    # The gluteus muscles are skeletal muscle, not organs.
    expected = {
        "synthrad31": np.where((organs > 0) & (organs != 30), organs, np.maximum(tissue, organs)),
        "synthrad31_thesis_order": np.where(tissue > 0, np.maximum(tissue, organs), organs),
    }
    expected["synthrad31"][(organs == 30)] = 30
    for name, wanted in expected.items():
        layers = [
            read_masks(folder / f, table(name), READING) for f in ("masks_fast", "tissue_types")
        ]
        np.testing.assert_array_equal(merge(layers, table(name)).array, wanted)
    assert (expected["synthrad31"] != expected["synthrad31_thesis_order"]).any()


def test_the_mr_task_has_the_same_names(folder):
    ids = read_label_map(folder / "example_seg_mr.nii.gz").array
    names = json.loads((folder.parent / "totalsegmentator_classes.json").read_text())["tasks"]
    merged = remap(
        read_label_map(folder / "example_seg_mr.nii.gz"),
        source("totalsegmentator_mr"),
        table("synthrad31"),
    ).array
    published = table("synthrad31").ids
    for id_ in np.unique(ids)[1:]:
        name = names["total_mr"][str(id_)]
        found = np.unique(merged[ids == id_])
        assert len(found) == 1
        if name in names["total"].values():
            assert found[0] == table("synthrad31").class_of(name)
        assert (published[int(found[0])] == "lung") == name.startswith("lung")


def test_names_equal_those_of_the_tool(shared_data):
    tasks = json.loads((shared_data / "totalsegmentator_classes.json").read_text())["tasks"]
    for task, name in [
        ("total", "v2"),
        ("total_mr", "mr"),
        ("body", "body"),
        ("tissue_4_types", "tissue_types"),
    ]:
        expected = {0: "background"} | {int(id_): n for id_, n in tasks[task].items()}
        assert source(f"totalsegmentator_{name}") == expected


@pytest.mark.parametrize("name", ["synthseg", "dlmuse"])
def test_brain_tables_by_name_equal_the_grouping_by_id(shared_data, name):
    grouping = json.loads((shared_data / "brain_common_classes.json").read_text())["classes"]
    labels = json.loads((shared_data / f"{name}_labels.json").read_text())["labels"]
    assert set(source(name)) == {int(id_) for id_ in labels}
    classes = table("brain20")
    assert classes.ids == {entry["id"]: entry["name"] for entry in grouping}
    by_id = {id_: entry["id"] for entry in grouping for id_ in entry[f"{name}_ids"]}
    assert by_id == {id_: classes.class_of(n) for id_, n in source(name).items()}


def test_brain_maps_of_both_sources_become_the_common_classes(shared_data):
    grouping = json.loads((shared_data / "brain_common_classes.json").read_text())["classes"]
    maps = {
        "synthseg": shared_data / "synthseg_label_maps" / "training_seg_01.nii.gz",
        "dlmuse": shared_data / "ixi_t1_dlmuse" / "dlmuse" / "IXI012-HH-1211-T1_ds_DLMUSE.nii.gz",
    }
    for name, path in maps.items():
        label_map = read_label_map(path)
        merged = remap(label_map, source(name), table("brain20"))
        assert merged.array.max() == (19 if name == "synthseg" else 12)
        by_id = np.full(531, 255)
        for entry in grouping:
            by_id[entry[f"{name}_ids"]] = entry["id"]
        np.testing.assert_array_equal(merged.array, by_id[label_map.array])
