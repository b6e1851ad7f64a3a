"""How long the page of the server takes, beside the command, in a headless Chromium.

    python -m benchmarks.page --model saved_models/NAME [--screenshot page.png]

Starts `medusis serve`, opens its page, and measures until the page is interactive. Then a label map
of 100 slices of 256x256 pixels is dropped on the page, until its synthetic volume is shown and the
browser answers again, in turn with `medusis synthesize` for the same file. Needs playwright, and
Chromium in the path. Without a GPU, the browser paints with SwiftShader, in software.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving import NUM_VOLUMES, VOLUME_SIDE, VOLUME_SLICES, serving, volume_bytes

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--ignore-gpu-blocklist"]
NUM_OPENED = 5
TIMEOUT_MS = 1_800_000
# As a person drops it: no path, but the content of a file.
DROP = """([encoded, name]) => {
  const content = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([content], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def opened(browser: Any, address: str) -> tuple[Any, float]:
    """A new page without a cache, and the seconds until it is interactive."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("body[data-ready=true]")
    page.evaluate(PAINTED)
    return page, time.perf_counter() - started


def shown_after(page: Any, content: bytes, view: str) -> tuple[float, float]:
    """Seconds from the drop of a label map until the server is done, and until the MR is shown."""
    import base64

    page.click(f"[data-view={view}]")
    encoded = base64.b64encode(content).decode()
    started = time.perf_counter()
    page.evaluate(DROP, [encoded, "labels.nii.gz"])
    page.wait_for_selector("#progress[value='1']", state="attached")
    painted = time.perf_counter() - started
    page.wait_for_selector("figure:nth-of-type(2) canvas[data-shown='1']")
    page.wait_for_selector("body[data-busy=false]")
    page.evaluate(PAINTED)
    return painted, time.perf_counter() - started


def command_seconds(model: Path, content: bytes) -> float:
    """Seconds of `medusis synthesize`, start included."""
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels.nii.gz"
        labels.write_bytes(content)
        command = [sys.executable, "-m", "medusis_tf", "synthesize", "--model", str(model)]
        command += ["--label-map", str(labels), "--out", str(labels.with_name("mr.nii.gz"))]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        return time.perf_counter() - started


def measure(browser: Any, address: str, arguments: argparse.Namespace) -> None:
    """Print all times."""
    from medusis_tf.serving.metadata import read_metadata
    from medusis_tf.serving.model_folders import find_model

    times = [opened(browser, address)[1] for _ in range(NUM_OPENED)]
    print(f"interactive after {statistics.median(times):.2f} s (median of {NUM_OPENED}), ", end="")
    print(f"at most {max(times):.2f} s")
    content = volume_bytes(read_metadata(find_model(arguments.model)))
    by_page, by_command = [], []
    for _ in range(NUM_VOLUMES):
        page, _ = opened(browser, address)
        painted, shown = shown_after(page, content, arguments.view)
        print(json.dumps({"painted": round(painted, 2), "shown": round(shown, 2)}), flush=True)
        if arguments.screenshot:
            page.screenshot(path=arguments.screenshot)
        page.context.close()
        by_page.append(shown)
        by_command.append(command_seconds(arguments.model, content))
        print(f"command {by_command[-1]:.2f}", flush=True)
    ratio = statistics.mean(by_page) / statistics.mean(by_command)
    print(f"{VOLUME_SLICES} slices of {VOLUME_SIDE}x{VOLUME_SIDE}, view {arguments.view}: ", end="")
    print(f"page {_listed(by_page)} s, command {_listed(by_command)} s, ratio {ratio:.2f}")


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--view", default="multi", help="view of the page, as in its data-view")
    parser.add_argument("--screenshot", type=Path, default=None, help="PNG file of the page")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no Chromium in the path")
    from playwright.sync_api import sync_playwright

    with serving(arguments.model) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        measure(browser, f"http://127.0.0.1:{server.port}", arguments)
        browser.close()


if __name__ == "__main__":
    main()
