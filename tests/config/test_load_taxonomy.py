"""Class tables and label sources from YAML, and what is told about broken ones."""

import pytest

from medusis_tf.config.taxonomy import load_label_source, load_taxonomy
from medusis_tf.errors import UserError

TABLE = """
name: abdomen
classes:
  - {id: 0, name: background, colour: [0, 0, 0]}
  - {id: 1, name: fat, colour: [240, 200, 90]}
  - {id: 2, name: kidney, colour: [200, 95, 35], sources: [kidney_left, kidney_right]}
order: [kidney]
unlisted: background
"""
SOURCE = "name: heads\nlabels:\n  0: background\n  2: white_matter\n  530: optic_nerve\n"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "table.yaml"
        path.write_text(text)
        return path

    return write


def test_a_class_table(file):
    taxonomy = load_taxonomy(file(TABLE))
    assert taxonomy.ids == {0: "background", 1: "fat", 2: "kidney"}
    assert taxonomy.class_of("kidney_right") == taxonomy.class_of("kidney") == 2
    assert taxonomy.class_of("tail") == taxonomy.class_of(None) == 0
    assert taxonomy.paint_order() == (0, 1, 2)


def test_without_unlisted_an_unknown_name_has_no_class(file):
    taxonomy = load_taxonomy(file(TABLE.replace("unlisted: background", "")))
    assert taxonomy.class_of("tail") is None
    assert taxonomy.class_of(None) is None


def test_classes_that_the_order_leaves_out_lie_below_by_id(file):
    text = TABLE.replace("order: [kidney]", "order: [fat]")
    assert load_taxonomy(file(text)).paint_order() == (0, 2, 1)


def test_ids_of_files_may_have_gaps_and_exceed_255(file):
    assert load_label_source(file(SOURCE)) == {
        0: "background",
        2: "white_matter",
        530: "optic_nerve",
    }


def test_a_class_table_serves_as_a_label_source(file):
    assert load_label_source(file(TABLE)) == {0: "background", 1: "fat", 2: "kidney"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("id: 2", "id: 5"), "class ids must be 0, 1, 2, ... in order. Received: [0, 1, 5]"),
        (("id: 2", "id: 256"), "classes.2.id: Input should be less than or equal to 255"),
        (("name: fat", "name: kidney"), "class names must be unique. Duplicated: ['kidney']"),
        (("name: fat", "name: kidney_left"), "one class only. Duplicated: ['kidney_left']"),
        (("[kidney]\n", "[liver]\n"), "order names unknown classes ['liver']"),
        (("[kidney]\n", "[kidney, kidney]\n"), "order must name each class at most once"),
        (("[kidney]\n", "[background]\n"), "order must not name class 0 (background)"),
        (("unlisted: background", "unlisted: air"), "unlisted names unknown classes ['air']"),
        (("unlisted:", "unlistet:"), "unlistet: unknown key"),
        (("95, 35]", "95, 350]"), "classes.2.colour.2: Input should be less than or equal to 255"),
        (("95, 35]", "95]"), "classes.2.colour.2: is required"),
        (("name: kidney,", "name: '',"), "classes.2.name: String should have at least 1 char"),
        (("name: abdomen", "{"), "is not valid YAML"),
        (("order: [kidney]", "name: chest"), "line 7 has the key 'name' a second time"),
    ],
)
def test_what_is_wrong_with_a_class_table_is_told(file, change, message):
    assert change[0] in TABLE
    path = file(TABLE.replace(*change))
    with pytest.raises(UserError) as caught:
        load_taxonomy(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_one_line_for_each_problem(file):
    text = TABLE.replace("95, 35]", "95, 350]").replace("id: 1", "id: one")
    with pytest.raises(UserError) as caught:
        load_taxonomy(file(text))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "  classes.1.id",
        "  classes.2.colour.2",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("530", "3000000000"), "labels.3000000000: Input should be less than 2147483648"),
        (("530", "-3000000000"), "labels.-3000000000: Input should be greater than or equal to"),
        (("530", "eye"), "labels.eye: Input should be a valid integer"),
        (("optic_nerve", "true"), "labels.530: Input should be a valid string. Received: True"),
        (("530", "2"), "line 5 has the key '2' a second time"),
        (("labels:", "names:"), "labels: is required"),
    ],
)
def test_what_is_wrong_with_a_label_source_is_told(file, change, message):
    assert change[0] in SOURCE
    with pytest.raises(UserError) as caught:
        load_label_source(file(SOURCE.replace(*change)))
    assert message in str(caught.value)


def test_yaml_may_share_parts(file):
    text = "common: &common {0: air, 1: fat}\nname: x\nlabels: {<<: *common, 1: liver, 2: bone}\n"
    with pytest.raises(UserError, match="common: unknown key"):
        load_label_source(file(text))
    text = "name: x\nlabels: {<<: {0: air, 1: fat}, 1: liver}\n"
    assert load_label_source(file(text)) == {0: "air", 1: "liver"}


@pytest.mark.parametrize("key", ["[1, 2]", "{a: b}", "!!python/name:os.system"])
def test_strange_keys_are_refused(file, key):
    with pytest.raises(UserError, match=r"table\.yaml is not"):
        load_label_source(file(f"name: x\nlabels: {{{key}: liver}}\n"))


def test_a_label_source_is_no_class_table(file):
    with pytest.raises(UserError, match=r"is a label source \(it has labels\), not a class table"):
        load_taxonomy(file(SOURCE))


def test_other_files_are_refused(file, tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nothing\.yaml: No such file"):
        load_taxonomy(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match=r"must contain a class table: .* Received: list"):
        load_label_source(file("[1, 2]"))
    (tmp_path / "table.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_label_source(tmp_path / "table.yaml")
