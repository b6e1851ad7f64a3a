"""Finer classes: rules, tables of rules, and how a configuration takes them in."""

import pydantic
import pytest
import yaml

from medusis_tf.config.packaged import REFINEMENTS, TABLES, find_refinement
from medusis_tf.config.refinement import RefinementRule, refined_classes
from medusis_tf.config.taxonomy import ClassEntry, Taxonomy, load_taxonomy
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config, save_config

COARSE = [
    {"id": 0, "name": "background", "colour": [0, 0, 0]},
    {"id": 1, "name": "rib_1", "colour": [200, 200, 200]},
    {"id": 2, "name": "rib_2", "colour": [220, 220, 220]},
]
MARROW = {"name": "marrow", "colour": [90, 90, 90], "part_of": "rib_1", "where": {"upper_hu": 400}}
FITTING = {
    "tissue": "tissue5",
    "tissue_fine": "tissue5",
    "synthrad31": "synthrad31",
    "totalsegmentator_v2": "totalsegmentator_v2",
    "autopet37": "autopet37",
}


def refined(*entries, tmp_path=None):
    return Taxonomy(name="t", classes=refined_classes(COARSE, list(entries), tmp_path))


def test_a_finer_class_follows_the_coarse_ones_and_is_reported_as_its_own():
    table = refined(MARROW)
    assert table.ids == {0: "background", 1: "rib_1", 2: "rib_2", 3: "marrow"}
    assert table.coarse_ids == (0, 1, 2, 1)
    assert table.classes[3].cut_from == ("rib_1",)
    assert table.coarse_names == {0: "background", 1: "rib_1", 2: "rib_2"}


def test_classes_that_share_a_finer_one_are_reported_together():
    table = refined({**MARROW, "where": {"of": ["rib_*"], "upper_hu": 400}})
    assert table.classes[3].cut_from == ("rib_1", "rib_2")
    assert table.coarse_ids == (0, 1, 1, 1)
    assert table.coarse_names == {0: "background", 1: "rib_1 and 1 more"}


def test_a_pattern_becomes_a_class_for_each_coarse_one():
    table = refined({**MARROW, "name": "{class}_marrow", "part_of": ["rib_*"]})
    assert [entry.name for entry in table.classes[3:]] == ["rib_1_marrow", "rib_2_marrow"]
    assert table.coarse_ids == (0, 1, 2, 1, 2)
    assert table.classes[3].colour == (126, 126, 126)  # two thirds 90, one third 200


def test_clusters_become_classes_and_the_lowest_remains():
    table = refined({**MARROW, "name": "part", "where": {"clusters": 3}})
    assert [(e.name, e.where.cluster) for e in table.refined] == [("part_2", 2), ("part_3", 3)]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "needs a condition"),
        ({"of": ["a"]}, "needs a condition"),
        ({"upper_hu": None, "erode_pixels": 0}, "needs a condition"),
        ({"lower_hu": 5, "upper_hu": 5}, "must be below"),
        ({"depth_mm": [3, 1]}, "must be below"),
        ({"clusters": 2}, "belong together"),
        ({"clusters": 2, "cluster": 3}, "no cluster 3 of 2"),
        ({"above": 3}, "Extra inputs"),
    ],
)
def test_a_rule_must_make_sense(rule, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        RefinementRule(**rule)


def test_a_rule_is_described_in_words():
    rule = RefinementRule(upper_hu=400, erode_pixels=1, inside_body=True, smallest_mm3=50)
    assert rule.in_words() == (
        "below 400 HU, 1 pixel from the border, inside the body, components of at least 50 mm3"
    )
    assert RefinementRule(lower_hu=-200, upper_hu=-30).in_words() == "-200 to -30 HU"


def test_a_class_without_a_rule_is_written_as_before():
    entry = ClassEntry(id=0, name="a", colour=(0, 0, 0))
    assert entry.model_dump() == {"id": 0, "name": "a", "colour": (0, 0, 0), "sources": ()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part_of": "femur"}, "femur, an unknown class"),
        ({"where": {"of": ["femur"], "upper_hu": 4}}, "cut from the class femur, which is not"),
    ],
)
def test_unknown_coarse_classes_are_named(change, message, tmp_path):
    with pytest.raises((UserError, pydantic.ValidationError), match=message):
        refined({**MARROW, **change}, tmp_path=tmp_path)


def test_a_part_of_a_part_is_refused():
    with pytest.raises(pydantic.ValidationError, match="itself part of a class"):
        refined(MARROW, {**MARROW, "name": "deep", "part_of": "marrow"})


@pytest.mark.parametrize("name", sorted(path.stem for path in REFINEMENTS.glob("*.yaml")))
def test_every_packaged_refinement_fits_its_class_table(name):
    path = find_refinement(name)
    assert yaml.safe_load(path.read_text())["name"] == name
    coarse = load_taxonomy(TABLES / f"{FITTING[name]}.yaml")
    classes = refined_classes([e.model_dump() for e in coarse.classes], path, path)
    table = Taxonomy(name=name, classes=classes, order=coarse.order, unlisted=coarse.unlisted)
    assert table.classes[: len(coarse.classes)] == coarse.classes
    assert len(table.refined) == len(table.classes) - len(coarse.classes) > 0


@pytest.fixture
def load(tmp_path):
    def load(*overrides, **data):
        subjects = [
            {"subject": "a", "split": "train", "ct": "a.nii"},
            {"subject": "b", "split": "train", "image": "b.nii"},
        ]
        values = {
            "name": "t",
            "generator": {"name": "oasis", "num_blocks": 5},
            "data": {"taxonomy": "tissue5", "subjects": subjects, **data},
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
        return load_config(tmp_path / "c.yaml", overrides)

    return load


def test_a_configuration_names_a_refinement(load, tmp_path):
    config = load(refine="tissue")
    assert [entry.name for entry in config.data.classes][5] == "marrow"
    assert config.data.num_classes == len(config.data.taxonomy.coarse_ids)
    assert config.data.taxonomy.coarse_ids[5] == 3
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    assert load("data.refine=null", refine="tissue").data.num_classes == 5


def test_a_subject_has_label_map_and_ct_only_if_classes_are_refined(load):
    both = [
        {"subject": "a", "split": "train", "ct": "a.nii", "label_map": "l.nii"},
        {"subject": "b", "split": "train", "image": "b.nii"},
    ]
    assert load(refine="tissue", subjects=both).data.subjects[0].ct is not None
    with pytest.raises(UserError, match=r"label_map or ct, not both, unless data\.refine"):
        load(subjects=both)


def test_what_is_not_a_refinement_is_refused(load, tmp_path):
    with pytest.raises(UserError, match=r"data\.refine must be the name or path"):
        load(refine=3)
    with pytest.raises(UserError, match=r"of that name\. Known: autopet37, "):
        load(refine="absent.yaml")
    with pytest.raises(UserError, match=r"data\.refine=tisue: .*; did you mean tissue\?"):
        load(refine="tisue")
    with pytest.raises(UserError, match=r"classes\.0\.where: is required"):
        load(refine=[{"name": "marrow"}])
    with pytest.raises(UserError, match=r"data\.refine of .*c\.yaml is not .*\n  classes: "):
        load(refine=[])
    (tmp_path / "other.yaml").write_text("name: other\nclasses: 5\n")
    with pytest.raises(UserError, match=r"other\.yaml is not a valid refinement:\n  classes: must"):
        load(refine="other.yaml")


@pytest.mark.parametrize("name", ["part", "{class}_part"])
@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"where": None}, "where"),
        ({"where": "dense"}, "where"),
        ({"where": {}}, "where"),
        ({"where": {"upper_hu": None}}, "where"),
        ({"where": {"clusters": None}}, "where"),
        ({"where": {"clusters": -1}}, "where.clusters"),
        ({"where": {"clusters": 1}}, "where.clusters"),
        ({"where": {"clusters": 10**9}}, "where.clusters"),
        ({"where": {"clusters": "many"}}, "where.clusters"),
        ({"where": {"clusters": [3]}}, "where.clusters"),
        ({"where": {"clusters": float("inf")}}, "where.clusters"),
        ({"where": {"of": [3], "clusters": 2}}, "where.of.0"),
        ({"colour": [1, 2]}, "colour.2"),
        ({"colour": [1, 2, 3, 4]}, "colour"),
        ({"colour": "red"}, "colour"),
        ({"colour": None}, "colour"),
        ({"colour": [1, 2, 256], "where": {"clusters": 3}}, "colour.2"),
        ({"part_of": []}, "part_of"),
        ({"part_of": None}, "part_of"),
        ({"part_of": [3]}, "part_of.0"),
        ({"id": 7}, "id"),
    ],
)
def test_a_wrong_value_is_one_line_with_file_and_key(name, change, key, tmp_path):
    with pytest.raises(UserError) as caught:
        refined({**MARROW, "name": name, **change}, tmp_path=tmp_path)
    first, line = str(caught.value).split("\n")
    assert first == f"data.refine of {tmp_path} is not a valid refinement:"
    assert line.startswith(f"  classes.0.{key}: ")


def test_several_classes_need_a_name_for_each(tmp_path):
    with pytest.raises(UserError, match=r"so the name must contain \{class\}"):
        refined({**MARROW, "part_of": ["rib_1", "rib_2"]}, tmp_path=tmp_path)


def test_a_wrong_colour_of_a_coarse_class_is_named(load):
    classes = [{**entry, "colour": "grey"} for entry in COARSE]
    marrow = {**MARROW, "name": "{class}_marrow"}
    with pytest.raises(UserError, match=r"data\.classes\.1\.colour"):
        load(classes=classes, taxonomy=None, refine=[marrow])
