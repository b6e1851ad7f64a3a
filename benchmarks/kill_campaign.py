"""Kill a small run at random moments, resume it, and compare the weights at its end.

    python -m benchmarks.kill_campaign --kills 30 --out kills

Half of the runs are killed while a checkpoint is being written, the others at any moment. The
results are kept in OUT; the same command continues, and prints the table of all kills.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

STEPS = 12
_POLL_S = 0.0005
# When a run is killed: at any moment of its start, between two of its steps, or in a checkpoint.
_AIMS = ("checkpoint", "step", "checkpoint", "step", "checkpoint", "start")

SETTINGS = f"""
name: reference
data:
  classes:
    - {{id: 0, name: background, colour: [0, 0, 0]}}
    - {{id: 1, name: fat, colour: [40, 40, 40]}}
    - {{id: 2, name: soft_tissue, colour: [80, 80, 80]}}
    - {{id: 3, name: bone, colour: [120, 120, 120]}}
    - {{id: 4, name: tumour, colour: [160, 160, 160]}}
  image_size: [32, 32]
  field_of_view_mm: [80, 80]
generator: {{name: oasis, base_channels: 2, noise_dim: 3, num_blocks: 2, spade_channels: 4}}
discriminator: {{base_channels: 4, max_channels: 8}}
segmenter: {{base_channels: 2, num_levels: 2}}
mask_loss: {{threshold: {{name: fixed, value: -0.5}}}}
training:
  steps: {STEPS}
  batch_size: 2
  deterministic: true
  log_interval: 1
  checkpoint_interval: 1
  panel_interval: {STEPS}
  volume_interval: 0
  validation: {{interval: 3, slices: 2}}
  ema: {{refresh_batches: 1}}
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; the exit status is 1 if a resumed run differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("kills"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    config = write_experiment(options.out)
    seconds = _reference(config, options.out)
    expected = final_tensors(options.out / "runs" / "reference")
    results = options.out / "results.jsonl"
    done = results.read_text().splitlines() if results.exists() else []
    for number in range(len(done), options.kills):
        result = kill_and_resume(config, options.out / "runs", number, seconds)
        found = final_tensors(options.out / "runs" / result["run"])
        result["equal"] = equal(found, expected)
        with results.open("a") as file:
            file.write(json.dumps(result) + "\n")
        if result["equal"]:
            shutil.rmtree(options.out / "runs" / result["run"])
    return _print_table([json.loads(line) for line in results.read_text().splitlines()])


def write_experiment(out: Path) -> Path:
    """Write phantoms and the configuration of a run with all networks; return its path."""
    path = out / "config.yaml"
    if path.exists():
        return path
    from medusis_tf.data.phantom import write_phantom_dataset

    subjects = [
        subject.model_dump(mode="json", exclude_none=True)
        for subject in write_phantom_dataset(out / "data", 3, 1, shape=(40, 40, 8), with_pairs=True)
    ]
    for subject in subjects[1:3]:
        subject["split"] = "validation"
    data = {"root": str(out / "data"), "cache_dir": str(out / "cache"), "subjects": subjects}
    settings = yaml.safe_load(SETTINGS)
    settings |= {"runs_dir": str(out / "runs"), "data": {**settings["data"], **data}}
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def kill_and_resume(config: Path, runs: Path, number: int, seconds: float) -> dict[str, Any]:
    """Start a run, kill it once, and resume it to its end.

    Args:
        config: Configuration of the run.
        runs: Folder of all runs.
        number: Number of the kill, which decides its moment.
        seconds: Duration of the uninterrupted run.

    Returns:
        Name of the run, moment, and what the kill left.
    """
    rng, name = random.Random(number), f"kill_{number:03d}"  # noqa: S311
    aim = _AIMS[number % len(_AIMS)]
    while not _kill(config, runs / name, aim, rng, seconds):
        pass  # it had ended before
    left = _left(runs / name)
    resume = (runs / name / "config.yaml").exists()
    status = _start(config, name, *(["--resume"] if resume else [])).wait()
    return {"run": name, "aim": aim, "status": status, **left}


def _kill(config: Path, run_dir: Path, aim: str, rng: random.Random, seconds: float) -> bool:
    """Start a run anew and kill it; return whether it was still running."""
    shutil.rmtree(run_dir, ignore_errors=True)
    steps, started = rng.randint(0, STEPS - 2), time.monotonic()
    delay = {"start": rng.uniform(0, 0.6 * seconds), "step": rng.uniform(0, 0.3)}
    process = _start(config, run_dir.name)
    ready = {
        "start": lambda: True,
        "step": lambda: _steps_logged(run_dir) >= steps and (run_dir / "metrics.jsonl").exists(),
        "checkpoint": lambda: _writes_after(run_dir / "checkpoints", steps + 1),
    }[aim]
    while process.poll() is None and not ready():
        time.sleep(_POLL_S)
    time.sleep(delay.get(aim, rng.uniform(0, 0.4)))
    was_running = process.poll() is None
    process.kill()
    process.wait()
    print(f"{run_dir.name}: {aim}, after {time.monotonic() - started:.2f} s", flush=True)
    return was_running


def _steps_logged(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return path.read_bytes().count(b"losses/adversarial") if path.exists() else 0


def final_tensors(run_dir: Path) -> dict[str, np.ndarray]:
    """All tensors of the last checkpoint of a run; none if the run has not ended."""
    import tensorflow as tf

    path = run_dir / "checkpoints" / f"step-{STEPS}"
    if not path.with_name(f"{path.name}.index").exists():
        return {}
    reader = tf.train.load_checkpoint(str(path))
    names = (name for name in reader.get_variable_to_shape_map() if "save_counter" not in name)
    return {n: reader.get_tensor(n) for n in names if not n.startswith("_CHECKPOINTABLE")}


def equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether all tensors have the same bits."""
    return (
        bool(expected)
        and found.keys() == expected.keys()
        and all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    )


def _reference(config: Path, out: Path) -> float:
    """Duration of the uninterrupted run, after its slices have been prepared."""
    path = out / "seconds.json"
    if not path.exists():
        from medusis_tf.data.preparing.preparation import prepare_shards
        from medusis_tf.methods.experiment import load_config

        prepare_shards(load_config(config))
        shutil.rmtree(out / "runs", ignore_errors=True)
        started = time.monotonic()
        if _start(config, "reference").wait() != 0:
            raise SystemExit((out / "reference.log").read_text())
        path.write_text(json.dumps(time.monotonic() - started))
    return float(json.loads(path.read_text()))


def _start(config: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "medusis_tf.train", "--config", str(config), f"name={name}"]
    with (config.parent / f"{name}.log").open("ab") as log:
        return subprocess.Popen([*command, *more], stdout=log, stderr=log)  # noqa: S603


def _writes_after(checkpoints: Path, saves: int) -> bool:
    """Whether a checkpoint is being written after a number of earlier ones."""
    if saves > 1 and not (checkpoints / f"step-{saves - 1}.index").exists():
        return False
    return (checkpoints / "partial").exists()


def _left(run_dir: Path) -> dict[str, Any]:
    """What a killed run has left: its newest checkpoint and its half-written files."""
    folder = run_dir / "checkpoints"
    steps = [int(path.stem[5:]) for path in folder.glob("step-*.index")]
    partial = sorted(path.name for path in folder.glob("partial/*"))
    if (folder / "partial").exists() and not partial:
        partial = ["partial/"]
    loose = [p.name for p in folder.glob("step-*.data*") if not p.with_suffix(".index").exists()]
    return {"from_step": max(steps, default=0), "partial": partial, "loose": loose}


def _print_table(results: list[dict[str, Any]]) -> int:
    print(f"{'run':10} {'killed':10} {'resumed from':>12} {'half written':30} equal")
    for row in results:
        half = ", ".join([*row["partial"], *row["loose"]]) or "-"
        print(
            f"{row['run']:10} {row['aim']:10} {row['from_step']:>12} {half[:30]:30} "
            f"{'yes' if row['equal'] else 'NO'}"
        )
    good = sum(row["equal"] for row in results)
    print(f"{good} of {len(results)} resumed runs ended with the weights of the uninterrupted run")
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
