import logging

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from medusis_tf.training.session import StepProfile
from tests.training.tiny_experiment import tiny_experiment


def profile(folder, steps, start=0, last=4):
    training = tiny_experiment(training={"profile_steps": steps}).training
    with StepProfile(training, folder, start) as profile:
        for number in range(start + 1, last + 1):
            with profile.step(number):
                tf.linalg.matmul(tf.ones([8, 8]), tf.ones([8, 8])).numpy()


def profiled_steps(folder):
    """Return the numbers of the steps in the profiles of a folder."""
    numbers = []
    for path in sorted(folder.glob("plugins/profile/*/*.xplane.pb")):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            names = {key: entry.name for key, entry in plane.stat_metadata.items()}
            events = [event for line in plane.lines for event in line.events]
            for event in events:
                if plane.event_metadata[event.metadata_id].name == "train":
                    stats = {names[stat.metadata_id]: stat for stat in event.stats}
                    numbers.append(stats["step_num"].int64_value or stats["step_num"].uint64_value)
    return numbers


def test_the_chosen_steps_are_profiled(tmp_path):
    profile(tmp_path, "2:3")
    assert profiled_steps(tmp_path) == [2, 3]


def test_a_training_that_ends_early_leaves_its_profile(tmp_path):
    profile(tmp_path, "3:9")
    assert profiled_steps(tmp_path) == [3, 4]


@pytest.mark.parametrize(
    ("steps", "profiled", "message"),
    [
        ("1:2", [], ": these steps are already taken, the run resumes at step 3"),
        ("2:3", [3], ": some of these steps are already taken, the run resumes at step 3"),
        ("4:4", [4], ""),
    ],
)
def test_a_resumed_run_profiles_the_remaining_steps(tmp_path, caplog, steps, profiled, message):
    with caplog.at_level(logging.INFO):
        profile(tmp_path, steps, start=2)
    assert profiled_steps(tmp_path) == profiled
    assert message in caplog.text
    assert ("already taken" in caplog.text) == bool(message)


def test_nothing_is_profiled_by_default(tmp_path):
    profile(tmp_path, None)
    assert not list(tmp_path.iterdir())
