"""Label maps of every format, and files that must not do harm."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medusis_tf as mt
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.reading import read_label_map
from medusis_tf.data.volumes.writing import StoredIntensities
from medusis_tf.server.settings import Refusal, ServerLimits
from medusis_tf.server.uploads import Upload, store
from tests.data.dicom_segments import write_seg
from tests.server.small_server import client, label_map_file, opened
from tests.serving.small_run import make_predictor

itk = pytest.importorskip("SimpleITK")
pytest.importorskip("pydicom")

LIMITS = ServerLimits()
SUFFIXES = ("nii", "nrrd", "mha", "mgh", "mgz", "zip")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with client(tmp_path_factory) as opened:
        yield opened


def in_format(folder, suffix):
    """The small label map in another format."""
    source = label_map_file(folder)
    path = folder / f"labels.{suffix}"
    if suffix == "zip":
        return zipped_series(source, path)
    if suffix in ("nrrd", "mha"):
        itk.WriteImage(itk.ReadImage(str(source)), str(path), useCompression=True)
    elif suffix in ("mgh", "mgz"):
        image = nib.load(source)
        nib.save(nib.MGHImage(np.asarray(image.dataobj), image.affine), path)
    else:
        nib.save(nib.load(source), path)
    return path


def zipped_series(source, path):
    from medusis_tf.data.volumes.dicom_writing import write_series

    label_map = read_label_map(source)
    stored = StoredIntensities(label_map.array.astype(np.uint16))
    write_series(path.parent / "series", stored, Grid.of(label_map), {}, (0, 2))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../README.txt", "exported")
        for file in sorted((path.parent / "series").iterdir()):
            archive.write(file, f"/etc/../{file.name}")
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_volume_of_its_nifti_file(
    server, tmp_path_factory, tmp_path, suffix
):
    path = in_format(tmp_path, suffix)
    query = f"seed=3&file_name=patient%2F..%2F{path.name.upper()}"
    for address in (f"/synthesize?{query}", "/synthesize?seed=3"):
        if "file_name" not in address and suffix in ("mgh", "mgz"):
            continue  # nothing in the file names its format
        answer = server.post(address, content=path.read_bytes())
        assert answer.status_code == 200, answer.text
        received = opened(answer.content, tmp_path)
        source = tmp_path / "series" if suffix == "zip" else path
        expected = mt.synthesize(make_predictor(tmp_path_factory), source, seed=3)
        np.testing.assert_allclose(received.affine, expected.affine, atol=1e-4)
        np.testing.assert_array_equal(received.get_fdata(), expected.get_fdata())


def test_a_dicom_file_alone_is_read(tmp_path):
    in_format(tmp_path, "zip")
    content = (tmp_path / "series" / "IM0003.dcm").read_bytes()
    path = store(Upload(content), tmp_path, LIMITS)
    assert path.name == "label_map.dcm"
    assert read_label_map(path).array.max() == 2


def test_a_dicom_seg_is_read_by_the_names_of_its_segments(server, tmp_path_factory, tmp_path):
    pytest.importorskip("highdicom")
    in_format(tmp_path, "zip")
    series = tmp_path / "series"
    ids = np.asarray(nib.load(label_map_file(tmp_path)).dataobj)
    path = write_seg(tmp_path / "seg.dcm", series, {"Fat": ids == 1, "muscle": ids == 2})
    expected = mt.synthesize(make_predictor(tmp_path_factory), path, seed=3)
    assert expected.shape[:2] == ids.shape[:2]
    answer = server.post("/synthesize?seed=3", content=path.read_bytes())
    assert answer.status_code == 200, answer.text
    received = opened(answer.content, tmp_path)
    np.testing.assert_array_equal(received.affine, expected.affine)
    np.testing.assert_array_equal(received.get_fdata(), expected.get_fdata())
    other = write_seg(tmp_path / "other.dcm", series, {"liver": ids == 1})
    answer = server.post("/synthesize", content=other.read_bytes())
    assert (answer.status_code, "segments without a class: liver" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labels.png", "file_name must end in one of .nii, .nii.gz, .mgh, .mgz, .nrrd, .mha"),
        ("labels.mhd", "volumes of two files"),
        ("/etc/passwd", "file_name must end"),
        ("labels.zip", "cannot be read"),
        ("labels.nrrd", "no NRRD header"),
        ("labels.mha", "must contain its voxels"),
        ("labels.dcm", "DICOM"),
        ("labels.mgz", "the label map"),
    ],
)
def test_files_that_are_not_what_their_name_says(server, name, message):
    answer = server.post(f"/synthesize?file_name={name}", content=b"no volume of any kind " * 20)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "medusis-serve-" not in answer.text


MHA = (
    b"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
    b"ElementSpacing = 1 1 1\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
)


@pytest.mark.parametrize(
    "header",
    [
        MHA + b"ElementDataFile = %s\n",
        MHA + b"ElementDataFile: %s\n",
        MHA + b"Comment = ElementDataFile = LOCAL\nElementDataFile = %s\n",
        MHA.replace(b"Offset = 0 0 0", b"Offset = 0") + b"ElementDataFile = LOCAL\n"
        b"ElementDataFile = %s\n",
        b"Comment = " + b"x" * 2**20 + b"\n" + MHA + b"ElementDataFile = %s\n",
        MHA + b"ElementDataFile = LIST\n%s\n",
        MHA + b"HeaderSize = -1\nElementDataFile = LOCAL\n%s",
    ],
)
def test_metaimage_reads_no_other_file(tmp_path, header):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(8)))
    folder = tmp_path / "job"
    folder.mkdir()
    with pytest.raises(Refusal) as refusal:
        store(Upload(header.replace(b"%s", str(secret).encode()), "a.mha"), folder, LIMITS)
    assert refusal.value.status == 400


def test_fields_of_metaimage_are_written_anew(tmp_path):
    header = MHA.replace(b"NDims", b"Comment = a\rElementDataFile = /etc/passwd\r\nNDims")
    path = store(
        Upload(header + b"ElementDataFile = LOCAL\n" + bytes(range(8)), "a.mha"), tmp_path, LIMITS
    )
    assert b"passwd" not in path.read_bytes()
    np.testing.assert_array_equal(read_label_map(path).array.ravel(order="F"), np.arange(8))


NRRD = b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
NRRD += b"space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\nspace origin: (0,0,0)\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"data file: %s\n",
        b"datafile: %s\n",
        b"DATA FILE: %s\n",
        b"byte skip: -1\n",
        b"data file: LIST\n",
    ],
)
def test_nrrd_reads_no_other_file(tmp_path, lines):
    content = NRRD + lines.replace(b"%s", b"/etc/passwd") + b"\n" + bytes(8)
    with pytest.raises(Refusal, match="must contain its voxels"):
        store(Upload(content, "a.nrrd"), tmp_path, LIMITS)


def test_fields_of_nrrd_are_written_anew(tmp_path):
    more = b"# data file: /etc/passwd\nkey:=data file: /etc/passwd\nbyte skip: 0\n"
    names = "Segment0_Name:=Muskel\u00e4\nSegment0_LabelValue:=2\n".encode()
    path = store(Upload(NRRD + more + names + b"\n" + bytes(range(8))), tmp_path, LIMITS)
    assert b"passwd" not in path.read_bytes()
    assert names in path.read_bytes()
    np.testing.assert_array_equal(read_label_map(path).array.ravel(order="F"), np.arange(8))


def archive(entries, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as written:
        for name, content in entries:
            written.writestr(name, content)
    return stream.getvalue()


def test_archives_are_unpacked_by_number_and_no_further_than_the_limit(tmp_path):
    dicom = bytes(128) + b"DICM" + bytes(100)
    folder = tmp_path / "job"
    folder.mkdir()
    content = archive([("../../evil.dcm", dicom), ("/etc/passwd", b"x" * 200), ("a/b", dicom)])
    path = store(Upload(content), folder, LIMITS)
    assert [file.name for file in sorted(path.iterdir())] == ["00000.dcm", "00002.dcm"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["job"]
    bomb = archive([("bomb", bytes(65 * 2**20))])
    assert len(bomb) < 2**17
    assert refusal_of(bomb, tmp_path / "bomb", ServerLimits(voxels=1)).status == 413


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive([]), "no DICOM files"),
        (archive([("a.txt", b"text")]), "no DICOM files"),
        (archive([("name", b"text")]).replace(b"name", b"\0ame"), "cannot be read"),
        (archive([("a", b"text")], zipfile.ZIP_LZMA), "usual method"),
        (archive([("a", b"text" * 99)])[:-30], "cannot be read"),
        (archive([(str(number), b"") for number in range(2**14 + 1)]), "more than 16384 files"),
        (
            # Two end records: one for the check, one for the reader.
            b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 0, 0, 2**25, 0x06054B50, 0),
            "more than 16384 files",
        ),
    ],
    # Not the bytes themselves: an archive holds the time at which it was made.
    ids=["empty", "text", "nameless", "lzma", "truncated", "many_files", "announces_many"],
)
def test_broken_archives_are_refused(tmp_path, content, message):
    refusal = refusal_of(content, tmp_path / "job")
    assert message in refusal.message
    assert refusal.status in (400, 413)


def refusal_of(content, folder, limits=LIMITS):
    folder.mkdir()
    with pytest.raises(Refusal) as caught:
        store(Upload(content, "a.zip"), folder, limits)
    return caught.value


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "mgz", "nii.gz"])
def test_a_small_file_cannot_announce_a_large_volume(server, suffix):
    side = 400
    contents = {
        "mha": MHA.replace(b"DimSize = 2 2 2", b"DimSize = 400 400 400")
        + b"ElementDataFile = LOCAL\n",
        "nrrd": NRRD.replace(b"sizes: 2 2 2", b"sizes: 400 400 400") + b"\n",
        "mgz": gzip.compress(mgh_header(side)),
        "nii.gz": gzip.compress(
            nib.Nifti1Image(np.zeros([1, 1, 1], np.uint8), np.eye(4))
            .to_bytes()
            .replace(struct.pack("<4h", 3, 1, 1, 1), struct.pack("<4h", 3, side, side, side))
        ),
    }
    answer = server.post(f"/synthesize?file_name=a.{suffix}", content=contents[suffix])
    assert answer.status_code == 400
    assert "too short" in answer.json()["error"]


def test_a_small_file_cannot_announce_much_compressed_data(tmp_path):
    header = MHA + b"CompressedData = True\nCompressedDataSize = 999999999999999\n"
    upload = Upload(header + b"ElementDataFile = LOCAL\n" + bytes(8), "a.mha")
    with pytest.raises(Refusal, match="is cut: it has fewer than 999999999999999 bytes"):
        store(upload, tmp_path, LIMITS)


def mgh_header(side):
    image = nib.MGHImage(np.zeros([1, 1, 1], np.uint8), np.eye(4))
    return image.to_bytes()[:284].replace(
        struct.pack(">5i", 1, 1, 1, 1, 1), struct.pack(">5i", 1, side, side, side, 1)
    )


def test_formats_that_need_a_package_are_not_offered_without_it(monkeypatch, tmp_path):
    monkeypatch.setattr("medusis_tf.server.uploads.find_spec", lambda name: None)
    for name in ("a.nrrd", "a.mha", "a.dcm", "a.zip"):
        with pytest.raises(Refusal, match=f"cannot read {name[1:]} files. Send NIfTI"):
            store(Upload(b"content", name), tmp_path, LIMITS)
    assert store(Upload(b"content", "a.nii"), tmp_path, LIMITS) == Path(tmp_path / "label_map.nii")


def test_nothing_is_left_of_a_refused_archive(server, tmp_path):
    root = Path(server.app.state.jobs._folder.name)
    before = set(root.rglob("*"))
    content = archive([("a.dcm", bytes(128) + b"DICM" + bytes(100))])
    assert server.post("/synthesize", content=content).status_code == 400
    assert set(root.rglob("*")) <= before
