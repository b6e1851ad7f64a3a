import json
import logging

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.studies.downstream.rows import Row
from medusis_tf.studies.downstream.scores import ClassScore
from medusis_tf.studies.downstream.store import StudyStore
from medusis_tf.studies.downstream.stored_result import Scored
from medusis_tf.studies.downstream.summary import Result

ROW, SEED, TRAINED_ON = Row("real"), 3, ("t1", "t2")
EXPECTED = Scored(("p", "q"), ("fat", "bone"))
nan = float("nan")
SCORES = {
    "p": {"fat": ClassScore(0.5, 2.0), "bone": ClassScore(0.0, nan, not_found=True)},
    "q": {"fat": ClassScore(1.0, 0.0), "bone": ClassScore(nan, nan)},
}


@pytest.fixture
def store(tmp_path):
    made = StudyStore(tmp_path / "study")
    made.check_settings({"steps": 3, "model": None})
    made.save_result(Result(ROW, SEED, TRAINED_ON, SCORES))
    return made


def read(store):
    return store.result(ROW, SEED, TRAINED_ON, EXPECTED)


def change(store, edit):
    path = store.result_path(ROW, SEED)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_result_is_read_as_it_was_written(store):
    found = read(store)
    assert (found.row, found.seed, found.patients) == (ROW, SEED, TRAINED_ON)
    assert repr(found.scores) == repr(SCORES)
    assert store.result(ROW, 4, TRAINED_ON, EXPECTED) is None


def test_results_of_earlier_versions_do_not_say_what_was_not_found(store):
    def older(content):
        for classes in content["scores"].values():
            for each in classes.values():
                del each["not_found"]

    change(store, older)
    assert repr(read(store).scores) == repr(SCORES)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda c: c.update(row="mixture"), "row: mixture, not real"),
        (lambda c: c.update(seed=9), "seed: 9, not 3"),
        (lambda c: c.update(training_patients=["t1"]), "training_patients"),
        (lambda c: c["scores"].pop("q"), "test patients"),
        (lambda c: c["scores"]["q"].pop("fat"), "classes of q"),
        (lambda c: c["scores"]["q"].update(bone=5), "scores.q.bone"),
        (lambda c: c["scores"]["q"]["fat"].update(dice=7.5), r"scores.q.fat.dice: .*Received: 7.5"),
        (lambda c: c["scores"]["q"]["fat"].update(dice="0.5"), "scores.q.fat.dice"),
        (lambda c: c["scores"]["q"]["fat"].update(hd95_mm=-1), "scores.q.fat.hd95_mm"),
        (lambda c: c["scores"]["q"]["fat"].update(hd95_mm=float("nan")), "scores.q.fat.hd95_mm"),
        (lambda c: c["scores"]["q"]["fat"].update(not_found=True), "has Dice 0"),
        (lambda c: c.pop("scores"), "scores: is required"),
    ],
)
def test_a_damaged_result_is_refused_and_kept(store, edit, named):
    change(store, edit)
    before = store.result_path(ROW, SEED).read_bytes()
    with pytest.raises(UserError, match=named) as raised:
        read(store)
    assert "Restore it, or delete it to train the row again." in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert store.result_path(ROW, SEED).read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "5", '{"row": "re', "\udcff", "[" * 9999])
def test_a_file_that_is_no_result_is_refused(store, text):
    store.result_path(ROW, SEED).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="is damaged"):
        read(store)


@pytest.mark.parametrize("text", [None, "", "[]", '{"ste', "{}", '{"model": null}'])
def test_results_without_their_settings_are_refused(store, text):
    path = store.folder / "settings.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"settings\.json .* Restore it, or give another --out"):
        store.check_settings({"steps": 9, "model": None})


def test_other_settings_are_refused_and_new_ones_recorded(store):
    store.check_settings({"steps": 3, "model": "a"})
    store.check_settings({"steps": 3, "model": None})
    with pytest.raises(UserError, match='steps: 3 before, 4 now; model: "a" before'):
        store.check_settings({"steps": 4, "model": "b"})


def test_damaged_examples_are_left_out_with_one_warning(store, caplog):
    ids, image = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.float32)
    good = {"label_map": ids, "image": image, "found": ids}
    store.save_examples("real", good)
    assert set(store.examples("real", 2)) == set(good)
    path = store.folder / "examples" / "real.npz"
    whole = path.read_bytes()

    def check():
        caplog.clear()
        fresh = StudyStore(store.folder)
        with caplog.at_level(logging.WARNING):
            assert fresh.examples("real", 2) is None
            assert fresh.examples("real", 2) is None
        [record] = caplog.records
        assert "real.npz, which is damaged" in record.getMessage()

    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        check()
    for wrong in (
        {"image": image},
        {**good, "label_map": ids + np.uint8(2)},
        {**good, "found": ids + np.uint8(2)},
        {**good, "image": image[:1]},
        {**good, "image": image * np.nan},
    ):
        store.save_examples("real", wrong)
        check()
