"""Lists of subjects that are kept outside the configuration file.

All functions run before the configuration is validated. They return plain dictionaries with the
keys of `medusis_tf.config.data.Subject` and paths relative to `data.root`.
"""

from medusis_tf.config.subject_globs import expand_globs
from medusis_tf.config.subject_manifest import read_manifest
from medusis_tf.config.subject_splits import assign_splits

__all__ = ["assign_splits", "expand_globs", "read_manifest"]
