"""The page in a headless Chromium: label map in, volume and record out."""

import asyncio
import json
import shutil
import threading
import time
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest
import uvicorn

from medusis_tf.server.application import create_application
from medusis_tf.server.served_models import ServedModels
from medusis_tf.server.settings import ServerLimits
from tests.server.small_server import label_map_file
from tests.serving.small_run import make_model

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--ignore-gpu-blocklist"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MINUTES_MS = 120_000


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server on a free port of this machine."""
    application = create_application(ServedModels([make_model(tmp_path_factory)]), ServerLimits())
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(address):
    """The opened page; requests to other machines are failures."""
    if CHROMIUM is None or find_spec("playwright") is None:
        pytest.skip("the page is driven in Chromium by playwright; install both to run this test")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.set_default_timeout(MINUTES_MS)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda each: each.url.startswith((address, "blob:", "data:")) or
                problems.append(each.url))  # fmt: skip
        page.goto(address)
        page.wait_for_selector("body[data-ready=true]")
        page.click("[data-view=axial]")  # software rendering of 3D takes seconds
        yield page
        browser.close()
        assert problems == []


def shown(page, number, times):
    page.wait_for_selector(f"figure:nth-of-type({number}) canvas[data-shown='{times}']")


def pixels(page, number):
    page.wait_for_timeout(300)
    return page.locator(f"figure:nth-of-type({number}) canvas").screenshot()


def download(page, text, folder):
    with page.expect_download() as waiting:
        page.locator("figure:nth-of-type(2)").get_by_text(text).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_upload_slider_legend_and_downloads(page, tmp_path):
    source = label_map_file(tmp_path, "RAS")
    page.set_input_files("#file", source)
    shown(page, 2, 1)
    first = pixels(page, 2)
    page.locator("#seed").fill("7")
    shown(page, 2, 2)
    assert pixels(page, 2) != first

    before = pixels(page, 1)
    page.locator("#classes input").nth(2).uncheck()
    assert pixels(page, 1) != before

    volume = nib.load(download(page, "volume", tmp_path))
    np.testing.assert_array_equal(volume.affine, nib.load(source).affine)
    assert volume.shape == nib.load(source).shape
    record = json.loads(download(page, "record", tmp_path).read_text())
    assert (record["seed"], record["synthetic"]) == (7, True)


def test_samples_share_the_cross_hairs(page):
    page.click("#phantom")
    shown(page, 2, 1)
    page.select_option("#samples", "2")
    shown(page, 3, 1)
    page.wait_for_selector("body[data-busy=false]")
    before = pixels(page, 3)
    page.locator("figure:nth-of-type(1) canvas").focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    assert pixels(page, 3) != before
    assert "mm (RAS)" in page.inner_text("#place")


def test_a_wrong_file_is_explained(page, tmp_path):
    path = tmp_path / "text.nii"
    path.write_text("no volume")
    page.set_input_files("#file", path)
    page.wait_for_selector("#status.error")
    assert "the label map" in page.inner_text("#status")


def test_another_format_is_shown_and_each_page_is_a_client(page, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    source, path = label_map_file(tmp_path, "RAS"), tmp_path / "labels.nrrd"
    itk.WriteImage(itk.ReadImage(str(source)), str(path))
    sent = []
    page.on("request", lambda each: sent.append(each))
    page.set_input_files("#file", path)
    shown(page, 2, 1)
    volume = nib.load(download(page, "volume", tmp_path))
    assert volume.get_filename().endswith("/labels_synthetic_seed0.nii.gz")
    np.testing.assert_allclose(volume.affine, nib.load(source).affine, atol=1e-4)
    (posted,) = (each for each in sent if each.method == "POST")
    assert "file_name=labels.nrrd" in posted.url
    assert len(posted.headers["x-client"]) > 20
