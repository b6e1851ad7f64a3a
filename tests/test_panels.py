import matplotlib.image
import numpy as np
import pytest

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.errors import UserError
from medusis_tf.panels import (
    PanelRow,
    colour_labels,
    panel,
    write_png,
)

CLASSES = (
    ClassEntry(id=0, name="background", colour=(0, 0, 0)),
    ClassEntry(id=1, name="fat", colour=(240, 200, 80)),
)


def row(value=0.5, size=64, title=""):
    label_map = np.zeros((size, size), np.uint8)
    label_map[size // 4 : size // 2] = 1
    return PanelRow(label_map, {"real MR": None, "EMA": np.full((size, size), value)}, title)


def has(image, colour):
    return np.all(image == colour, axis=-1).sum()


def test_labels_take_the_colours_of_their_classes():
    assert colour_labels(np.array([[1, 0]]), CLASSES).tolist() == [[[240, 200, 80], [0, 0, 0]]]


def test_pixels_are_repeated_and_grey_goes_from_minus_one_to_one():
    drawn = panel([row(value=0.5)], CLASSES)
    assert drawn.dtype == np.uint8
    # 64 pixels are shown three times as large; (0.5 + 1) * 127.5 rounds to 191.
    assert has(drawn, (191, 191, 191)) == (3 * 64) ** 2
    # A quarter of the label map, and its square of 14 pixels, edge included, in the legend.
    assert 3 * 16 * 3 * 64 < has(drawn, (240, 200, 80)) <= 3 * 16 * 3 * 64 + 14**2


@pytest.mark.parametrize(("value", "shown"), [(-1.5, 0), (-1, 0), (0, 128), (1, 255), (2, 255)])
def test_values_out_of_range_are_clipped(value, shown):
    assert has(panel([row(value)], CLASSES), (shown,) * 3) >= (3 * 64) ** 2


def test_three_channels_are_shown_as_they_are():
    image = np.broadcast_to(np.array([1.0, -1.0, 0.0]), (64, 64, 3))
    drawn = panel([PanelRow(None, {"image": image})], CLASSES)
    assert has(drawn, (255, 0, 128)) == (3 * 64) ** 2


def test_rows_are_below_each_other():
    one, two = (panel([row()] * count, CLASSES) for count in (1, 2))
    assert two.shape[0] - one.shape[0] == 3 * 64 + 6
    assert two.shape[1] == one.shape[1]


def test_many_classes_wrap_in_the_legend():
    classes = [
        ClassEntry(id=i, name=f"class number {i}", colour=(i, 200, 9 * i)) for i in range(20)
    ]
    drawn = panel([row()], classes)
    assert all(has(drawn, entry.colour) >= 100 for entry in classes)


def test_a_title_with_dollar_signs_is_plain_text():
    assert panel([row(title="$x$ \\frac")], CLASSES, title="$broken$ \\frac{").size


def test_rows_that_differ_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        panel([], CLASSES)
    with pytest.raises(ValueError, match=r"the same size.*\(32, 32\), \(64, 64\)"):
        panel([row(size=32), row(size=64)], CLASSES)
    with pytest.raises(ValueError, match="same images"):
        panel([row(), PanelRow(None, {"other": np.zeros((64, 64))})], CLASSES)


def test_png_is_written_whole(tmp_path):
    drawn = panel([row()], CLASSES, title="step 500")
    write_png(tmp_path / "panel.png", drawn)
    shown = matplotlib.image.imread(tmp_path / "panel.png")
    np.testing.assert_array_equal((shown[..., :3] * 255).round().astype(np.uint8), drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["panel.png"]


def test_unwritable_png_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*missing/panel.png: No such file"):
        write_png(tmp_path / "missing" / "panel.png", np.zeros((2, 2, 3), np.uint8))
