"""Pages of `segzoo compare` and `data preview` in a browser: they slide, fit, print, stay alone."""

import bright
import numpy as np
import pytest
import torch
from chromium import chromium, fetched
from PIL import Image
from reports import evaluation_folder

import segzoo
from segzoo.cli.main import run
from segzoo.runs.comparing import CompareRequest, compared
from segzoo.runs.evaluation import Machine
from segzoo.runs.reporting import ReportRequest, reported

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures, landscape and very upright, whose masks are what is bright in them."""
    place = tmp_path_factory.mktemp("photos")
    for number, shape in enumerate([(60, 90), (60, 90), (400, 80), (60, 90), (90, 60)]):
        bits = np.random.default_rng(number).random(shape) > 0.4
        for folder, pixels in (("images", np.where(bits, 220, 30)), ("masks", 255 * bits)):
            (place / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place / folder / f"{number}.png")
    return f"folder:{place}?values=0,255"


@pytest.fixture(scope="module")
def files(photos, tmp_path_factory):
    """The pages, by the verbs that make them."""
    place = tmp_path_factory.mktemp("pages")
    models = segzoo.load(bright.BRIGHT), segzoo.load(bright.BRIGHT)
    with torch.no_grad():
        models[1].network.sharpness.fill_(-20.0)  # wrong wherever the other one is right
    request = CompareRequest(
        models=models,
        data=photos,
        machine=Machine("cpu", 2, 0),
        bootstrap=20,
        out=place / "compare.html",
    )
    compared(request)
    assert run(["data", "preview", photos, "-o", str(place / "preview.html")]) == 0
    return {"compare": place / "compare.html", "data preview": place / "preview.html"}


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("verb", ["compare", "data preview"])
def test_a_page_slides_fits_and_prints_and_fetches_nothing(browser, files, verb, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    said, asked = [], fetched(page)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"file://{files[verb]}")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    figure = page.locator(".exhibit").first
    layers = figure.locator(".layer").count()
    assert layers == {"compare": 4, "data preview": 3}[verb]
    slider = figure.locator("input")
    slider.focus()
    for key, left in (("Home", layers - 1), ("End", 0)):
        page.keyboard.press(key)
        clips = figure.locator(".layer").evaluate_all(
            "layers => layers.map(l => getComputedStyle(l).clipPath)"
        )
        assert sum(clip == "inset(0px 100% 0px 0px)" for clip in clips) == left
    heights = [box.bounding_box()["height"] for box in page.locator(".stage").all()]
    assert max(heights) <= (560 if width == 390 else 300)
    assert page.pdf()[:5] == b"%PDF-"
    assert (said, asked) == ([], [f"file://{files[verb]}"])
    context.close()


@pytest.mark.parametrize("count", [2, 11, 16])
def test_a_confusion_matrix_is_seen_whole(browser, tmp_path, count):
    names = tuple(f"class {n}" for n in range(count))
    place = evaluation_folder(tmp_path / "eval", classes=names)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"file://{reported(ReportRequest(place=place)).path}")
    box = page.locator(".matrix .scroll")
    assert box.locator("tbody tr").count() == count
    for side in ("Width", "Height"):
        assert box.evaluate(f"e => e.scroll{side} <= e.client{side}")
    context.close()
