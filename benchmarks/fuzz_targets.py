"""What is fuzzed: the texts, models and weights, and the table of all targets."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.fuzz_files import fifo, linked, make_folder, put
from benchmarks.fuzz_mutations import mutate_bytes, mutate_text, mutate_tree
from benchmarks.fuzz_volumes import dicom, itk, nifti, requests
from medusis_tf.config.packaged import CONFIGS
from medusis_tf.config.taxonomy import load_label_source, load_taxonomy

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Case = Callable[[Path], object]
"""Writes an input below a folder and reads it; returns if accepted, else raises."""


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: Name in the table.
        make: Function from a folder for seeds to the function of a case: it gets an empty folder
            and a random generator, writes a mutated input and reads it.
        fixed: Hostile inputs that are tried first, made in the same folder.
    """

    name: str
    make: Callable[[Path], Callable[[Path, random.Random], None]]
    fixed: Callable[[Path], Iterator[Case]] = lambda _: iter(())


_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
_YAML_BOMBS = [
    _ALIASES + "name: x\n",
    _ALIASES + "data: {classes: *a9}\nclasses: *a9\nlabels: *a9\nsubjects: *a9\n",
    "a: &a [*a]\n",
    "a: &a {<<: *a}\n",
    "[" * 5000,
    "{a: " * 3000 + "1" + "}" * 3000,
    "x: [" + "1, " * 3_400_000 + "1]\n",
    "!!python/object/apply:os.system ['touch owned']\n",
    "? [a, b]\n: 1\n",
    "{[a]: 1}\n",
    "a: !!timestamp x\n",
    "a: !!binary ()\n",
    "a: 9" + "9" * 10_000 + "\n",
    "\x00",
    "",
    "---\na: 1\n---\nb: 2\n",
]


def _texts(name: str, read: Callable[[Path], object]) -> Callable[[Path], Iterator[Case]]:
    """Fixed cases of a YAML file: bombs, and what is no regular file."""

    def cases(_: Path) -> Iterator[Case]:
        for text in _YAML_BOMBS:
            yield lambda folder, text=text: read(put(folder / name, text.encode()))
        yield lambda folder: read(linked(folder / name, "/dev/zero"))
        yield lambda folder: read(linked(folder / name, "/proc/self/mem"))
        yield lambda folder: read(fifo(folder / name))
        yield lambda folder: read(make_folder(folder / name))
        yield lambda folder: read(folder / "absent" / name)
        yield lambda folder: read(folder / ("x" * 300 + name))

    return cases


def _yaml_file(
    name: str, seeds: list[Path], read: Callable[[Path], object]
) -> Callable[[Path], Callable[[Path, random.Random], None]]:
    texts = [seed.read_text(encoding="utf-8") for seed in seeds]
    trees = [yaml.load(text, Loader=_LOADER) for text in texts]  # noqa: S506

    def make(_: Path) -> Callable[[Path, random.Random], None]:
        def case(folder: Path, rng: random.Random) -> None:
            place = rng.randrange(len(texts))
            content = mutate_text(texts[place], rng)
            if rng.random() < 0.5:
                content = _dumped(mutate_tree(trees[place], rng)) or content
            read(put(folder / name, content))

        return case

    return make


def _dumped(tree: object) -> bytes | None:
    """The tree as YAML; None if YAML cannot hold it."""
    try:
        return yaml.dump(tree, Dumper=_DUMPER, sort_keys=False).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError, yaml.YAMLError):
        return None


def _load_config(path: Path) -> object:
    from medusis_tf.methods.experiment import load_config

    return load_config(path)


def _overrides(_: Path) -> Callable[[Path, random.Random], None]:
    seeds = [
        *("training.steps=2", "data.image_size=[32, 32]", "generator={base_channels: 2}"),
        *("training.profile_steps=3:4", "name=x", "data.subjects=[]", "optimizers.generator=null"),
    ]

    def case(folder: Path, rng: random.Random) -> None:
        from medusis_tf.methods.experiment import load_config

        text = mutate_bytes(rng.choice(seeds).encode(), rng, 80).decode("utf-8", "surrogateescape")
        load_config("quickstart", [text])

    return case


_MANIFEST = """subject,split,label_map,image,ct,overlays,streams
a,train,,a_mr.nii.gz,a.nii.gz,tumour=t.nii;node=n.nii,label_map
b,train,,b.nii.gz,,,image
c,validation,c.nii.gz,d.nii.gz,,,label_map;image
"""
_MANIFEST_YAML = """- {subject: a, split: train, label_map: l.nii.gz}
- subject: 001
  split: train
  ct: m.nii.gz
  overlays: {tumour: t.nii.gz}
"""


def _read_manifest(path: Path) -> object:
    from medusis_tf.config.subject_manifest import read_manifest

    return read_manifest(path)


def _manifests(_: Path) -> Callable[[Path, random.Random], None]:
    def case(folder: Path, rng: random.Random) -> None:
        suffix = rng.choice([".csv", ".yaml"])
        text = _MANIFEST if suffix == ".csv" else _MANIFEST_YAML
        _read_manifest(put(folder / f"m{suffix}", mutate_text(text, rng)))

    return case


def _read_table(path: Path) -> None:
    first = None
    for load in (load_taxonomy, load_label_source):
        try:
            load(path)
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def metadata_values() -> dict[str, Any]:
    """A valid description of an exported model."""
    from medusis_tf.methods.experiment import load_config

    config = load_config("quickstart").model_dump(mode="json")
    return {
        "format_version": 1,
        "name": "quickstart",
        "step": 10,
        "classes": config["data"]["classes"],
        "image_size": [64, 64],
        "spacing_mm": [2.0, 2.0],
        "stride": 4,
        "noise_shape": [8],
        "image_channels": 1,
        "intensity": {"source": [0.0, 100.0], "scaled": [-1.0, 1.0]},
        "config": config,
        "trained": {},
        "exported": {},
    }


def _saved_models(_: Path) -> Callable[[Path, random.Random], None]:
    from medusis_tf.serving.metadata import METADATA_PATH, read_metadata
    from medusis_tf.serving.model_folders import find_model

    values = metadata_values()
    text = json.dumps(values)

    def case(folder: Path, rng: random.Random) -> None:
        if rng.random() < 0.6:
            content = json.dumps(mutate_tree(values, rng)).encode("utf-8", "surrogatepass")
        else:
            content = mutate_bytes(text.encode(), rng, len(text))
        path = folder / "1" / METADATA_PATH
        path.parent.mkdir(parents=True)
        (folder / "1" / "saved_model.pb").write_bytes(b"")
        found = read_metadata(find_model(put(path, content).parents[2]))
        for name in ("taxonomy", "trained_taxonomy", "reading", "tissue", "title"):
            getattr(found, name)

    return case


def _bad_models(_: Path) -> Iterator[Case]:
    from medusis_tf.serving.metadata import METADATA_PATH, read_metadata

    def written(folder: Path, content: bytes) -> None:
        path = folder / METADATA_PATH
        path.parent.mkdir()
        read_metadata(put(path, content).parents[1])

    for text in ("[" * 100_000 + "]" * 100_000, "", "1", "NaN", '{"a": 1e999}', "9" * 10_000):
        yield lambda folder, text=text: written(folder, text.encode())


def _weights(_: Path) -> Callable[[Path, random.Random], None]:
    from medusis_tf.interop.pytorch import read_state_dict

    stream = io.BytesIO()
    arrays = {f"layer{i}.weight": np.ones((3, i + 1), np.float32) for i in range(4)}
    np.savez_compressed(stream, **arrays)
    plain = io.BytesIO()
    np.savez(plain, **arrays)
    seeds = [stream.getvalue(), plain.getvalue()]

    def case(folder: Path, rng: random.Random) -> None:
        content = mutate_bytes(rng.choice(seeds), rng, 3000)
        read_state_dict(put(folder / "w.npz", content))

    return case


def _bad_weights(_: Path) -> Iterator[Case]:
    from medusis_tf.interop.pytorch import read_state_dict

    def header(shape: object) -> bytes:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (63 - (10 + len(text)) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    def archive(folder: Path, member: bytes) -> None:
        with zipfile.ZipFile(folder / "w.npz", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.npy", member)
        read_state_dict(folder / "w.npz")

    members = [
        header((1_000_000, 1_000_000)),
        header((-1,)),
        header((1 << 26,)) + b"\0" * (1 << 28),
        b"\x93NUMPY\x01\x00" + (4000).to_bytes(2, "little") + b"(" * 4000,
        b"\x93NUMPY\x03\x00" + b"\xff" * 50,
    ]
    for member in members:
        yield lambda folder, member=member: archive(folder, member)
    yield lambda folder: read_state_dict(linked(folder / "w.npz", "/dev/zero"))


CONFIG_SEEDS = sorted(CONFIGS.glob("*.yaml"))
TABLE_SEEDS = sorted((CONFIGS / "taxonomies").glob("*.yaml"))

TARGETS = {
    target.name: target
    for target in (
        Target(
            "configuration",
            _yaml_file("c.yaml", CONFIG_SEEDS, _load_config),
            _texts("c.yaml", _load_config),
        ),
        Target("override", _overrides),
        Target("manifest", _manifests, _texts("m.yaml", _read_manifest)),
        Target(
            "class table",
            _yaml_file("t.yaml", TABLE_SEEDS, _read_table),
            _texts("t.yaml", _read_table),
        ),
        Target("model folder", _saved_models, _bad_models),
        Target("weights", _weights, _bad_weights),
        Target("NIfTI", nifti),
        Target("NRRD", itk(".nrrd")),
        Target("MetaImage", itk(".mha")),
        Target("DICOM", dicom),
        Target("request", requests),
    )
}
