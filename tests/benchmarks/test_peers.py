"""The comparison with other tools takes turns, judges honestly, and says what it lacks."""

import io
import json
import subprocess
import sys

import pytest

from benchmarks.isolation import REPOSITORY
from benchmarks.peer_cases import CASES, SIZES
from benchmarks.peer_turns import (
    WARM_UP_TURNS,
    Comparison,
    Worker,
    WorkerError,
    compare,
    take_turns,
    verdict,
)
from benchmarks.peer_worker import serve
from benchmarks.peers import PEER_PYTHON, measure, missing_environment, table

# Writes the name of each task to the file of its first argument; every call takes longer.
FAKE = """
import json, sys
count = 0
for line in sys.stdin:
    request = json.loads(line)
    if "prepare" in request:
        print(json.dumps({"tasks": ["fast"], "facts": {"got": request["prepare"]}}), flush=True)
        continue
    count += 1
    print(request["run"], file=open(sys.argv[1], "a"))
    if request["run"] == "broken":
        print(json.dumps({"error": "out of luck"}), flush=True)
    elif request["run"] == "deadly":
        sys.exit("gave up")
    else:
        print(json.dumps({"seconds": float(count), "cpu_seconds": 2.0 * count}), flush=True)
"""
COMPARISON = Comparison("fast beside slow", "fast", "slow", goal=2.0)


def fake(tmp_path, log="log"):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return Worker([sys.executable, str(script), str(tmp_path / log)])


def turns(ours, peer):
    def replies(seconds):
        return [{"seconds": each, "cpu_seconds": 10 * each} for each in seconds]

    return {("ours", "fast"): replies(ours), ("peer", "slow"): replies(peer)}


def test_both_sides_run_in_turns_one_at_a_time(tmp_path):
    others = [COMPARISON, Comparison("again", "fast", "other")]
    with fake(tmp_path) as ours, fake(tmp_path) as peer:
        found = take_turns({"ours": ours, "peer": peer}, others, repeats=1)
    turn = ["fast", "slow", "other"]
    assert (tmp_path / "log").read_text().split() == turn * (WARM_UP_TURNS + 1)
    assert list(found) == [("ours", "fast"), ("peer", "slow"), ("peer", "other")]
    assert [reply["seconds"] for reply in found["ours", "fast"]] == [1, 2, 3]


def test_worker_gets_the_settings(tmp_path):
    with fake(tmp_path) as worker:
        assert worker.ask(prepare={"side": 32})["facts"] == {"got": {"side": 32}}


@pytest.mark.parametrize(("task", "message"), [("broken", "out of luck"), ("deadly", "gave up")])
def test_failure_of_a_worker_is_reported(task, message, tmp_path):
    with fake(tmp_path) as worker, pytest.raises(WorkerError, match=message):
        worker.ask(run=task)


def test_worker_that_has_ended_is_reported(tmp_path):
    with fake(tmp_path) as worker:
        for _ in range(2):
            with pytest.raises(WorkerError, match="exit status 1"):
                worker.ask(run="deadly")


def test_worker_times_the_tasks_of_a_module():
    calls = []

    def prepare(settings):
        return {"add": lambda: calls.append(settings["side"]), "fail": lambda: 1 / 0}, {"side": 3}

    replies = io.StringIO()
    requests = [{"prepare": {"side": 7}}, {"run": "add"}, {"run": "fail"}, {"run": "add"}]
    serve(prepare, map(json.dumps, requests), replies)
    prepared, first, failed, again = map(json.loads, replies.getvalue().splitlines())
    assert prepared == {"tasks": ["add", "fail"], "facts": {"side": 3}}
    assert first.keys() == again.keys() == {"seconds", "cpu_seconds"}
    assert "ZeroDivisionError" in failed["error"]
    assert calls == [7, 7]


def test_prints_of_a_module_do_not_mix_with_replies(tmp_path):
    (tmp_path / "noisy.py").write_text(
        "print('hello')\ndef prepare(s): print('x'); return {}, {}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_worker", "noisy"],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(tmp_path)},
        input='{"prepare": {}}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"tasks": [], "facts": {}}
    assert "hello" in done.stderr


def test_ratio_is_that_of_the_medians_after_warm_up():
    found = compare(COMPARISON, turns(ours=[90, 50, 1, 2, 4], peer=[70, 60, 3, 6, 8]))
    assert (found["ours_median"], found["peer_median"], found["ours_first"]) == (2, 6, 90)
    assert found["ratio"] == 3
    # Of single turns: 3, 3, 2.
    assert (found["ratio_lower"], found["ratio_upper"]) == (2.5, 3)
    assert found["verdict"] == "met"


def test_times_are_for_each_of_an_amount():
    each = Comparison("a slice", "fast", "slow", goal=2.0, amount=4)
    found = compare(each, turns(ours=[9, 9, 2, 2], peer=[9, 9, 3, 3]))
    assert (found["ours_median"], found["peer_median"], found["ratio"]) == (0.5, 0.75, 1.5)
    assert found["verdict"] == "not met"


def test_processor_time_may_be_what_counts():
    replies = turns(ours=[1, 1, 1], peer=[1, 1, 3])
    replies["peer", "slow"][-1]["cpu_seconds"] = 50
    found = compare(COMPARISON, replies, "cpu_seconds")
    assert (found["ours_median"], found["ratio"], found["other_ratio"]) == (10, 5, 3)


@pytest.mark.parametrize(
    ("ratio", "goal", "expected"),
    [(2.0, 2.0, "met"), (1.99, 2.0, "not met"), (0.5, 1.0, "not met"), (0.5, None, "")],
)
def test_verdict(ratio, goal, expected):
    assert verdict(ratio, goal) == expected


def test_table_has_a_row_for_each_comparison():
    found = compare(COMPARISON, turns(ours=[1, 1, 1, 1], peer=[1, 1, 3, 3]))
    columns = table({"first": found, "second": {**found, "goal": None, "verdict": ""}})
    assert {name: values["first"] for name, values in columns.items()} == {
        "ours, ms": 1000,
        "peer, ms": 3000,
        "ratio": "3.00",
        "quartiles": "3.00 to 3.00",
        "other clock": "3.00",
        "goal": "2",
        "verdict": "met",
    }
    assert columns["goal"]["second"] == columns["verdict"]["second"] == ""


def test_missing_environment_is_one_message_and_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--peer-python", str(tmp_path / "python")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"there is no environment of the other tools: {tmp_path / 'python'} does not exist. "
        "Run `make peers`, which creates it from benchmarks/peers.txt.\n"
    )


def test_missing_package_is_named(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho monai >&2\nexit 1\n")
    python.chmod(0o755)
    assert "lacks monai. Run `make peers`" in missing_environment(python)


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("case", list(CASES))
def test_comparisons_have_titles_of_their_own(case, size):
    comparisons = CASES[case].comparisons(SIZES[size])
    assert len({each.title for each in comparisons}) == len(comparisons)


@pytest.mark.skipif(
    missing_environment(PEER_PYTHON) is not None,
    reason=f"needs the other tools in {PEER_PYTHON}: make peers",
)
@pytest.mark.parametrize("case", list(CASES))
def test_every_case_runs(case):
    found = measure(case, "smallest", repeats=1, peer_python=PEER_PYTHON)
    facts = found["facts"]
    titles = [each.title for each in CASES[case].comparisons(SIZES["smallest"])]
    assert list(found["comparisons"]) == titles
    if case == "input":
        assert facts["ours_slices"] == facts["peer_slices"]
        assert facts["ours_mean_grey"] == pytest.approx(facts["peer_mean_grey"], abs=0.02)
        assert facts["ours_foreground"] == pytest.approx(facts["peer_foreground"], abs=0.01)
    elif case == "distances":
        assert facts["ours_largest_difference_of_features"] < 1e-4
        assert facts["ours_distance"] == pytest.approx(facts["peer_distance"], rel=1e-3)
    elif case == "resampling":
        assert all(value == 0 for name, value in facts.items() if name.endswith("differs_at"))
