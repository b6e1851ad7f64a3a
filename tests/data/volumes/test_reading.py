import subprocess
import sys

_LIGHT = """
import sys
sys.modules["pydicom"] = None  # as if it were not installed; nibabel imports it where it is
import medusis_tf.data.volumes.reading
heavy = {"tensorflow", "keras", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_worker_processes_start_without_heavy_libraries_and_without_the_extra():
    subprocess.run([sys.executable, "-c", _LIGHT], check=True)
