"""Messages name the fields of a request, and nothing of the server."""

import ast
import gzip
import inspect
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.server.messages import in_fields
from tests.server.small_server import client, label_map_file
from tests.serving.small_run import ellipses

SOURCE = Path("/tmp/medusis-serve-x/y/label_map.nii.gz")  # noqa: S108


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"{SOURCE}: its ids are read", "its ids are read"),
        (f"{SOURCE} is too large. Crop it.", "the label map is too large. Crop it."),
        ("Give one of them with --label-source.", "Give one of them with label_source."),
        ("A. If so, give --label-source dlmuse", "A. If so, give label_source=dlmuse"),
        ("or --unlisted CLASS, such as fat", "or unlisted=CLASS, such as fat"),
        (
            "--truncation may only be 0. Use --start-level to change it.",
            "truncation may only be 0.",
        ),
        ("Crop it, or raise data.reading.maximum_voxels.", "Crop it."),
        ("It is empty. Check the path and data.root.", "It is empty."),
        ("It needs X. Install it: pip install 'medusis_tf[dicom]'.", "It needs X."),
        ("Set data.pair_by=voxel.", "the label map cannot be used."),
        ("a--b and -- are no flags", "a--b and -- are no flags"),
    ],
)
def test_messages_are_in_the_words_of_a_request(message, expected):
    assert in_fields(message, SOURCE) == expected


def test_no_message_of_the_readers_names_a_flag_or_setting():
    """All texts of the modules that a request reaches."""
    from medusis_tf.data.labels import remapping, segments
    from medusis_tf.data.volumes import (
        dicom,
        dicom_frames,
        dicom_seg,
        itk,
        nibabel_formats,
        nifti,
        nifti_header,
        rtstruct,
        stored_array,
        voxel_values,
    )
    from medusis_tf.serving import finer_label_map, grids, label_maps, label_meaning

    modules = (
        *(dicom, dicom_frames, dicom_seg, itk, nibabel_formats, nifti, nifti_header, rtstruct),
        *(stored_array, voxel_values, remapping, segments),
        *(finer_label_map, grids, label_maps, label_meaning),
    )
    private = re.compile(r"--[a-z]|\bdata\.[a-z]+|pip install|`medusis")
    seen = 0
    for module in modules:
        for text in texts(inspect.getsource(module)):
            seen += bool(private.search(text))
            assert not private.search(in_fields(text, SOURCE)), text
    assert seen > 15


def texts(source):
    """String literals of the messages; what they show of values is X."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "X" for part in node.values
            )


def test_fields_that_the_messages_name_help(tmp_path_factory, tmp_path):
    path = label_map_file(tmp_path)
    bare = bytearray(gzip.decompress(path.read_bytes()))
    bare[252:256] = bytes(4)  # qform_code, sform_code
    bare = bytes(bare)
    values = ellipses().astype(np.float32)
    values[0, 0] = np.nan
    holes = nib.Nifti1Image(values, nib.load(path).affine).to_bytes()
    with client(tmp_path_factory) as server:
        for content, field in ((bare, "assume_axes=RAS"), (holes, "not_finite=replace")):
            answer = server.post("/synthesize", content=content)
            assert answer.status_code == 400
            assert field.partition("=")[0] in answer.json()["error"]
            assert "data." not in answer.text
            answer = server.post(f"/synthesize?{field}", content=content)
            assert answer.status_code == 200, answer.text
        for query in ("assume_axes=LLS", "assume_axes=RA", "assume_axes=xyz", "not_finite=no"):
            answer = server.post(f"/synthesize?{query}", content=bare)
            assert (answer.status_code, query.partition("=")[0] in answer.text) == (400, True)
