"""Every source of real volumes through `python -m medusis_tf.prepare`, as a user would."""

import filecmp
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medusis_tf.commands.prepare import prepare
from medusis_tf.commands.prepare_brain import prepare_brain
from medusis_tf.commands.segment_ct import segment_ct
from medusis_tf.config.taxonomy import load_label_source, load_taxonomy
from medusis_tf.data.shards.shards import Shards
from tests.command_runner import run_command, user_error
from tests.data.dicom_files import write_series

TS = "totalsegmentator"
CT, CT_CROP, MR = (f"{TS}/example_{name}.nii.gz" for name in ("ct", "ct_sm", "mr_sm"))
CT_LABELS, CROP_LABELS = f"{TS}/example_seg_fast_force_split.nii.gz", f"{TS}/example_seg.nii.gz"
CORD = "spinalcord_mr"
TWO_CLASSES = [
    {"id": 0, "name": "background", "colour": [0, 0, 0]},
    {"id": 1, "name": "cord", "colour": [200, 0, 0]},
]
WINDOW = {"name": "window", "lower": -160, "upper": 240}


@pytest.fixture
def tables(request):
    return request.config.rootpath / "configs" / "taxonomies"


@pytest.fixture
def abdomen(shared_data, tables, tmp_path):
    """Values of a configuration: the classes of the thesis, from those of TotalSegmentator."""
    return {
        "root": str(shared_data),
        "cache_dir": str(tmp_path / "cache"),
        "taxonomy": str(tables / "synthrad31.yaml"),
        "label_sources": {"ts": str(tables / "totalsegmentator_v2.yaml")},
        "field_of_view_mm": [400, 400],
    }


@pytest.fixture
def native(shared_data, tmp_path):
    """Values of a configuration: two classes, the volumes' own pixels."""
    return {
        "root": str(shared_data),
        "cache_dir": str(tmp_path / "cache"),
        "classes": TWO_CLASSES,
        "field_of_view_mm": None,
        "image_size": [64, 64],
        "minimum_foreground": 0,
    }


def entry(subject, split="train", **volumes):
    return {"subject": subject, "split": split, **volumes}


def write_config(folder, data):
    path = folder / "experiment.yaml"
    text = {"name": "real", "data": data, "generator": {"name": "oasis"}}
    path.write_text(yaml.safe_dump({**text, "training": {"steps": 1}}))
    return path


def prepared(folder, *options, **data):
    """What `prepare` says, and the shards that its report lies beside."""
    config = write_config(folder, data)
    status, out, err = run_command(prepare, "--config", config, "--jobs", 1, *options)
    assert (status, err) == (0, ""), err
    report = re.search(r"^report: (.+)/report\.html ", out, re.MULTILINE)
    assert report, out
    assert (Path(report[1]) / "report.html").stat().st_size > 10_000
    return out, Shards.open(Path(report[1]))


def ids_in(path):
    return set(np.unique(np.asarray(nib.load(path).dataobj)).astype(int).tolist())


def test_label_maps_of_ct_and_mr_of_another_body(abdomen, shared_data, tables, tmp_path):
    subjects = [entry("ct", label_map=CT_LABELS, label_source="ts"), entry("mr", image=MR)]
    out, shards = prepared(tmp_path, **abdomen, subjects=subjects)
    assert "ct: kept 112 of 112 slices" in out and "  warning" not in out
    # Organs are less than the body, which the mask loss would miss.
    assert "the bodies in the training images are" in out and "loss_weights.mask=0" in out
    table = load_taxonomy(tables / "synthrad31.yaml")
    names = load_label_source(tables / "totalsegmentator_v2.yaml")
    before = {table.class_of(names[id_]) for id_ in ids_in(shared_data / CT_LABELS) - {0}} | {0}
    after = set(np.unique(shards.read("ct").label_map).tolist())
    assert len(after) > 15 and after <= before
    assert shards.read("mr").image.min() == -1


def test_a_folder_of_masks_is_the_map_that_they_make(abdomen, tmp_path):
    whole = entry("whole", label_map=f"{TS}/example_seg_fast.nii.gz", label_source="ts")
    masks = entry("masks", label_map=f"{TS}/masks_fast")
    _, shards = prepared(tmp_path, **abdomen, subjects=[whole, masks, entry("mr", image=MR)])
    merged, expected = shards.read("masks"), shards.read("whole")
    np.testing.assert_array_equal(merged.label_map, expected.label_map)
    np.testing.assert_array_equal(merged.body_mask, expected.body_mask)


def test_tissues_merged_below_organs_are_prepared_as_they_are(
    abdomen, shared_data, tables, tmp_path
):
    out = tmp_path / "merged.nii.gz"
    folder = shared_data / TS
    table, names = tables / "synthrad31.yaml", tables / "totalsegmentator_v2.yaml"
    inputs = ["--labels", folder / "example_seg_fast.nii.gz", "--label-source", names]
    inputs += ["--tissue-types", folder / "tissue_types", "--taxonomy", table, "--out", out]
    status, _, err = run_command(segment_ct, *inputs)
    assert status == 0, err
    abdomen |= {"root": str(tmp_path), "field_of_view_mm": None}
    (tmp_path / "mr.nii.gz").write_bytes((shared_data / MR).read_bytes())
    subjects = [entry("ct", label_map=out.name), entry("mr", image="mr.nii.gz")]
    _, shards = prepared(tmp_path, **abdomen, subjects=subjects)
    assert set(np.unique(shards.read("ct").label_map).tolist()) == ids_in(out)


def test_a_ct_as_dicom_gives_the_slices_of_the_nifti(abdomen, shared_data, tmp_path):
    image = nib.load(shared_data / CT)
    write_series(tmp_path / "series", np.asarray(image.dataobj).astype(np.int16), image.affine)
    for name in (CT, CT_LABELS):
        (tmp_path / name.split("/")[1]).write_bytes((shared_data / name).read_bytes())
    labels = {"label_map": CT_LABELS.split("/")[1], "label_source": "ts"}
    subjects = [entry("dicom", image="series", **labels), entry("nifti", image="example_ct.nii.gz")]
    abdomen |= {"root": str(tmp_path), "intensity": WINDOW, "remove_background": "image_body"}
    _, shards = prepared(tmp_path, **abdomen, subjects=subjects)
    dicom, nifti = shards.read("dicom"), shards.read("nifti")
    np.testing.assert_array_equal(dicom.image, nifti.image)
    assert np.all(nifti.image[:, :8] == -1)


def test_volumes_that_lie_where_their_headers_do_not_say(abdomen, tmp_path):
    labels = {"label_map": CROP_LABELS, "label_source": "ts"}
    abdomen["intensity"] = WINDOW
    out, _ = prepared(tmp_path, **abdomen, subjects=[entry("trap", image=CT, **labels)])
    assert "+82 axial slices (+246 mm)" in out and "data.pair_by=voxel" in out
    subjects = [entry("crop", image=CT_CROP, **labels)]
    out, shards = prepared(tmp_path, **abdomen, pair_by="voxel", subjects=subjects)
    assert "  warning" not in out
    slices = shards.read("crop")
    assert slices.image[slices.label_map == 9].mean() > slices.image[slices.label_map == 4].mean()


@pytest.mark.parametrize(
    ("name", "labels", "size", "kept"),
    [
        ("t1/t1w", "t1/t1w_seg-manual", 128, 77),
        ("t2s/t2s_uncropped", "t2s/t2s_uncropped_gmseg_manual", 512, 11),
        ("mt/mt1", "mt/mt1_seg", 64, 5),
    ],
)
def test_native_pixels_of_the_cord_are_those_in_the_file(
    native, shared_data, tmp_path, name, labels, size, kept
):
    native["image_size"] = [size, size]
    files = {"image": f"{CORD}/{name}.nii.gz", "label_map": f"{CORD}/{labels}.nii.gz"}
    _, shards = prepared(tmp_path, **native, subjects=[entry("cord", **files)])
    slices = shards.read("cord")
    assert len(slices.label_map) == kept
    stored = np.asarray(nib.load(shared_data / files["label_map"]).dataobj)
    assert np.count_nonzero(slices.label_map) == np.count_nonzero(stored)


def test_every_problem_is_told_and_the_good_subject_is_kept(native, tmp_path):
    mask, image = f"{CORD}/mt/mt1_seg.nii.gz", f"{CORD}/mt/mt1.nii.gz"
    vertebrae = f"{CORD}/t2/t2_seg-manual_labeled.nii.gz"
    subjects = [
        entry("soft", label_map=f"{CORD}/mt/mt1_gmseg.nii.gz", image=image),
        entry("infinite", label_map=mask, image=f"{CORD}/mt/mtr.nii.gz"),
        entry("fine", label_map=mask, image=image),
        entry("grids", label_map=f"{CORD}/t1/t1w_seg-manual.nii.gz", image=image),
        entry("ids", label_map=vertebrae, image=f"{CORD}/t2/t2.nii.gz"),
    ]
    config = write_config(tmp_path, native | {"subjects": subjects})
    said = user_error(prepare, "--config", config, "--check", "--jobs", 1)
    assert not (tmp_path / "cache").exists()
    lines = said.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [
        *("subject soft", "subject infinite", "subject grids", "subject ids")
    ]
    assert "is not a label map" in lines[0] and "Threshold" in lines[0]
    assert "NaN or infinite" in lines[1] and "data.reading.not_finite=replace" in lines[1]
    assert "one voxel grid" in lines[2] and "mm" in lines[2]
    assert "not in data.classes: 2, 3, 4, 5" in lines[3] and "label_source" in lines[3]
    assert lines[4].startswith("4 of 5 subjects cannot be used")
    assert user_error(prepare, "--config", config, "--jobs", 1).splitlines()[:4] == lines[:4]
    fixed = native | {"subjects": [subjects[2]]}
    assert "1 of 1 subjects were converted before" in prepared(tmp_path, **fixed)[0]


def test_an_mr_given_as_ct_is_a_warning(shared_data, tables, tmp_path):
    image = "sts_ct_mr/STS_034/MR_T1_image.nii.gz"
    data = {
        "root": str(shared_data),
        "cache_dir": str(tmp_path / "cache"),
        "taxonomy": str(tables / "tissue5.yaml"),
        "field_of_view_mm": [160, 160],
        "subjects": [entry("wrong", ct=image, image=image)],
    }
    out, _ = prepared(tmp_path, **data)
    expected = "it contains nothing below data.tissue.body_hu=-300, so no air"
    assert f"warning: label map: {expected}" in out


@pytest.fixture
def heads(shared_data, tables, tmp_path):
    """Values of a configuration: two heads, T1 and label map each."""
    return {
        "root": str(shared_data),
        "taxonomy": str(tables / "brain20.yaml"),
        "label_sources": {"dlmuse": str(tables / "dlmuse.yaml")},
        "pairing": "paired",
        "field_of_view_mm": [256, 256],
        "subjects": [
            entry(
                name,
                label_map=f"ixi_t1_dlmuse/dlmuse/{name}-T1_ds_DLMUSE.nii.gz",
                image=f"ixi_t1_dlmuse/t1/{name}-T1_ds.nii.gz",
                label_source="dlmuse",
            )
            for name in ("IXI012-HH-1211", "IXI013-HH-1212")
        ],
    }


@pytest.mark.parametrize(
    ("intensity", "axis"),
    [
        *(("percentile", axis) for axis in ("axial", "coronal", "sagittal")),
        *((name, "axial") for name in ("min_max", "z_score", "nyul", "window")),
        *(("slice_min_max", axis) for axis in ("axial", "sagittal")),
    ],
)
def test_intensities_and_axes(heads, tmp_path, intensity, axis):
    ends = {"lower": 0, "upper": 2000} if intensity == "window" else {}
    heads |= {"axis": axis, "intensity": {"name": intensity, **ends}}
    _, shards = prepared(tmp_path, cache_dir=str(tmp_path / "cache"), **heads)
    for subject in heads["subjects"]:
        slices = shards.read(subject["subject"])
        brain = slices.image[slices.label_map > 0]
        assert -0.6 < brain.mean() < 0.9 and brain.std() > 0.05
        white, csf = (slices.image[slices.label_map == id_].mean() for id_ in (3, 1))
        assert white > csf


def test_two_runs_give_the_same_bytes(heads, tmp_path):
    first, second = (
        prepared(tmp_path, cache_dir=str(tmp_path / name), **heads)[1] for name in "ab"
    )
    names = [*sorted(path.name for path in first.folder.glob("*.npy")), "manifest.json"]
    assert len(names) == 4
    assert filecmp.cmpfiles(first.folder, second.folder, names, False) == (names, [], [])
    out, _ = prepared(tmp_path, cache_dir=str(tmp_path / "a"), **heads)
    assert "using the slices prepared in" in out


@pytest.mark.parametrize("bits", [8, 16])
def test_exported_png_comes_back_as_a_source(heads, tmp_path, bits):
    heads["subjects"] = heads["subjects"][:1]
    cache = {"cache_dir": str(tmp_path / "cache")}
    png = tmp_path / "png"
    options = ["--export-png", png, "--png-bits", bits]
    _, shards = prepared(tmp_path, *options, **cache, **heads)
    source = entry("again", label_map="train/labels", image="train/images")
    ends = {"name": "window", "lower": 0, "upper": 2**bits - 1}
    heads |= {"root": str(png), "subjects": [source], "intensity": ends, "field_of_view_mm": None}
    out, read = prepared(tmp_path, **cache, **heads)
    assert "1 mm is assumed" in out
    before, after = shards.read("IXI012-HH-1211"), read.read("again")
    np.testing.assert_array_equal(after.label_map, before.label_map)
    np.testing.assert_allclose(after.image, before.image, rtol=0, atol=1.01 / (2**bits - 1))


def test_the_brain_experiment_from_its_manifest(shared_data, request, tmp_path):
    manifest, config = tmp_path / "brain.csv", "configs/brain_labels_to_t1.yaml"
    status, _, err = run_command(prepare_brain, "--root", shared_data, "--out", manifest)
    assert status == 0, err
    overrides = [f"data.root={shared_data}", f"data.manifest={manifest}", "data.cache=memory"]
    options = ["--config", request.config.rootpath / config, "--jobs", 1, *overrides, "--check"]
    status, out, err = run_command(prepare, *options)
    assert (status, err) == (0, ""), err
    assert re.search(r"^13 subjects, \d+ slices, 0 warnings$", out, re.MULTILINE), out
