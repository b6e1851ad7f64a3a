"""One function over many items, here or in other processes."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medusis_tf.data.preparing import processes
from medusis_tf.data.preparing.processes import in_processes
from medusis_tf.errors import UserError

ROOT = Path(__file__).parents[3]

SCRIPT = """
import signal
# A shell that starts the tests in the background ignores interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
import os, sys, time
from medusis_tf.data.preparing import processes
from medusis_tf.data.preparing.processes import in_processes
processes._SECONDS_TO_SAVE = 0.0
from medusis_tf.errors import UserError

def work(number):
    if number == 2:
        raise UserError("two is odd here")
    if sys.argv[1] == "die" and number == 5:
        os._exit(1)
    if sys.argv[1] == "wait" and number > 1:
        time.sleep(600)
    return number * number, os.getpid()

if __name__ == "__main__":
    print(os.getpid())
    try:
        for number, result in in_processes(work, range(6), 2):
            print(number, *(result if isinstance(result, tuple) else ["error", result]), flush=True)
    except UserError as error:
        print(error)
    except KeyboardInterrupt:
        print("interrupted")
"""


def start(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, how]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def half(number):
    if number % 2:
        raise UserError(f"{number} is odd")
    return number // 2


@pytest.mark.parametrize(("count", "jobs"), [(5, 1), (3, 8), (0, None), (1, None)])
def test_few_items_or_one_job_stay_in_this_process(count, jobs):
    here = []
    results = dict(in_processes(lambda n: here.append(os.getpid()) or half(n), range(count), jobs))
    assert list(results) == list(range(count))
    assert here == [os.getpid()] * count
    for number, result in results.items():
        assert str(result) == (f"{number} is odd" if number % 2 else str(number // 2))


def test_other_exceptions_are_raised():
    with pytest.raises(ZeroDivisionError):
        list(in_processes(lambda n: 1 // n, [1, 0], 1))


def test_processes_give_numbered_results_and_errors(tmp_path):
    process = start(tmp_path, "work")
    out, _ = process.communicate(timeout=120)
    parent, *lines = out.splitlines()
    rows = sorted(line.split(maxsplit=2) for line in lines)
    assert rows.pop(2) == ["2", "error", "two is odd here"]
    assert [row[:2] for row in rows] == [[str(n), str(n * n)] for n in (0, 1, 3, 4, 5)]
    here = [row[0] for row in rows if row[2] == parent]
    assert here == ["0"]  # the first shows how long an item takes


@pytest.mark.parametrize("first", ["quick", "damaged"])
def test_one_quick_item_does_not_keep_all_others_here(monkeypatch, first):
    elsewhere = []

    def record(function, items, number, jobs):
        elsewhere.append((number, jobs))
        return iter(())

    def work(item):
        if item == 0 and first == "damaged":
            raise UserError("damaged")
        time.sleep(0.01 if item == 0 else 0.1)

    monkeypatch.setattr(processes, "_elsewhere", record)
    monkeypatch.setattr(processes, "_SECONDS_TO_SAVE", 0.2)
    list(in_processes(work, range(8), 2))
    assert elsewhere == [(2, 2)]


@pytest.mark.parametrize(
    ("seconds", "count", "jobs", "expected"),
    [
        (math.inf, 100, 8, False),  # nothing is known yet
        (0.1, 8, 2, False),
        (2.0, 8, 2, True),
        (60.0, 1, 8, False),
        (60.0, 2, 8, True),
        (60.0, 8, 1, False),
        (0.5, 11, 2, False),  # saves 2.75 s
        (0.5, 12, 2, True),  # saves 3 s
    ],
)
def test_processes_are_started_where_they_save_seconds(seconds, count, jobs, expected):
    assert processes._is_worth_it(seconds, count, jobs) == expected


def test_the_death_of_a_process_is_reported_with_a_remedy(tmp_path):
    out, _ = start(tmp_path, "die").communicate(timeout=120)
    assert "a process that read volumes died" in out.splitlines()[-1]
    assert "--jobs 1" in out


def test_no_process_outlives_a_killed_parent(tmp_path):
    process = start(tmp_path, "wait")
    for _ in ("process", "first item, worked on here"):
        process.stdout.readline()
    worker = int(process.stdout.readline().split()[-1])
    process.kill()
    process.communicate(timeout=60)
    end = time.monotonic() + 30
    while alive(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(worker)


def test_an_interrupt_ends_all_processes_quietly(tmp_path):
    process = start(tmp_path, "wait")
    for _ in ("process", "first item, worked on here"):
        process.stdout.readline()
    worker = int(process.stdout.readline().split()[-1])
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    assert not alive(worker)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
