"""What a configuration refers to: tables, and one of the ways to list subjects."""

from pathlib import Path

import pytest
import yaml

from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config

TABLE = {
    "name": "abdomen",
    "classes": [
        {"id": 0, "name": "background", "colour": [0, 0, 0]},
        {"id": 1, "name": "fat", "colour": [240, 200, 90]},
        {"id": 2, "name": "kidney", "colour": [200, 95, 35], "sources": ["kidney_left"]},
    ],
    "order": ["kidney", "fat"],
    "unlisted": "background",
}
LISTED = [
    {"subject": "a", "split": "train", "label_map": "a.nii"},
    {"subject": "b", "split": "train", "image": "b.nii"},
]


@pytest.fixture
def folder(tmp_path):
    """A configuration with `data` to be filled in, a class table, and a root with volumes."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/abdomen.yaml").write_text(yaml.safe_dump(TABLE))
    source = {"name": "tool", "labels": {3: "kidney_left", 500: "fat"}}
    (tmp_path / "tables/tool.yaml").write_text(yaml.safe_dump(source))
    for name in ("l/x.nii", "l/y.nii", "l/z.nii", "m/x.nii", "m/y.nii", "m/z.nii"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    return tmp_path


@pytest.fixture
def load(folder, monkeypatch):
    monkeypatch.delenv("MEDUSIS_DATA", raising=False)

    def load(*overrides, **data):
        values = {
            "name": "test",
            "generator": {"name": "oasis", "num_blocks": 5},
            "data": {"taxonomy": "tables/abdomen.yaml", "root": str(folder / "root"), **data},
        }
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump({**values, "data": strip(values["data"])}))
        return load_config(path, overrides).data

    return load


def strip(values):
    return {key: value for key, value in values.items() if value is not ...}


def names(data):
    return [entry.subject for entry in data.subjects]


def test_a_class_table_brings_its_order_and_its_class_for_the_unlisted(load):
    data = load(subjects=LISTED)
    assert [entry.name for entry in data.classes] == ["background", "fat", "kidney"]
    assert (data.order, data.unlisted) == (("kidney", "fat"), "background")
    assert data.taxonomy.class_of("kidney_left") == 2
    assert data.taxonomy.paint_order() == (0, 2, 1)


def test_a_table_and_classes_exclude_each_other(load):
    with pytest.raises(UserError, match=r"config\.yaml: give data\.taxonomy or data\.classes"):
        load(subjects=LISTED, classes=TABLE["classes"])
    assert len(load(subjects=LISTED, classes=TABLE["classes"], taxonomy=...).classes) == 3


def test_label_sources_are_files_or_tables(load):
    data = load(
        subjects=[{**LISTED[0], "label_source": "tool"}, LISTED[1]],
        label_sources={"tool": "tables/tool.yaml", "other": {7: "fat"}},
    )
    assert data.label_sources == {"tool": {3: "kidney_left", 500: "fat"}, "other": {7: "fat"}}
    with pytest.raises(UserError, match=r"unknown label_source tool\. .* defines: other"):
        load(
            subjects=[{**LISTED[0], "label_source": "tool"}, LISTED[1]],
            label_sources={"other": {7: "fat"}},
        )


def test_a_manifest_lies_beside_the_configuration_or_else_in_the_root(load, folder):
    text = "subject,split,label_map,image\n{0}1,train,l/x.nii,\n{0}2,train,,m/y.nii\n"
    (folder / "root/list.csv").write_text(text.format("root"))
    assert names(load(manifest="list.csv")) == ["root1", "root2"]
    (folder / "list.csv").write_text(text.format("near"))
    assert names(load(manifest="list.csv")) == ["near1", "near2"]
    assert names(load(manifest=str(folder / "root/list.csv"))) == ["root1", "root2"]
    assert names(load(manifest="list.csv", root=...)) == ["near1", "near2"]
    with pytest.raises(UserError, match=r"cannot read .*root/other\.csv"):
        load(manifest="other.csv")


def test_an_override_displaces_the_list_of_the_file(load, folder):
    text = "subject,split,label_map,image\nm1,train,l/x.nii,m/x.nii\n"
    (folder / "list.csv").write_text(text)
    globs = [{"split": "train", "label_map": "l/{subject}.nii", "image": "m/{subject}.nii"}]
    assert names(load("data.manifest=list.csv", subjects=LISTED)) == ["m1"]
    assert names(load(f"data.subjects={LISTED}", manifest="list.csv")) == ["a", "b"]
    assert names(load(f"data.globs={globs}", manifest="list.csv")) == ["x", "y", "z"]
    assert names(load("data.manifest=list.csv", globs=globs)) == ["m1"]
    assert names(load("data.subjects=null", "data.manifest=list.csv", subjects=LISTED)) == ["m1"]


def test_nothing_in_place_of_a_list(load):
    with pytest.raises(UserError, match=r"data\.subjects: is required"):
        load("data.subjects=null", subjects=LISTED)
    assert names(load(subjects=LISTED, manifest=None, globs=None)) == ["a", "b"]


def test_several_lists_are_refused(load):
    message = (
        r"config\.yaml: give only one list of subjects\. Received: data\.subjects, data\.manifest"
    )
    with pytest.raises(UserError, match=message):
        load(subjects=LISTED, manifest="list.csv")
    with pytest.raises(UserError, match="give only one list"):
        load(f"data.subjects={LISTED}", "data.manifest=list.csv")


def test_patterns_and_splits(load):
    globs = [{"label_map": "l/{subject}.nii", "image": "m/{subject}.nii"}]
    data = load(globs=globs, splits={"train": 0.6, "test": 0.4}, split_seed=3)
    counts = {split: len(data.subjects_of(split)) for split in ("train", "test")}
    assert counts == {"train": 2, "test": 1}
    other = [load(globs=globs, splits={"train": 0.6, "test": 0.4}, split_seed=s) for s in range(9)]
    assert len({tuple(entry.split for entry in each.subjects) for each in other}) > 1
    with pytest.raises(UserError, match=r"data\.globs needs data\.root"):
        load(globs=globs, root=...)


def test_splits_leave_those_alone_that_are_given(load):
    subjects = [{"subject": f"s{i}", "label_map": "l/x.nii", "image": "m/x.nii"} for i in range(9)]
    subjects[0]["split"] = "validation"
    data = load(subjects=subjects, splits={"train": 1.0})
    assert [e.split for e in data.subjects] == ["validation", *["train"] * 8]
    with pytest.raises(UserError, match=r"data\.subjects\.1\.split: is required"):
        load(subjects=subjects)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"label_sources": ["a"]},
            r"data\.label_sources must be a mapping of names to tables.*\['a'\]",
        ),
        ({"label_sources": {"a": [1]}}, r"data\.label_sources\.a: "),
        ({"label_sources": {"a": {"b": "c"}}}, r"data\.label_sources\.a\.b"),
        ({"label_sources": {"a": "none.yaml"}}, r"cannot read .*none\.yaml"),
        ({"taxonomy": 3}, r"data\.taxonomy must be the path of a class table\. Received: 3"),
        ({"taxonomy": "tables/tool.yaml"}, r"tool\.yaml is a label source"),
        ({"subjects": ..., "manifest": ["a"]}, r"data\.manifest must be the path"),
        ({"subjects": ..., "globs": "l/{subject}.nii"}, r"data\.globs must be a list"),
        ({"subjects": ..., "globs": [3]}, r"data\.globs\.0 must be a mapping of keys to patterns"),
        (
            {"splits": 0.8},
            r"data\.splits must be a mapping of splits to fractions\. Received: 0\.8",
        ),
        ({"root": 3}, r"data\.root must be the path of a folder\. Received: 3"),
        ({"subjects": 3}, r"data\.subjects: .*Received: 3"),
        ({"subjects": [3], "splits": {"train": 1.0}}, r"data\.subjects\.0: .*Received: 3"),
        ({"subjects": {"a": "b"}, "splits": {"train": 1.0}}, r"data\.subjects: "),
    ],
    ids=str,
)
def test_a_value_of_a_wrong_type_gets_a_message(load, data, message):
    with pytest.raises(UserError, match=message):
        load(**{"subjects": LISTED, **data})


def test_ten_thousand_subjects_are_linear_work(load, folder):
    # No clock: what would be quadratic would not end.
    rows = [f"s{i:05d},train,l/{i}.nii,m/{i}.nii" for i in range(10_000)]
    text = "\n".join(["subject,split,label_map,image", *rows])
    (folder / "list.csv").write_text(text)
    data = load(manifest="list.csv", pairing="paired")
    assert len(data.subjects) == 10_000
    assert data.subjects[9_999].image == Path("m/9999.nii")
