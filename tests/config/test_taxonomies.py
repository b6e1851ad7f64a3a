"""The tables that come with the repository."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from skimage.color import rgb2lab

from medusis_tf.config.taxonomy import Taxonomy, load_label_source, load_taxonomy

FOLDER = Path(__file__).parents[2] / "configs" / "taxonomies"
FILES = sorted(FOLDER.glob("*.yaml"))
CLASS_TABLES = [path for path in FILES if "classes" in yaml.safe_load(path.read_text())]
NUM_CLASSES = {
    "autopet37": 37,
    "brain13": 13,
    "brain20": 20,
    "synthrad31": 31,
    "synthrad31_thesis_order": 31,
    "tissue5": 5,
    "totalsegmentator_mr": 51,
    "totalsegmentator_v2": 118,
}
# As published: ids of the thesis's SynthRAD2023 label maps.
SYNTHRAD31 = [
    "background", "kidney", "vessels", "gallbladder", "liver", "stomach", "pancreas", "adrenal",
    "lung", "vertebrae", "esophagus", "trachea", "heart", "pulmonary_artery", "small_bowel",
    "duodenum", "colon", "ribs", "humerus", "scapula", "clavicula", "femur", "hips", "sacrum",
    "autochthon", "iliopsoas", "urinary_bladder", "skin", "spleen", "fat", "skeletal_muscle",
]  # fmt: skip


def by_stem(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def table(name):
    return load_taxonomy(FOLDER / f"{name}.yaml")


def source(name):
    return load_label_source(FOLDER / f"{name}.yaml")


@by_stem(FILES)
def test_every_file_is_a_label_source_that_names_itself(path):
    names = load_label_source(path)
    assert names[0] in {"background", "outside_cranial_contents"}
    assert len(set(names.values())) == len(names)
    assert yaml.safe_load(path.read_text())["name"] == path.stem


def test_the_class_tables_have_the_classes_they_promise():
    assert {path.stem: len(load_taxonomy(path).classes) for path in CLASS_TABLES} == NUM_CLASSES


@by_stem(CLASS_TABLES)
def test_colours_can_be_told_apart(path):
    colours = np.array([[entry.colour for entry in load_taxonomy(path).classes]]) / 255
    for one, other in itertools.combinations(rgb2lab(colours)[0], 2):
        assert np.linalg.norm(one - other) > 10  # about 2 is the least that people see


def test_one_organ_has_one_colour_in_all_tables():
    colours: dict[str, set] = {}
    for path in CLASS_TABLES:
        for entry in load_taxonomy(path).classes:
            colours.setdefault(entry.name, set()).add(entry.colour)
    assert [name for name, found in colours.items() if len(found) > 1] == []
    parts = table("totalsegmentator_v2").classes
    right = {entry.name: entry.colour for entry in parts}
    assert colours["kidney"] == {right["kidney_right"]}
    assert colours["hips"] == {right["hip_right"]}


@pytest.mark.parametrize("name", ["synthrad31", "synthrad31_thesis_order"])
def test_synthrad31_has_the_published_ids(name):
    assert list(table(name).ids.values()) == SYNTHRAD31


def test_the_two_orders_differ_in_nothing_but_the_order():
    ours, thesis = table("synthrad31"), table("synthrad31_thesis_order")
    assert ours.classes == thesis.classes
    assert thesis.paint_order() == tuple(range(31))
    ranks = {thesis.ids[class_]: rank for rank, class_ in enumerate(ours.paint_order())}
    tissues = {"background", "fat", "skeletal_muscle", "skin"}
    assert max(ranks[name] for name in tissues) < min(
        rank for name, rank in ranks.items() if name not in tissues
    )


def test_the_rest_of_the_body_can_be_a_class_as_the_comments_say():
    values = yaml.safe_load((FOLDER / "synthrad31.yaml").read_text())
    moved = ["body_trunc", "body_extremities"]
    background = values["classes"][0]["sources"]
    background[:] = [name for name in background if name not in moved]
    other = {"id": 31, "name": "body_other", "colour": [90, 90, 90], "sources": moved}
    values["classes"].append(other)
    values["order"].insert(0, "body_other")
    assert Taxonomy.model_validate(values).paint_order()[:3] == (0, 31, 29)


@pytest.mark.parametrize("name", ["v1", "v2", "mr", "body", "tissue_types"])
def test_synthrad31_takes_every_class_of_totalsegmentator(name):
    names = source(f"totalsegmentator_{name}").values()
    assert [n for n in names if table("synthrad31").class_of(n) is None] == []


# Unambiguous and inferred groups of the thesis's merge, by the start of the names.
THESIS_GROUPS = {
    "kidney_right": 1, "kidney_left": 1, "aorta": 2, "inferior_vena_cava": 2, "portal_": 2,
    "iliac_": 2, "brachiocephalic_": 2, "subclavian_": 2, "common_carotid_": 2, "superior_": 2,
    "gallbladder": 3, "liver": 4, "stomach": 5, "pancreas": 6, "adrenal_": 7, "lung_": 8,
    "vertebrae_": 9, "esophagus": 10, "trachea": 11, "heart": 12, "small_bowel": 14,
    "duodenum": 15, "colon": 16, "rib_": 17, "humerus_": 18, "scapula_": 19, "clavicula_": 20,
    "femur_": 21, "hip_": 22, "sacrum": 23, "autochthon_": 24, "iliopsoas_": 25,
    "urinary_bladder": 26, "spleen": 28, "prostate": 0, "thyroid_gland": 0, "spinal_cord": 0,
    "brain": 0, "skull": 0, "kidney_cyst": 1, "atrial_appendage": 12, "pulmonary_vein": 13,
    "gluteus_": 30, "sternum": 17, "costal_cartilages": 17, "background": 0,
}  # fmt: skip


def test_totalsegmentator_merges_to_synthrad31_as_in_the_thesis():
    for name in source("totalsegmentator_v2").values():
        start = max((key for key in THESIS_GROUPS if name.startswith(key)), key=len)
        assert table("synthrad31").class_of(name) == THESIS_GROUPS[start], name


@pytest.mark.parametrize("name", ["synthseg", "dlmuse"])
def test_brain20_takes_every_class_of_both_its_sources(name):
    assert None not in map(table("brain20").class_of, source(name).values())


def test_names_of_tables_that_meet_mean_the_same():
    # By ids, which are documented: what both sources call by one name.
    synthseg = {name: id_ for id_, name in source("synthseg").items()}
    dlmuse = {name: id_ for id_, name in source("dlmuse").items()}
    assert {name: (synthseg[name], dlmuse[name]) for name in synthseg.keys() & dlmuse.keys()} == {
        "brain_stem": (16, 35),
        "csf_outside_ventricles": (24, 1),
        "third_ventricle": (14, 4),
        "fourth_ventricle": (15, 11),
        "optic_chiasm": (85, 69),
        "left_accumbens_area": (26, 30),
        "right_accumbens_area": (58, 23),
        "left_amygdala": (18, 32),
        "right_amygdala": (54, 31),
        "left_caudate": (11, 37),
        "right_caudate": (50, 36),
        "left_cerebellum_white_matter": (7, 41),
        "right_cerebellum_white_matter": (46, 40),
        "left_hippocampus": (17, 48),
        "right_hippocampus": (53, 47),
        "left_inferior_lateral_ventricle": (5, 50),
        "right_inferior_lateral_ventricle": (44, 49),
        "left_lateral_ventricle": (4, 52),
        "right_lateral_ventricle": (43, 51),
        "left_pallidum": (13, 56),
        "right_pallidum": (52, 55),
        "left_putamen": (12, 58),
        "right_putamen": (51, 57),
        "left_ventral_dc": (28, 62),
        "right_ventral_dc": (60, 61),
    }
