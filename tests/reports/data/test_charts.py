import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.reports.data.charts import class_chart, curve_chart, spacing_chart, spark_chart
from medusis_tf.reports.data.intensity_curves import NUM_BINS, IntensityCurves, SplitIntensities
from medusis_tf.reports.data.summary import ClassGroup, Spacings

NAMES = tuple(f"subject_with_a_long_name_{number:02d}" for number in range(20))
STAGE = "after scaling"


def split():
    shares = np.random.default_rng(0).dirichlet(np.ones(NUM_BINS), len(NAMES))
    curves = IntensityCurves(NAMES, -1.0, 1.0, shares)
    return SplitIntensities("train", {STAGE: curves}, NAMES[:6], NAMES)


def classes(number):
    return [ClassEntry(id=i, name=f"class $_{i}$", colour=(254, 1, 255 - i)) for i in range(number)]


def groups(number, pixels):
    subjects = tuple(min(1, count) for count in pixels)
    return [ClassGroup("train", "label maps", 1, tuple(pixels), subjects)] * number


def charts():
    spacings = Spacings("images", "foot to head", (2.0, 2.0, 2.001, 9.0), 2.0, ())
    return {
        "curves": curve_chart(split(), STAGE),
        "spark": spark_chart(split(), STAGE, NAMES[3]),
        "classes": class_chart(classes(3), groups(2, [10**6, 1, 0]), [2]),
        "spacings": spacing_chart([spacings]),
    }


def parse(svg):
    return ElementTree.fromstring(svg)  # noqa: S314


def texts(svg, tag="text"):
    return [element.text for element in parse(svg).iter(tag)]


@pytest.mark.parametrize("name", ["curves", "spark", "classes", "spacings"])
def test_charts_follow_the_style_of_the_page(name):
    svg = charts()[name]
    colours = set(re.findall(r"#[0-9a-f]{6}|var\(--[\w-]+\)", svg))
    fixed = {colour for colour in colours if colour.startswith("#")}
    assert len(colours) > len(fixed)
    assert fixed <= {"#fe01ff", "#fe01fe"}  # the colours of the classes
    assert not re.search(r"<style|clip-path|//|metadata|url\(", svg)
    root = parse(svg)
    assert [child.tag for child in root][:2] == ["title", "desc"]
    assert all(child.text for child in root[:2])
    references = {element.get("href", "#")[1:] for element in root.iter()} - {""}
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert set(ids) == references and len(ids) == len(references)


def test_charts_are_deterministic_and_leave_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    first = charts()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        assert charts() == first
    assert dict(matplotlib.rcParams) == before


def test_curves_name_the_subjects():
    svg = curve_chart(split(), STAGE)
    assert texts(svg)[-7:] == [*NAMES[:6], "median"]
    assert sorted(texts(svg, "title")[1:]) == sorted(NAMES)


def test_the_rarest_class_has_a_visible_bar():
    svg = class_chart(classes(2), groups(1, [10**9, 1]), [])
    path = re.search(r'<path d="M ([\d.]+) [\d.]+ L ([\d.]+) [^"]*" style="fill: #fe01fe', svg)
    assert path is not None
    assert float(path[2]) - float(path[1]) > 1
    assert "1  class $_1$" in texts(svg)


def test_many_classes_and_groups_fit():
    svg = class_chart(classes(118), groups(6, range(118)), [0])
    assert "117  class $_117$" in texts(svg)


def test_equal_spacings_share_a_dot():
    assert texts(charts()["spacings"], "title")[1:] == ["3 at about 2 mm", "1 at about 9 mm"]
