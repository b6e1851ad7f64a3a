import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from medusis_tf.errors import UserError
from medusis_tf.reports.data import report as data_report
from medusis_tf.reports.data.report import chosen_subjects, write_data_report
from tests.reports.data.prepared_data import prepared_data, prepared_subject, source
from tests.training.tiny_experiment import CLASSES

EVIL = "<script>alert('1')</script> & <img src=x onerror=alert(2)>"
VOID = {"meta", "br", "img", "col"}


class Page(HTMLParser):
    """Every element's attributes, the text, and whether elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("title", "style"):
            self.words.append(data)

    @property
    def text(self):
        """All words, with plain spaces, minus and multiplication signs."""
        plain = re.sub(r"\s+", " ", " ".join(self.words))
        return plain.replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}", "x")

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def images(self, alt):
        found = []
        for attributes in self.all("img"):
            if attributes["alt"].startswith(alt):
                encoded = attributes["src"].partition("base64,")[2]
                found.append(Image.open(io.BytesIO(base64.b64decode(encoded))))
        return found


def label_slices(number=4, classes=(0, 1, 2, 3)):
    stack = np.zeros((number, 32, 32), np.uint8)
    for place, class_id in enumerate(classes):
        stack[:, 8 * place : 8 * (place + 1)] = class_id
    return stack


def image_slices(number=4, level=0.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.1, (number, 32, 32))
    return np.clip(level + noise, -1, 1).astype(np.float32)


def report(tmp_path, subjects, name="experiment", **changes):
    data, shards = prepared_data(tmp_path / "cache", subjects, **changes)
    path = tmp_path / "report.html"
    write_data_report(data, shards, path, name)
    return Page(path.read_text(encoding="utf-8"))


def usual():
    return [
        prepared_subject("ct_1", label_slices(5)),
        prepared_subject("mr_1", image=image_slices(7), patient="p9"),
        prepared_subject("test_1", label_slices(3), image_slices(3), split="test"),
    ]


def test_numbers_match_the_manifest(tmp_path):
    text = report(tmp_path, usual()).text
    assert "train 2 2 5 of 1 subject 7 of 1 subject" in text
    assert "test 1 1 3 of 1 subject 3 of 1 subject" in text
    assert "5 of 20" in text and "7 of 20" in text and "3 of 20" in text
    assert "mr_1 patient p9" in text
    assert "RAS, 80 x 64 x 20, 2 x 2 x 5 mm, 123 kB" in text
    assert "0 800" in text  # what -1 and 1 stand for
    assert "Warnings None." in text


def test_the_settings_are_at_the_top(tmp_path):
    page = report(tmp_path, usual(), pairing="disjoint", field_of_view_mm=[64, 96])
    for said in (
        "experiment", "disjoint", "axial", "32 x 32 pixels", "64 x 96 mm", "2 x 3 mm pixels",
        "percentiles 0.5 and 99.5 of each volume become -1 and 1", "less than 1 % foreground",
        str(tmp_path / "cache"),
    ):  # fmt: skip
        assert said in page.text
    assert "do not share it as if it were synthetic" in page.text


def test_the_file_loads_nothing_and_runs_nothing(tmp_path):
    page = report(tmp_path, usual())
    assert not page.all("script") and not page.all("link")
    for _, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href"):
                assert value.startswith(("data:image/", "#"))
    written = (tmp_path / "report.html").read_text()
    assert not re.search(r"(https?:)?//\w|url\(|@import", re.sub('base64,[^"]*', "", written))
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_markup_in_names_is_escaped(tmp_path):
    subjects = usual()
    subjects[0] = prepared_subject(
        "ct_1",
        label_slices(),
        warnings=(EVIL,),
        sources={f"overlay:{EVIL}": source(f"{EVIL}.nii.gz", axes="<b>")},
    )
    classes = [*CLASSES[:4], {"id": 4, "name": EVIL, "colour": [1, 2, 3]}]
    page = report(tmp_path, subjects, name=EVIL, classes=classes)
    assert not page.all("script") and not page.all("b")
    assert all("onerror" not in attributes for attributes in page.all("img"))
    # Heading, warning, role and path of the file, class chart and legend.
    assert page.text.count(EVIL) == 6


def test_warnings_are_listed_by_subject_at_the_top(tmp_path):
    subjects = usual()
    subjects[1] = prepared_subject(
        "mr_1", image=image_slices(), warnings=("first warning", "second warning")
    )
    text = report(tmp_path, subjects).text
    assert "2 in total, for 1 of 3 subjects." in text
    assert "mr_1 first warning second warning" in text
    assert text.index("second warning") < text.index("Source files")


def test_a_subject_without_slices_is_a_warning_and_has_no_sheet(tmp_path):
    empty = prepared_subject("hollow", label_slices(0))
    page = report(tmp_path, [*usual(), empty])
    assert "hollow none of its 20 slices was kept" in page.text
    assert "0 of 20" in page.text
    # Among the warnings, in the table of subjects and in the path of its file.
    assert page.text.count("hollow") == 3


def test_all_data_without_slices_can_be_reported(tmp_path):
    subjects = [
        prepared_subject("a", label_slices(0)),
        prepared_subject("b", image=image_slices(0), split="test"),
    ]
    assert "none of its 20 slices was kept" in report(tmp_path, subjects).text


def test_class_frequencies(tmp_path):
    few = label_slices(2, (0, 0, 1, 1))
    few[0, 0, 0] = 4
    subjects = [
        prepared_subject("ct_1", few),
        prepared_subject("ct_2", label_slices(2, (0, 0, 0, 2))),
        prepared_subject("mr_1", image=image_slices()),
        prepared_subject("test_1", label_slices(2), image_slices(2), split="test"),
    ]
    page = report(tmp_path, subjects)
    table = page.text.split("Class frequencies")[1].split("Intensities")[0]
    train, test = table.split("test: label maps and images, 1 subject")
    assert "train: label maps, 2 subjects" in train
    assert "0 background 1 fat 2 soft_tissue 3 bone (never in training) 4 tumour" in train
    # Class 1 in training: half of the pixels of two of four slices; class 4: one pixel of 4096.
    assert "pixels subjects 62.5 % 2/2 25 % 1/2 12.5 % 1/2 none 0.024 % 1/2" in train
    assert "pixels subjects 25 % 1/1 25 % 1/1 25 % 1/1 25 % 1/1 none" in test
    assert "class 3 (bone) occurs in test, but in no training label map" in page.text


def test_a_class_that_never_occurs_is_marked_without_a_warning(tmp_path):
    page = report(tmp_path, usual())
    assert "4 tumour (never in training)" in page.text
    assert page.text.count("25 % 1/1 none") == 2
    assert "Warnings None." in page.text


def test_label_maps_of_the_image_domain_are_counted_separately(tmp_path):
    subjects = [
        prepared_subject("ct_1", label_slices()),
        prepared_subject("mr_1", label_slices(2), image_slices(2), streams=["image"]),
    ]
    text = report(tmp_path, subjects).text
    assert "train: label maps, 1 subject" in text
    assert "train: images, 1 subject" in text


def test_a_report_of_images_alone_has_no_class_table(tmp_path):
    page = report(tmp_path, [prepared_subject("mr_1", image=image_slices())])
    assert "Class frequencies" not in page.text
    assert len(page.images("image of slice")) == 4


def test_a_report_of_label_maps_alone_has_no_intensities(tmp_path):
    page = report(tmp_path, [prepared_subject("ct_1", label_slices())])
    assert "Intensities percentile" in page.text  # The setting.
    assert "networks see them" not in page.text
    assert page.images("image of slice") == []


def test_contact_sheets_show_the_colours_and_greys_of_the_slices(tmp_path):
    page = report(tmp_path, usual())
    colours = [entry["colour"] for entry in CLASSES]
    label_map = np.asarray(page.images("label map of slice 2")[0].convert("RGB"))
    assert label_map.shape == (128, 128, 3)
    for place in range(4):
        assert (label_map[32 * place : 32 * (place + 1)] == colours[place]).all()
    (image,) = page.images("image of slice 8")  # The last of mr_1.
    assert abs(np.asarray(image).mean() - 127.5) < 3


def test_slices_have_their_physical_aspect_ratio(tmp_path):
    page = report(tmp_path, usual(), field_of_view_mm=[100, 200])
    assert page.images("label map")[0].size == (128, 64)


def test_at_most_ten_slices_are_spread_evenly(tmp_path):
    page = report(tmp_path, [prepared_subject("ct_1", label_slices(28), depth=40)])
    shown = [a["alt"] for a in page.all("img")]
    places = [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]
    assert shown == [f"label map of slice {place}" for place in places]


def test_the_edge_of_the_body_mask_lies_over_the_image(tmp_path):
    mask = np.zeros((2, 32, 32), bool)
    mask[:, 8:24, 8:24] = True
    page = report(tmp_path, [prepared_subject("a", label_slices(2), image_slices(2), mask)])
    outlines = page.images("edge of the body mask")
    assert len(outlines) == 2
    seen = np.asarray(outlines[0].convert("RGBA"))[..., 3] > 0
    edge = np.zeros((128, 128), bool)
    edge[32:96, 32:96], edge[33:95, 33:95] = True, False
    np.testing.assert_array_equal(seen, edge)


def test_an_outlier_is_named_first_in_both_charts(tmp_path):
    subjects = [
        prepared_subject(f"mr_{i}", image=image_slices(seed=i, level=0.6 if i == 5 else -0.4))
        for i in range(9)
    ]
    page = report(tmp_path, subjects)
    charts = page.text.split("9 subjects with images")[1].split("Spacings")[0]
    legends = re.findall(r"(?:mr_\d )+median", charts)
    assert len(legends) == 2
    assert all(legend.startswith("mr_5 ") for legend in legends)


def test_spacings_and_axes(tmp_path):
    subjects = [prepared_subject(f"ct_{i}", label_slices()) for i in range(4)]
    far = prepared_subject(
        "ct_4",
        label_slices(),
        volume_spacing_mm=(2.0, 2.0, 8.0),
        sources={"label_map": source("l.nii", axes="LPS")},
    )
    text = report(tmp_path, [*subjects, far]).text
    assert "minimum median maximum 2 mm 2 mm 2 mm 2 mm 2 mm 2 mm 5 mm 5 mm 8 mm" in text
    assert "Outliers of label maps, foot to head: ct_4 8 mm" in text
    assert "label map RAS x 4 LPS x 1" in text


def test_many_subjects_are_sampled_and_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(data_report, "MAXIMUM_SHEETS", 6)
    subjects = [
        prepared_subject(f"mr_{i:02d}", image=image_slices(2), warnings=("odd",) * (i in (7, 20)))
        for i in range(30)
    ]
    data, shards = prepared_data(tmp_path / "cache", subjects)
    write_data_report(data, shards, tmp_path / "report.html")
    assert len(shards.was_read) == 6
    assert {"mr_00", "mr_07", "mr_20", "mr_29"} <= set(shards.was_read)
    text = Page((tmp_path / "report.html").read_text()).text
    assert "6 of 30 subjects with slices are shown" in text
    assert "30 subjects with images; 6 drawn" in text
    assert "train 30 30 0 of 0 subjects 60 of 30 subjects" in text


def test_the_choice_leaves_half_to_subjects_without_warnings():
    subjects = [prepared_subject(f"s{i}", label_slices(1)).record for i in range(40)]
    warned = [f"s{i}" for i in range(20)]
    chosen = [entry.subject for entry in chosen_subjects(subjects, warned, 8)]
    assert chosen[:4] == ["s0", "s1", "s2", "s3"]
    assert len(chosen) == 8 and chosen[-1] == "s39"
    assert chosen == [entry.subject for entry in chosen_subjects(subjects, warned, 8)]


def test_two_reports_of_one_folder_are_the_same(tmp_path):
    data, shards = prepared_data(tmp_path, usual())
    for name in ("a.html", "b.html"):
        write_data_report(data, shards, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_unwritable_report_is_a_user_error(tmp_path):
    data, shards = prepared_data(tmp_path, usual())
    with pytest.raises(UserError, match=r"cannot write the report .*missing/report\.html: No such"):
        write_data_report(data, shards, tmp_path / "missing" / "report.html")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write the report .*report\.html"):
        write_data_report(data, shards, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "report.html"]
