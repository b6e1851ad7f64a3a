"""What the data section of a configuration refuses, and what follows from it."""

import re

import pydantic
import pytest

from medusis_tf.config.data import DataConfig, Subject

CLASSES = [
    {"id": 0, "name": "background", "colour": [0, 0, 0]},
    {"id": 1, "name": "fat", "colour": [240, 200, 90]},
]
PAIR = {"subject": "a", "split": "train", "label_map": "a.nii", "image": "b.nii"}


def data(*subjects, **values):
    return DataConfig.model_validate({"classes": CLASSES, "subjects": subjects or [PAIR], **values})


def test_streams_are_what_volumes_there_are_unless_named():
    assert Subject(**PAIR).used_streams == ("label_map", "image")
    assert Subject(subject="a", split="train", ct="a").used_streams == ("label_map",)
    assert Subject(subject="a", split="train", image="a").used_streams == ("image",)
    assert Subject(**PAIR, streams=["image"]).used_streams == ("image",)
    assert Subject(**PAIR, streams=[]).used_streams == ()


def test_a_patient_may_have_scans_in_one_split_only():
    scans = [{**PAIR, "subject": f"s{i}", "patient": "p"} for i in range(3)]
    assert {entry.patient_name for entry in data(*scans).subjects} == {"p"}
    scans[2]["split"] = "test"
    with pytest.raises(pydantic.ValidationError, match=r"In several: \['p \(test, train\)'\]"):
        data(*scans)
    # A subject's name is its patient's, where none is given.
    with pytest.raises(pydantic.ValidationError, match=r"In several: \['a \(test, train\)'\]"):
        data(PAIR, {**PAIR, "subject": "b", "patient": "a", "split": "test"})


def test_disjoint_pairing_wants_no_patient_on_both_sides():
    label_map = {"subject": "l", "split": "train", "label_map": "l", "patient": "p"}
    image = {"subject": "i", "split": "train", "image": "i", "patient": "q"}
    held_out = {**PAIR, "split": "test"}
    data(label_map, image, held_out, pairing="disjoint")
    with pytest.raises(pydantic.ValidationError, match=r"patients \['p'\] provide label maps and"):
        data(label_map, {**image, "patient": "p"}, pairing="disjoint")
    with pytest.raises(pydantic.ValidationError, match=r"patients \['a'\] provide"):
        data(PAIR, label_map, image, pairing="disjoint")
    data({**PAIR, "streams": ["label_map"]}, image, pairing="disjoint")


@pytest.mark.parametrize(
    "values",
    [
        {"pairing": "paired_sampling"},
        {"pairing": "paired"},
        {"pairing": "semi_supervised", "paired_fraction": 0.5},
    ],
)
def test_paired_training_wants_a_pair(values):
    assert data(PAIR, **values).draws_pairs
    for pair in ({**PAIR, "streams": ["image"]}, {**PAIR, "split": "test"}):
        with pytest.raises(
            pydantic.ValidationError, match=f"pairing {values['pairing']} needs a training"
        ):
            data(pair, **values)


def test_the_paired_fraction_belongs_to_semi_supervised_training():
    needed = r"semi_supervised needs paired_fraction.*Received: pairing {}, paired_fraction {}"
    with pytest.raises(pydantic.ValidationError, match=needed.format("semi_supervised", "None")):
        data(PAIR, pairing="semi_supervised")
    for pairing in ("unpaired", "disjoint", "nearest_position", "paired_sampling", "paired"):
        entries = [PAIR] if "paired" in pairing else [{**PAIR, "streams": ["image"]}]
        data(*entries, pairing=pairing)
        with pytest.raises(pydantic.ValidationError, match=needed.format(pairing, "0.5")):
            data(*entries, pairing=pairing, paired_fraction=0.5)
    for fraction in (0, -0.5, 1.01):
        with pytest.raises(pydantic.ValidationError, match="paired_fraction"):
            data(PAIR, pairing="semi_supervised", paired_fraction=fraction)


def test_images_are_cut_to_label_maps_of_their_own_only():
    label_map = {"subject": "l", "split": "train", "label_map": "l"}
    images = [{"subject": f"i{i}", "split": "train", "image": "i"} for i in range(7)]
    data(PAIR, label_map, remove_background="label_map")
    data(PAIR, *images, remove_background="image_body")
    for bare, named in ((images[:1], r"\['i0'\]$"), (images, r"\['i0', .*'i4'\] and more$")):
        message = "needs a label map for every subject with an image. Missing for: " + named
        with pytest.raises(pydantic.ValidationError) as caught:
            data(PAIR, *bare, remove_background="label_map")
        assert re.search(message, caught.value.errors()[0]["msg"])


@pytest.mark.parametrize("value", [True, "body", None])
def test_how_the_background_is_found_must_be_said(value):
    with pytest.raises(pydantic.ValidationError, match="'image_body' or 'label_map'"):
        data(PAIR, remove_background=value)


@pytest.mark.parametrize("name", ["", "a b", "../a", ".a", "a/b", "ä", "a\n"])
def test_names_become_file_names(name):
    for key in ("subject", "patient"):
        with pytest.raises(pydantic.ValidationError, match="pattern"):
            Subject.model_validate({**PAIR, key: name})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": ["bone"]}, "order names unknown classes"),
        ({"unlisted": "bone"}, "unlisted names unknown classes"),
        ({"classes": [CLASSES[1], CLASSES[0]]}, "class ids must be 0, 1, 2"),
        ({"label_sources": {"tool": {-(2**32): "fat"}}}, "greater than or equal to"),
        ({"label_sources": {"tool": {2**31: "fat"}}}, "less than 2147483648"),
    ],
)
def test_tables_are_checked_where_they_are_used(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        data(**values)


def test_the_spacing_of_pixels_follows_from_the_field_of_view():
    config = data(image_size=(64, 128), field_of_view_mm=(128, 128))
    assert config.pixel_spacing_mm == (2, 1)
    assert data(field_of_view_mm=None).pixel_spacing_mm is None
