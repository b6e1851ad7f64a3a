"""The public names of the packages are imported on first use."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

PACKAGES = [
    "medusis_tf.interop",
    "medusis_tf.layers",
    "medusis_tf.losses",
    "medusis_tf.models",
    "medusis_tf.models.discriminators",
    "medusis_tf.models.generators",
    "medusis_tf.models.segmenters",
    "medusis_tf.ops",
]


def test_importing_a_package_does_not_import_tensorflow():
    code = (
        f"import sys, {', '.join(PACKAGES)}, medusis_tf.models.sections, "
        "medusis_tf.models.discriminator_sections\n"
        "sys.exit(', '.join({'tensorflow', 'keras'} & set(sys.modules)) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("package", PACKAGES)
def test_each_public_name_is_available(package):
    module = importlib.import_module(package)
    submodules = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert module.__doc__
    for name in module.__all__:
        public = getattr(module, name)
        assert public.__name__ in (name, f"{package}.{name}")
        # The import of a submodule would hide a function of the same name.
        assert inspect.ismodule(public) == (name in submodules)
