import errno
import os

import tensorflow as tf

from medusis_tf.errors import LONGEST_LINE, MOST_LINES, UserError, reason


def test_a_message_of_usual_size_stays():
    text = "a.yaml is not valid:\n  name: unknown"
    assert str(UserError(text)) == text


def test_long_lines_keep_their_start_and_end():
    text = str(UserError("the start " + "x" * 10_000 + " the end"))
    assert len(text) == LONGEST_LINE
    assert text.startswith("the start x")
    assert text.endswith("x the end")


def test_long_lists_end_with_their_number_of_lines():
    lines = str(UserError("\n".join(["problems:", *["  a"] * 500]))).split("\n")
    assert len(lines) == MOST_LINES
    assert lines[-1] == f"  ... and {501 - MOST_LINES + 1} more lines"


def test_the_reason_of_an_error_has_no_words_of_the_graph():
    text = "{{function_node __wrapped__SaveV2_/job:a}} /a/b; No space left on device [Op:SaveV2]"
    error = tf.errors.ResourceExhaustedError(None, None, text)
    assert reason(error) == "/a/b; No space left on device"
    assert reason(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == "No space left on device"
