"""The short form of `python -m benchmarks.fuzz`: every hostile input is accepted or refused."""

import random
import signal
from collections import Counter

import pytest

from benchmarks import fuzz
from benchmarks.fuzz_targets import TARGETS

MUTATED = {"configuration": 40, "override": 40, "class table": 40, "DICOM": 60}


@pytest.fixture(scope="module")
def watch():
    numbers = (signal.SIGALRM, signal.SIGPROF)
    before = [signal.signal(number, fuzz._raise_hang) for number in numbers]
    yield fuzz.Watch()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_no_input_does_harm(name, watch, tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    counts = Counter()
    last = len(list(TARGETS[name].fixed(seeds))) + MUTATED.get(name, 150)
    for number, case in fuzz.cases(TARGETS[name], 0, seeds):
        if number == last:
            break
        folder = tmp_path / f"case_{number}"
        folder.mkdir()
        found, reason = fuzz.outcome(case, folder, watch, limit=20)
        counts[found] += 1
        assert found not in fuzz.FAILURES, f"{name} {number}: {reason}"
    assert counts["refused"] > 0


def outcome(case, folder, watch):
    return fuzz.outcome(case, folder, watch, limit=0.2)[0]


def test_each_kind_of_harm_is_noticed(watch, tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()

    def loop(_):
        while True:
            pass

    assert outcome(lambda f: (f / "a").write_text("inside"), folder, watch) == "accepted"
    assert outcome(lambda f: (f.parent / "b").write_text("outside"), folder, watch) == "escape"
    assert outcome(lambda f: (f / "../c").mkdir(), folder, watch) == "escape"
    assert outcome(lambda _: 1 / 0, folder, watch) == "crash"
    assert outcome(lambda _: bytearray(2**60), folder, watch) == "memory"
    assert outcome(loop, folder, watch) == "hang"


def test_a_case_is_a_function_of_its_number(tmp_path):
    contents = []
    for repeat in range(2):
        seeds = tmp_path / f"seeds{repeat}"
        seeds.mkdir()
        run = TARGETS["weights"].make(seeds)
        folder = tmp_path / f"case{repeat}"
        folder.mkdir()
        try:
            run(folder, random.Random("weights/7"))  # noqa: S311
        except Exception as error:
            contents.append(((folder / "w.npz").read_bytes(), type(error)))
    assert len(contents) == 2
    assert contents[0] == contents[1]


def test_the_table_adds_all_targets():
    states = {
        "a": {"counts": {"accepted": 1, "refused": 2}},
        "b": {"counts": {"refused": 1000, "crash": 1}},
    }
    assert fuzz.table(states).splitlines()[-1] == "| all | 1,004 | 1 | 1,002 | 1 | 0 | 0 | 0 |"
