import pytest

from medusis_tf.reports import formatting as number_format

NARROW, MINUS = "\N{NARROW NO-BREAK SPACE}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1240.4, "1,240"),
        (0.05123, "0.0512"),
        (2.0, "2"),
        (-1024.0, f"{MINUS}1,024"),
        (999.96, "1,000"),
        (1e-7, "0.0000001"),
    ],
)
def test_significant_digits(value, text):
    assert number_format.significant(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.81416, "81.4"), (0.000025, "0.0025"), (1.0, "100"), (0.0512, "5.1"), (0.0, "0")],
)
def test_percent(fraction, text):
    assert number_format.percent(fraction) == f"{text}{NARROW}%"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (123_456, "123 kB"), (2e15, "2,000 TB")],
)
def test_file_size(num_bytes, text):
    assert number_format.file_size(num_bytes) == text.replace(" ", NARROW)


def test_lengths_and_sizes():
    assert number_format.millimetres(0.97656) == "0.98"
    assert number_format.millimetres(5.0) == "5"
    assert number_format.times([512, 512, 80]).replace("\N{MULTIPLICATION SIGN}", "x") == (
        "512 x 512 x 80"
    )
    assert number_format.count(-12345) == f"{MINUS}12,345"
