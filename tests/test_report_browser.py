"""The page of `segzoo report` in a browser: the slider moves, nothing is fetched, it prints."""

from itertools import pairwise

import pytest
from chromium import chromium, fetched
from reports import TAG, evaluation_folder

from segzoo.runs.reporting import ReportRequest, reported

pytestmark = pytest.mark.browser
CLIPS = "layers => layers.map(l => getComputedStyle(l).clipPath)"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    place = evaluation_folder(tmp_path_factory.mktemp("pages") / "eval", mark=TAG)
    return f"file://{reported(ReportRequest(place=place)).path}"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser, file):
    """Opens the page; gives it and what went wrong and was fetched on it."""
    contexts = []

    def open_page(**settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        said, asked = [], fetched(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(file)
        return page, said, asked

    yield open_page
    for context in contexts:
        context.close()


def clips(page):
    figure = page.locator(".exhibit").first
    return figure.locator(".layer").evaluate_all(CLIPS)


def test_the_slider_moves_by_range_button_and_drag(opened, file):
    page, said, asked = opened(viewport={"width": 1280, "height": 900})
    figure = page.locator(".exhibit").first
    assert clips(page) == [
        "none",
        "inset(0px 0% 0px 0px)",
        "inset(0px 50% 0px 0px)",
        "inset(0px 100% 0px 0px)",
    ]
    slider = figure.locator("input")
    slider.focus()
    page.keyboard.press("Home")
    assert clips(page)[1:] == ["inset(0px 100% 0px 0px)"] * 3
    assert slider.get_attribute("aria-valuetext") == "picture"
    figure.get_by_role("button", name="prediction").click()
    assert clips(page)[1:] == ["inset(0px 0% 0px 0px)"] * 2 + ["inset(0px 100% 0px 0px)"]
    box = figure.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 9)
    page.mouse.up()
    assert float(slider.input_value()) == pytest.approx(1.25, abs=0.02)
    assert "% over truth" in slider.get_attribute("aria-valuetext")
    assert (said, asked) == ([], [file])
    assert page.title() != "run"


def test_classes_are_sorted_by_a_click(opened):
    page, _, _ = opened()
    table = page.locator("#classes table")
    before = table.locator("tbody th").all_inner_texts()
    table.get_by_role("button", name="class").click()
    assert table.locator("tbody th").all_inner_texts() == sorted(before)
    table.get_by_role("button", name="class").click()
    assert table.locator("tbody th").all_inner_texts() == sorted(before, reverse=True)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_its_window_in_light_and_dark(opened, width, scheme):
    page, said, _ = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) < 200) == (scheme == "dark")
    assert said == []


def test_it_prints_every_picture_beside_its_truth(opened):
    page, _, _ = opened()
    assert page.pdf()[:5] == b"%PDF-"
    page.emulate_media(media="print")
    assert clips(page) == ["none"] * 4
    boxes = [
        layer.bounding_box() for layer in page.locator(".exhibit").first.locator(".layer").all()
    ]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert all(a["x"] + a["width"] <= b["x"] for a, b in pairwise(boxes))
    assert not page.locator(".control").first.is_visible()


def test_without_javascript_everything_is_there(opened):
    page, _, _ = opened(java_script_enabled=False)
    layers = page.locator(".exhibit").first.locator(".layer").all()
    tops = [layer.bounding_box()["y"] for layer in layers]
    assert tops == sorted(tops) and len({*tops}) == 4
    assert page.locator(".exhibit").first.get_by_text("prediction").first.is_visible()
