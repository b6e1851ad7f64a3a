"""Manifests, patterns and splits: what a user may write, and what a mistake is answered with."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medusis_tf.config.subject_globs import expand_globs
from medusis_tf.config.subject_manifest import assign_splits, read_manifest
from medusis_tf.errors import UserError


def manifest(tmp_path, text, name="subjects.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


CT = {
    "subject": "a",
    "split": "train",
    "patient": "p1",
    "ct": "a/ct.nii.gz",
    "overlays": {"tumour": "a/t.nii.gz", "node": "a/n.nii.gz"},
    "image": "a/mr.nii.gz",
    "streams": ["label_map"],
}
MAP = {"subject": "b", "split": "test", "label_map": "b.nii.gz", "label_source": "totalseg"}
CSV = """subject,split,patient,ct,overlays,image,streams,label_map,label_source
a,train,p1,a/ct.nii.gz,tumour=a/t.nii.gz;node=a/n.nii.gz,a/mr.nii.gz,label_map,,
b,test,,,,,,b.nii.gz,totalseg
"""
YAML = """
- {subject: a, split: train, patient: p1, ct: a/ct.nii.gz, image: a/mr.nii.gz,
   overlays: {tumour: a/t.nii.gz, node: a/n.nii.gz}, streams: [label_map]}
- {subject: b, split: test, label_map: b.nii.gz, label_source: totalseg, image: , ct: null}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", CSV),
        ("s.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()),
        ("s.csv", "\n" + CSV.replace("\n", "\n,,\n\n").replace("b,test", ' b , "test"')),
        (
            "s.csv",
            CSV.replace("tumour=a/t.nii.gz;node", '"tumour=a/t.nii.gz; node').replace(
                "a/n.nii.gz,", 'a/n.nii.gz",'
            ),
        ),
        ("s.yaml", YAML),
        ("s.yml", "subjects:\n" + YAML),
    ],
)
def test_every_way_to_write_a_manifest_gives_the_same_subjects(tmp_path, name, text):
    assert read_manifest(manifest(tmp_path, text, name)) == [CT, MAP]


@pytest.mark.parametrize("name", ["s.csv", "s.yaml"])
def test_names_stay_as_they_are_written(tmp_path, name):
    text = "subject,image\n001,no\n" if name == "s.csv" else "- {subject: 001, image: no}"
    assert read_manifest(manifest(tmp_path, text, name)) == [{"subject": "001", "image": "no"}]


def test_a_split_may_be_left_to_the_configuration(tmp_path):
    assert "split" not in read_manifest(manifest(tmp_path, "subject,image\na,a.nii\n"))[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header needs a column subject"),
        ("subject,split\n", "lists no subjects"),
        ("split,image\ntrain,a\n", "line 1: the header needs a column subject"),
        ("subject,lable_map\na,a\n", "line 1: unknown column 'lable_map'; did you mean label_map"),
        ("subject,modality\na,a\n", "unknown column 'modality'. Known: subject, split"),
        ("subject,image,image\na,a,b\n", "duplicate column image"),
        ("subject;split;image\na;train;x\n", "columns must be separated by commas"),
        ("subject,image\na,b,c\n", "line 2: more cells than columns. Surplus: .'c'."),
        ("subject,image\n\na,x\n,y\n", "line 4: subject: is required"),
        ("subject,image\na b,x\n", "line 2: subject: .*pattern.*Received: 'a b'"),
        ("subject,image\n../a,x\n", "line 2: subject: .*pattern.*Received: '../a'"),
        ("subject,image,split\na,x,val\n", "line 2: split: .*'validation'.* Received: 'val'"),
        ("subject,image\na,x\nb,y\na,z\n", "line 4: duplicate subject a, already in line 2"),
        (
            "subject,split\na,train\n",
            "line 2: subject a: needs at least one of label_map, ct and image",
        ),
        ("subject,image,streams\na,x,mr\n", "line 2: streams.0: .*'label_map' or 'image'"),
        ("subject,ct,overlays\na,x,tumour:y\n", "line 2: overlays must be written class=path"),
        (
            "subject,ct,overlays\na,x,t=y;t=z\n",
            "line 2: overlays must be written .* each class once",
        ),
        ('subject,image\na,"x\n', "line 2: not valid CSV"),
        (b"subject,image\n\xe4,x\n", "not UTF-8"),
    ],
)
def test_a_wrong_csv_is_named_by_file_and_line(tmp_path, text, message):
    path = manifest(tmp_path, text)
    with pytest.raises(UserError, match=f"(?s)^[^\n]*{path}.*{message}"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject: a", "must contain a list of subjects, or .* Received keys: .'subject'."),
        ("subjects: a", "must contain a list of subjects"),
        ("a", "must contain a list of subjects"),
        ("", "must contain a list of subjects"),
        ("[]", "lists no subjects"),
        ("- a", "line 1: a subject must have keys and values"),
        ("- {subject: a, imag: x}", "line 1: imag: unknown key; did you mean image?"),
        ("- {subject: a, image: x}\n- {image: y}", "line 2: subject: is required"),
        ("- {subject: a, image: [x}", "is not valid YAML"),
        ("- !!python/object:os.system {}", "is not valid YAML"),
    ],
)
def test_a_wrong_yaml_is_named_by_file_and_line(tmp_path, text, message):
    path = manifest(tmp_path, text, "s.yaml")
    with pytest.raises(UserError, match=f"(?s)^[^\n]*{path}.*{message}"):
        read_manifest(path)


def test_every_problem_gets_its_line_but_not_ten_thousand(tmp_path):
    rows = "".join(f"a{number},x,val\n" for number in range(100))
    with pytest.raises(UserError) as error:
        read_manifest(manifest(tmp_path, "subject,image,split\n" + rows))
    assert len(str(error.value).splitlines()) == 22
    assert str(error.value).endswith("... and 80 more")


@pytest.mark.parametrize("name", ["absent.csv", "subjects.xlsx"])
def test_a_file_that_is_no_manifest_is_named(tmp_path, name):
    with pytest.raises(UserError, match=name):
        read_manifest(tmp_path / name)


def test_patterns_find_files_and_folders_sorted(tmp_path):
    touch(tmp_path, "labels/b.nii.gz", "labels/a.nii.gz", "labels/.DS_Store", "mr/a_T1.nii.gz")
    touch(tmp_path, "mr/b_T1.nii.gz", "mr/b_T2.nii.gz", "dicom/s2/t1/1.dcm", "dicom/s1/t1/1.dcm")
    globs = [
        {"split": "train", "label_map": "labels/{subject}.nii.gz", "image": "mr/{subject}_T1.*"},
        {"image": "dicom/{subject}/t1", "streams": ["image"], "patient": "p_{subject}"},
    ]
    assert expand_globs(globs, tmp_path) == [
        {"subject": name, "split": "train"}
        | {"label_map": f"labels/{name}.nii.gz", "image": f"mr/{name}_T1.nii.gz"}
        for name in "ab"
    ] + [
        {"subject": name, "patient": f"p_{name}", "image": f"dicom/{name}/t1"}
        | {"streams": ["image"]}
        for name in ("s1", "s2")
    ]


def test_studies_of_several_patients_may_be_called_alike(tmp_path):
    touch(tmp_path, *(f"{p}/{s}/{f}.nii" for p in ("p1", "p2") for s in "xy" for f in ("ct", "t")))
    glob = {
        "subject": "{patient}_{subject}",
        "ct": "{patient}/{subject}/ct.nii",
        "overlays": {"tumour": "{patient}/{subject}/t.nii"},
    }
    entries = expand_globs([glob], tmp_path)
    assert [entry["subject"] for entry in entries] == ["p1_x", "p1_y", "p2_x", "p2_y"]
    assert [entry["patient"] for entry in entries] == ["p1", "p1", "p2", "p2"]
    assert entries[3]["overlays"] == {"tumour": "p2/y/t.nii"}


def test_a_name_that_repeats_in_a_pattern_is_one_name(tmp_path):
    touch(tmp_path, "a/a_ct.nii", "b/a_ct.nii", "x/c-c.nii", "x/c-d.nii")
    assert [e["ct"] for e in expand_globs([{"ct": "{subject}/{subject}_ct.nii"}], tmp_path)] == [
        "a/a_ct.nii"
    ]
    assert [e["ct"] for e in expand_globs([{"ct": "x/{subject}-{subject}.nii"}], tmp_path)] == [
        "x/c-c.nii"
    ]


def test_what_is_optional_may_be_missing(tmp_path):
    touch(tmp_path, "a/ct.nii", "a/mr.nii", "b/ct.nii")
    glob = {"ct": "{subject}/ct.nii", "image": "{subject}/mr.nii"}
    with pytest.raises(UserError, match=r"globs.0: no image \({subject}/mr.nii\) in .* for b\n"):
        expand_globs([glob], tmp_path)
    entries = expand_globs([{**glob, "optional": ["image"]}], tmp_path)
    assert ["image" in entry for entry in entries] == [True, False]
    with pytest.raises(UserError, match=r"no ct .* for c"):
        touch(tmp_path, "c/mr.nii")
        expand_globs([{**glob, "optional": ["image"]}], tmp_path)


@pytest.mark.parametrize(
    ("globs", "message"),
    [
        ([{"ct": "{subject}/mr.nii"}], "nothing in .* matches {subject}/mr.nii"),
        ([{"ct": "{subject}/ct.nii"}] * 2, "globs.1: subject a was already found by data.globs.0"),
        ([{"image": "{subject}/*.nii"}], "several files for subject a: a/ct.nii and a/u.nii"),
        ([{"ct": "*/ct.nii"}], "has no {subject}"),
        (
            [{"ct": "{name}/ct.nii"}],
            "contains the unknown placeholder {name}. Known: {subject}, {patient}",
        ),
        ([{"ct": "../{subject}/ct.nii"}], "leads out of data.root"),
        ([{"ct": "/{subject}/ct.nii"}], "leads out of data.root"),
        ([{"ct": "**/{subject}/ct.nii"}], r"contains \*\*. Write one \* for each folder"),
        ([{"cts": "{subject}/ct.nii"}], "globs.0: unknown key 'cts'; did you mean ct?"),
        ([{"split": "train"}], "globs.0 has no pattern"),
        ([{"ct": ["{subject}"]}], "globs.0.ct must be a text with a pattern"),
        (["{subject}"], "must be a mapping of keys to patterns. Received: '{subject}'"),
        (
            [{"ct": "{subject}/ct.nii", "overlays": "{subject}"}],
            "overlays must map classes to patterns",
        ),
        ([{"ct": "{subject}/ct.nii", "optional": "ct"}], "optional must be a list"),
        ([{"ct": "{subject}/ct.nii", "optional": ["cr"]}], "no pattern 'cr'. Known: ct"),
        (
            [{"ct": "{subject}/ct.nii", "patient": "{patient}"}],
            "a placeholder that no pattern defines",
        ),
    ],
)
def test_a_wrong_pattern_is_named(tmp_path, globs, message):
    touch(tmp_path, "a/ct.nii", "a/u.nii")
    with pytest.raises(UserError, match=message):
        expand_globs(globs, tmp_path)


def test_two_patients_behind_one_subject_are_refused(tmp_path):
    touch(tmp_path, "maps/labels/x.nii", "p1/x.nii", "p2/x.nii", "q/p2/x.nii")
    glob = {"label_map": "maps/labels/{subject}.nii", "image": "{patient}/{subject}.nii"}
    with pytest.raises(UserError, match=r"several files for subject x: p1/x.nii and p2/x.nii"):
        expand_globs([glob], tmp_path)
    roles = {"ct": "{patient}/{subject}.nii", "image": "q/{patient}/{subject}.nii"}
    with pytest.raises(UserError, match=r"no image .* for p1/x"):
        expand_globs([roles], tmp_path)


def test_links_do_not_lead_out_of_the_root(tmp_path):
    touch(tmp_path, "outside/a/ct.nii", "root/b/ct.nii")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside" / "a")
    with pytest.raises(UserError, match=r"a/ct.nii leads out of data.root"):
        expand_globs([{"ct": "{subject}/ct.nii"}], tmp_path / "root")


def test_a_root_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="absent is not a folder"):
        expand_globs([{"ct": "{subject}"}], tmp_path / "absent")


def people(number):
    return [{"subject": f"s{index}", "image": "x"} for index in range(number)]


def by_split(entries):
    return {
        split: {e["subject"] for e in entries if e["split"] == split}
        for split in ("train", "validation", "test")
    }


THREE = {"train": 0.8, "validation": 0.1, "test": 0.1}


@given(
    number=st.integers(0, 60),
    seed=st.integers(0, 9),
    parts=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9)),
)
def test_each_split_gets_its_share_and_none_stays_empty(number, seed, parts):
    splits = dict(zip(THREE, [part / sum(parts) for part in parts], strict=True))
    counts = {
        key: len(s) for key, s in by_split(assign_splits(people(number), splits, seed)).items()
    }
    assert sum(counts.values()) == number
    named = [name for name in splits if splits[name] > 0]
    filled = number >= len(named)
    for name in named:
        assert abs(counts[name] - splits[name] * number) <= (1 if min(counts.values()) > 1 else 2)
        assert counts[name] >= filled
    assert all(counts[name] == 0 for name in splits if name not in named)


def test_splits_do_not_depend_on_the_order_and_depend_on_the_seed():
    entries = people(50)
    chosen = by_split(assign_splits(entries, THREE, 0))
    entries = entries[25:] + entries[24::-1]
    assert by_split(assign_splits(entries, THREE, 0)) == chosen
    assert by_split(assign_splits(entries, THREE, 1)) != chosen


def test_adding_a_patient_moves_at_most_one_across_each_cut():
    before = assign_splits(people(40), THREE, 3)
    for number in range(41, 80):
        after = assign_splits(people(number), THREE, 3)
        moved = [
            (old["split"], new["split"])
            for old, new in zip(before, after, strict=False)
            if old["split"] != new["split"]
        ]
        assert len(moved) <= 2 and len(set(moved)) == len(moved)
        before = after


def test_a_patient_stays_whole_and_keeps_a_split_that_is_given():
    scans = [{"subject": f"s{i}", "patient": f"p{i // 3}", "image": "x"} for i in range(30)]
    scans[4]["split"] = "validation"
    after = assign_splits(scans, {"train": 0.5, "test": 0.5}, 0)
    splits = {patient: set() for patient in (entry["patient"] for entry in scans)}
    for entry in after:
        splits[entry["patient"]].add(entry["split"])
    assert splits["p1"] == {"validation"}
    assert all(len(found) == 1 for found in splits.values())
    assert [{**entry, "split": None} for entry in after] == [{**e, "split": None} for e in scans]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": 0.8, "test": 0.1}, "must sum to 1"),
        ({"train": 0.8, "val": 0.2}, "unknown split 'val'. Known: train, validation, test"),
        ({"train": 1.2, "test": -0.2}, "train must be from 0 to 1. Received: 1.2"),
        ({"train": "most", "test": 0.2}, "train must be from 0 to 1. Received: 'most'"),
        ({}, "must sum to 1"),
    ],
)
def test_wrong_fractions_are_named(splits, message):
    with pytest.raises(UserError, match=message):
        assign_splits(people(5), splits, 0)


def test_ten_thousand_subjects_are_listed_in_linear_work(tmp_path):
    # No clock: what would be quadratic would not end. The report of the issue has the times.
    subjects = [f"subject_{index:05d}" for index in range(10_000)]
    with (tmp_path / "s.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "label_map", "image"])
        writer.writerows([name, f"{name}/seg.nii.gz", f"{name}/mr.nii.gz"] for name in subjects)
    entries = assign_splits(read_manifest(tmp_path / "s.csv"), THREE, 0)
    assert [entry["subject"] for entry in entries] == subjects


def test_links_may_lead_out_of_the_root_on_request(tmp_path):
    touch(tmp_path, "outside/a/ct.nii", "root/b/ct.nii")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside" / "a")
    with pytest.raises(UserError, match=r"data\.follow_links=true"):
        expand_globs([{"ct": "{subject}/ct.nii"}], tmp_path / "root")
    found = expand_globs([{"ct": "{subject}/ct.nii"}], tmp_path / "root", follow_links=True)
    assert [entry["ct"] for entry in found] == ["a/ct.nii", "b/ct.nii"]


@pytest.mark.parametrize("name", ["ann b", "_hidden", "größe"])
def test_a_name_that_cannot_be_a_subject_names_its_file(name, tmp_path):
    touch(tmp_path, f"{name}/ct.nii", "good/ct.nii")
    with pytest.raises(UserError, match=rf"globs\.0: {name}/ct\.nii gives the subject name"):
        expand_globs([{"ct": "{subject}/ct.nii"}], tmp_path)
