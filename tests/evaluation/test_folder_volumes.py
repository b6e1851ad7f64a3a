import json

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.commands.synthesize import synthesize
from medusis_tf.config.data import Subject
from medusis_tf.data.preparing.preparation import slice_in_memory
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.evaluation.folder_volumes import FolderVolumes
from medusis_tf.evaluation.mask_ids import MaskIds
from medusis_tf.methods.experiment import load_config
from medusis_tf.serving.exporter import painter_of_run
from tests.command_runner import run_command, user_error
from tests.data.volume_files import AXIS_ORDERS, lps_affine
from tests.data.volume_files import write_nifti as write_placed
from tests.evaluation.made_subjects import changed_config, made_subject
from tests.serving.small_run import SHAPE, ellipses, make_model, make_run, write_nifti

SPACING_MM = (2.5, 2.5, 5.0)
# Origin of the volumes of small_run; volumes of other tools can be larger, or shifted.
ORIGIN = (30, 20, -100)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def data(run_dir):
    return load_config(run_dir / "config.yaml").data


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def slices(folder, data, kind="image", name="d", first=0, count=SHAPE[2]):
    subject = made_subject(np.zeros((count, 32, 32)), name, first)
    return FolderVolumes(folder, kind, data, "test").slices(subject)


def say_scale(path, source, scaled=(-1, 1)):
    path.write_text(json.dumps({"intensity": {"source": source, "scaled": scaled}}))


def inside(images):
    """The part of slices of 32x32 pixels that shows a volume of the small run."""
    return images[:, 6:26, 4:28]


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SLP", "PIR", "IAL"])
def test_a_volume_in_any_orientation_gives_the_same_slices(axes, folder, data, noise):
    write_nifti(folder / "d.nii.gz", noise, axes)
    say_scale(folder / "d.json", [0, 200])
    found = slices(folder, data)
    assert found.dtype == np.float32
    expected = np.clip(noise / 100 - 1, -1, 1).transpose(2, 1, 0)
    np.testing.assert_allclose(inside(found), expected, atol=1e-5)
    around = np.ones((32, 32), bool)
    around[6:26, 4:28] = False
    assert (found[:, around] == -1).all()


def test_masks_keep_their_ids_in_every_orientation(folder, data):
    label_map = ellipses(3)
    for axes in AXIS_ORDERS[::7]:
        write_nifti(folder / "d.nii.gz", label_map, axes)
        found = slices(folder, data, "label_map", first=1, count=3)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(inside(found), label_map.transpose(2, 1, 0)[1:4])


def test_a_real_image_in_the_folder_is_what_the_data_set_holds(run_dir, folder, data):
    (folder / "d.nii.gz").write_bytes((data.root / "d_mr.nii.gz").read_bytes())
    shards = slice_in_memory(data)
    [subject] = LabelledSubjects(shards, data, "test")
    found = FolderVolumes(folder, "image", data, "test").slices(subject)
    # The data set is stored in 65536 levels.
    np.testing.assert_allclose(found, subject.image, atol=2e-5)


@pytest.mark.parametrize("name", ["slice_min_max", "nyul", "z_score", "min_max"])
def test_without_a_scale_images_are_scaled_as_real_images(name, run_dir, folder, tmp_path):
    path = changed_config(run_dir, tmp_path / "config.yaml", intensity={"name": name})
    data = load_config(path).data
    (folder / "d.nii.gz").write_bytes((data.root / "d_mr.nii.gz").read_bytes())
    [subject] = LabelledSubjects(slice_in_memory(data), data, "test")
    found = FolderVolumes(folder, "image", data, "test").slices(subject)
    np.testing.assert_allclose(found, subject.image, atol=2e-5)


def test_the_scale_of_an_image_precedes_that_of_the_folder(folder, data, noise):
    write_nifti(folder / "d.nii.gz", noise)
    say_scale(folder / "intensity.json", [0, 400])
    by_folder = inside(slices(folder, data))
    np.testing.assert_allclose(by_folder, noise.transpose(2, 1, 0) / 200 - 1, atol=1e-5)
    (folder / "d.json").write_text('{"Modality": "MR"}')  # of another tool, about other things
    np.testing.assert_array_equal(inside(slices(folder, data)), by_folder)
    say_scale(folder / "d.json", [0, 200])
    assert inside(slices(folder, data)).max() == pytest.approx(noise.max() / 100 - 1, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        '{"intensity": 3}',
        '{"intensity": {"source": [0, 1]}}',
        '{"intensity": {"source": [1, 0], "scaled": [-1, 1]}}',
        '{"intensity": {"source": [0, 1], "scaled": [0, 255]}}',
    ],
)
def test_a_broken_scale_is_reported(text, folder, data, noise):
    write_nifti(folder / "d.nii.gz", noise)
    (folder / "d.json").write_text(text)
    with pytest.raises(UserError, match=r"d\.json does not define the intensities of -1 and 1"):
        slices(folder, data)


def test_the_background_is_evaluated_too(run_dir, folder, noise, tmp_path):
    path = changed_config(run_dir, tmp_path / "config.yaml", remove_background="image_body")
    write_nifti(folder / "d.nii.gz", noise)
    say_scale(folder / "d.json", [0, 200])
    found = inside(slices(folder, load_config(path).data))
    np.testing.assert_allclose(found.mean(), noise.mean() / 100 - 1, atol=1e-3)


def test_slices_are_counted_in_the_overlap_of_label_map_and_image(data, folder, noise, tmp_path):
    root = tmp_path / "data"
    label_map = ellipses(3).astype(np.uint8)
    write_placed(root / "l.nii", label_map, lps_affine(SPACING_MM, ORIGIN), "RAS")
    # The image begins two slices above the label map, and three columns further left.
    shifted = np.add(ORIGIN, [-3 * 2.5, 0, 2 * 5])
    write_placed(root / "i.nii", noise[3:, :, 2:] * 7, lps_affine(SPACING_MM, shifted))
    write_placed(folder / "d.nii", noise, lps_affine(SPACING_MM, ORIGIN), "PIR")
    entry = Subject(subject="d", split="test", label_map="l.nii", image="i.nii")
    changes = {"root": root, "subjects": (entry,), "minimum_foreground": 0.0}
    data = data.model_copy(update=changes)
    [evaluated] = LabelledSubjects(slice_in_memory(data), data, "test")
    assert evaluated.label_map.shape == (4, 32, 32)
    images = FolderVolumes(folder, "image", data, "test").slices(evaluated)
    # Percentiles do not change with a factor; the given image is a seventh as bright.
    np.testing.assert_allclose(images, evaluated.image, atol=2e-5)
    masks = tmp_path / "masks"
    write_placed(masks / "d.nii", label_map, lps_affine(SPACING_MM, ORIGIN), "SLA")
    own = FolderVolumes(masks, "label_map", data, "test").slices(evaluated)
    np.testing.assert_array_equal(own, evaluated.label_map)


def test_a_larger_volume_on_the_same_voxels_is_cut(folder, data, noise):
    write_nifti(folder / "d.nii.gz", noise)
    expected = slices(folder, data, first=1, count=3)
    larger = np.pad(noise, [(2, 1), (0, 0), (3, 0)], mode="edge")
    affine = lps_affine(SPACING_MM, np.subtract(ORIGIN, [-2 * 2.5, 0, 3 * 5]))
    write_placed(folder / "d.nii.gz", larger, affine, "RAS")
    np.testing.assert_allclose(slices(folder, data, first=1, count=3), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("cut", "origin", "spacing", "message"),
    [
        (np.s_[:, :, 1:], (30, 20, -95), SPACING_MM, r"shows only \(24, 20, 5\) of the"),
        (np.s_[:, 2:], (30, 15, -100), SPACING_MM, r"shows only \(24, 18, 6\) of the"),
        (
            np.s_[:],
            (34.05, 20, -100),
            SPACING_MM,
            r"shows only a part of .*up to \[2.8, 0.0, 0.0\] mm",
        ),
        (np.s_[:], ORIGIN, (2.5, 2.5, 4), r"shows only a part of .*up to \[0.0, 0.0, 3.0\] mm"),
        (np.s_[:], (3000, 20, -100), SPACING_MM, "do not overlap"),
        (np.s_[:], (3001, 20, -100), SPACING_MM, r"does not overlap \S+d_labels.nii.gz"),
    ],
)
def test_a_volume_that_shows_something_else_is_refused(
    cut, origin, spacing, message, folder, data, noise
):
    write_placed(folder / "d.nii.gz", noise[cut], lps_affine(spacing, origin))
    with pytest.raises(UserError, match=message) as caught:
        slices(folder, data)
    assert "subject d: " in str(caught.value)
    assert "d.nii.gz" in str(caught.value)


def test_a_volume_on_another_grid_is_resampled_and_the_log_says_so(folder, data, caplog):
    """Of a linear field, linear interpolation is exact."""

    def field(spacing, shape, origin):
        x, y, z = np.indices(shape)
        x, y, z = (
            first + sign * mm * index
            for first, sign, mm, index in zip(origin, (-1, -1, 1), spacing, (x, y, z), strict=True)
        )
        return (100 + x + 0.5 * y + 0.3 * z).astype(np.float32)

    write_placed(
        folder / "d.nii.gz", field(SPACING_MM, SHAPE, ORIGIN), lps_affine(SPACING_MM, ORIGIN)
    )
    say_scale(folder / "d.json", [0, 200])
    expected = slices(folder, data)
    spacing, origin = (1.7, 2.1, 3.1), (30.4, 20.2, -101)
    array = field(spacing, (36, 24, 11), origin)
    write_placed(folder / "d.nii.gz", array, lps_affine(spacing, origin), "PIR")
    caplog.set_level("INFO")
    np.testing.assert_allclose(slices(folder, data), expected, atol=1e-4)
    [line] = [record.getMessage() for record in caplog.records if "resampled" in record.message]
    assert line == (
        f"{folder / 'd.nii.gz'}: scaled by its JSON file; its 36 x 24 x 11 voxels of 1.7 x 2.1 x "
        "3.1 mm (axes PIR) are resampled onto the 24 x 20 x 6 of 2.5 x 2.5 x 5 mm of "
        "d_labels.nii.gz"
    )


def test_masks_on_a_finer_grid_keep_their_ids(folder, data):
    label_map = ellipses(3)
    finer = label_map.astype(np.uint8).repeat(5, 0).repeat(5, 1).repeat(5, 2)
    spacing = tuple(mm / 5 for mm in SPACING_MM)
    origin = (30 + 1, 20 + 1, -100 - 2)
    write_placed(folder / "d.nii.gz", finer, lps_affine(spacing, origin), "RAS")
    found = slices(folder, data, "label_map")
    np.testing.assert_array_equal(inside(found), label_map.transpose(2, 1, 0))


OTHER_IDS = np.array([0, 200, 70, 12])


@pytest.mark.parametrize("source", ["other_tool", "file"])
def test_masks_in_the_ids_of_another_tool(source, folder, data, tmp_path):
    names = {200: data.classes[1].name, 70: data.classes[2].name}
    sources = {"other_tool": names}
    if source == "file":
        source = str(tmp_path / "ids.yaml")
        labels = "".join(f"  {id_}: {name}\n" for id_, name in names.items())
        (tmp_path / "ids.yaml").write_text(f"name: ids\nlabels:\n{labels}")
        sources = {}
    data = data.model_copy(update={"label_sources": sources})
    label_map = ellipses(3)
    write_nifti(folder / "d.nii.gz", OTHER_IDS[label_map].astype(np.int16))
    subject = made_subject(np.zeros((SHAPE[2], 32, 32)), "d", 0)
    found = FolderVolumes(folder, "label_map", data, "test", MaskIds(source)).slices(subject)
    np.testing.assert_array_equal(inside(found), label_map.transpose(2, 1, 0))
    with pytest.raises(UserError, match=r"d.nii.gz contains id 200.*--label-source NAME or FILE"):
        FolderVolumes(folder, "label_map", data, "test")
    more = OTHER_IDS[label_map].astype(np.int16)
    more[label_map == 0] = 12
    write_nifti(folder / "d.nii.gz", more)
    with pytest.raises(UserError, match="ids without a class: 12"):
        FolderVolumes(folder, "label_map", data, "test", MaskIds(source))
    ids = MaskIds(source, unlisted=data.classes[0].name)
    found = FolderVolumes(folder, "label_map", data, "test", ids).slices(subject)
    np.testing.assert_array_equal(inside(found), label_map.transpose(2, 1, 0))


def test_folders_of_one_class_masks_are_masks(folder, data):
    label_map = ellipses(3)
    (folder / "d").mkdir()
    for entry in data.classes[1:]:
        mask = (label_map == entry.id).astype(np.uint8)
        write_nifti(folder / "d" / f"{entry.name}.nii.gz", mask, "SLP")
    found = slices(folder, data, "label_map")
    np.testing.assert_array_equal(inside(found), label_map.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (MaskIds("no_table"), r"there is no label source no_table: .*Known: none"),
        (MaskIds(unlisted="bones"), r"--unlisted must be a class of the configuration"),
    ],
)
def test_a_meaning_that_does_not_exist_is_refused(ids, message, folder, data):
    write_nifti(folder / "d.nii.gz", ellipses(3))
    with pytest.raises(UserError, match=message):
        FolderVolumes(folder, "label_map", data, "test", ids)


def test_headers_are_ignored_with_pair_by_voxel(run_dir, folder, noise, tmp_path):
    data = load_config(changed_config(run_dir, tmp_path / "c.yaml", pair_by="voxel")).data
    write_placed(folder / "d.nii.gz", noise, lps_affine((1, 1, 1)))
    say_scale(folder / "d.json", [0, 200])
    found = inside(slices(folder, data))
    expected = np.clip(noise / 100 - 1, -1, 1).transpose(2, 1, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The same stored voxels under a header that would turn them by 180 degrees.
    write_placed(folder / "d.nii.gz", noise, np.eye(4))
    np.testing.assert_array_equal(inside(slices(folder, data)), found)
    write_placed(folder / "d.nii.gz", noise[:, :, 1:], lps_affine((1, 1, 1)))
    with pytest.raises(UserError, match=r"volumes of the same shape.*\(24, 20, 5\)"):
        slices(folder, data)


@pytest.mark.parametrize("name", ["d.mha", "d.nrrd", "d.mgz"])
def test_images_of_every_format_are_read(name, folder, data, noise):
    write_placed(folder / "d.nii.gz", noise, lps_affine(SPACING_MM, ORIGIN))
    say_scale(folder / "d.json", [0, 200])
    expected = slices(folder, data)
    if name == "d.mgz":
        nib.save(nib.MGHImage.from_image(nib.load(folder / "d.nii.gz")), folder / name)
    else:
        itk = pytest.importorskip("SimpleITK")
        itk.WriteImage(itk.ReadImage(str(folder / "d.nii.gz")), str(folder / name))
    (folder / "d.nii.gz").unlink()
    np.testing.assert_allclose(slices(folder, data), expected, atol=1e-5)


def test_files_that_cannot_be_used_end_the_command(run_dir, folder, noise, tmp_path):
    def message():
        config = run_dir / "config.yaml"
        return user_error(
            evaluate, "--images", folder, "--data", config, "--out", tmp_path / "out"
        )  # fmt: skip

    assert "no volume of subject d. Give d.nii.gz" in message()
    (folder / "d.nii.gz").write_bytes(b"no volume")
    assert "d.nii.gz" in message()
    write_nifti(folder / "d.nii.gz", np.full(SHAPE, 3.0))
    assert "almost constant" in message()
    array = noise.copy()
    array[3, 3, 3] = np.nan
    write_nifti(folder / "d.nii.gz", array)
    assert "d.nii.gz" in message()
    write_nifti(folder / "d.nii.gz", noise)
    write_nifti(folder / "d.nii", noise)
    assert "has d.nii.gz and d.nii" in message()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert f"there is no folder {folder}" in message()
    assert not (tmp_path / "out").exists()


def test_all_subjects_without_a_file_are_reported_at_once(data, folder):
    entries = [Subject(subject=name, split="test", label_map="l.nii") for name in ("x", "y")]
    data = data.model_copy(update={"subjects": tuple(entries)})
    with pytest.raises(UserError, match=r"(?s)subject x.*subject y"):
        FolderVolumes(folder, "image", data, "test")


def test_a_synthesized_volume_equals_the_images_of_the_run(run_dir, folder, data, tmp_path_factory):
    run_command(
        synthesize, "--model", make_model(tmp_path_factory), "--label-map",
        data.root / "d_labels.nii.gz", "--out", folder / "d.nii", "--seed", 5,
    )  # fmt: skip
    [subject] = LabelledSubjects(slice_in_memory(data), data, "test")
    found = FolderVolumes(folder, "image", data, "test").slices(subject)
    painter = painter_of_run(run_dir)
    painted = painter.paint(subject.label_map, painter.draw_noise(5))
    assert inside(painted).std() > 0.1
    np.testing.assert_allclose(inside(found), inside(painted), atol=1e-5)


def test_metrics_of_a_model_and_of_its_volumes_are_the_same(
    run_dir, folder, tmp_path, tmp_path_factory
):
    """On volumes as large as the slices: what lies outside a volume is not in its file."""
    root, model = tmp_path / "data", make_model(tmp_path_factory)
    root.mkdir()
    pad = [(4, 4), (6, 6), (0, 0)]
    subjects = []
    for number, name in enumerate("pq"):
        label_map = np.pad(ellipses(number), pad)
        mr = np.array([10.0, 400.0, 150.0])[label_map]
        write_nifti(root / f"{name}.nii.gz", label_map, "SLP")
        write_nifti(
            root / f"{name}_mr.nii.gz", mr + np.random.default_rng(0).normal(0, 5, mr.shape)
        )
        entry = {"subject": name, "label_map": f"{name}.nii.gz", "image": f"{name}_mr.nii.gz"}
        subjects.append(entry | {"split": "test" if name == "q" else "train"})
    config = changed_config(run_dir, tmp_path / "config.yaml", root=str(root), subjects=subjects)
    run_command(
        synthesize, "--model", model, "--label-map", root / "q.nii.gz", "--out",
        folder / "q.nii.gz", "--seed", 3,
    )  # fmt: skip
    evaluated = {}
    for name, options in {
        "model": ["--model", model, "--seeds", 3],
        "images": ["--images", folder],
    }.items():
        out = tmp_path / name
        status, printed, failure = run_command(
            evaluate, *options, "--data", config, "--out", out, "--no-baselines", "--no-audit"
        )
        assert status == 0, (printed, failure)
        evaluated[name] = json.loads((out / "metrics.json").read_text())["methods"][0]
    values = {name: dict(flat(method)) for name, method in evaluated.items()}
    assert values["model"].keys() == values["images"].keys()
    assert len(values["model"]) > 50
    for name, value in values["model"].items():
        if isinstance(value, float):
            assert values["images"][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def flat(content, name=""):
    """Every value of a method by its path."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from flat(value, f"{name}/{key}")
    else:
        yield name, content
