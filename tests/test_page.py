"""The page for people: what it is made of; and, in a browser, what a person does with it."""

import base64
import io
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from chromium import chromium
from PIL import Image
from serving import form, on_gradio, png, running, saved_moody

from segzoo.cli.demo import models_here
from segzoo.model.choice import best
from segzoo.serve.pages import INDEX, TYPES, page_routes
from segzoo.serve.settings import Networks, ServerSettings
from segzoo.zoo import registry


def index(*names):
    routes = page_routes(ServerSettings(networks=Networks(models=dict.fromkeys(names, "x"))))
    [front] = [route for route in routes if route.path == "/"]
    return front, routes


def test_every_file_of_the_page_is_served_and_no_other():
    _, routes = index("a")
    folder = files("segzoo.serve").joinpath("page")
    there = {file.name for file in folder.iterdir()}
    assert {route.path.removeprefix("/") for route in routes} - {""} == {*TYPES} == there - {INDEX}


def test_the_page_names_no_other_site_and_has_no_code_or_style_in_itself():
    folder = files("segzoo.serve").joinpath("page")
    text = "".join(folder.joinpath(n).read_text("utf-8") for n in (INDEX, "script.js", "style.css"))
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+/", text) == []
    page = folder.joinpath(INDEX).read_text("utf-8")
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", page)
    assert "innerHTML" not in text and "eval(" not in text


def test_every_field_has_a_label():
    page = files("segzoo.serve").joinpath("page", INDEX).read_text("utf-8")
    for field in re.findall(r'<(?:select|input) id="([a-z-]+)"', page):
        inside = re.search(rf"<label[^>]*>(?:(?!</label>).)*id=\"{field}\"", page, re.S)
        said = f'for="{field}"' in page or re.search(rf'id="{field}"[^>]*aria-label=', page)
        assert inside or said, field


def test_the_demo_offers_what_is_here_and_the_best_first():
    found = models_here()
    assert found[0] == best().ref
    assert len(found) == len(set(found)) > 1
    for ref in found:
        name, _, tag = ref.rpartition(".")
        assert tag in registry.find(name).load().weights


# --- in a browser ---------------------------------------------------------------------------------


HOSTS = ["own", pytest.param("gradio", marks=pytest.mark.gradio)]
MOST = 400_000  # pixels


@pytest.fixture(scope="module", params=HOSTS)
def server(request, tmp_path_factory):
    """The page on our own server, and on Gradio's as a Space has it."""
    if request.param == "gradio" and find_spec("gradio") is None:
        pytest.skip("gradio is not installed: make gradio")
    with pytest.MonkeyPatch.context() as patch:
        folder = saved_moody(tmp_path_factory.mktemp("saved") / "moody", patch)
    home, models = tmp_path_factory.mktemp("home"), {"moody": folder, "other": folder}
    if request.param == "gradio":
        with on_gradio(models, tmp_path_factory.mktemp("space"), home, MOST) as found:
            yield found
        return
    with running(models, home, page=True, networks={"max_pixels": MOST}) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser, server):
    """A page whose console stays empty, and which asks nobody else."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.asked = asked
    page.goto(f"http://127.0.0.1:{server.port}/")
    yield page
    context.close()
    own = (f"http://127.0.0.1:{server.port}/", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    # What Chromium says of a refused request, and of this test's look at the canvas.
    expected = ("Failed to load resource", "Canvas2D")
    assert [line for line in said if not line.startswith(expected)] == []


def shown(page):
    """The pixels of the canvas, as the browser has them: (H, W, 4)."""
    values, width = page.evaluate(
        """() => { const c = document.getElementById("result");
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height);
        return [[...d.data], c.width]; }"""
    )
    return np.array(values, np.uint8).reshape(-1, width, 4)


def choose(page, content, name="photo.png"):
    file = {"name": name, "mimeType": "image/png", "buffer": content}
    page.set_input_files("#file", files=[file])


def predictions(page):
    return sum(url.endswith("/predict") for url in page.asked)


@pytest.mark.browser
def test_a_person_chooses_a_picture_and_moves_the_sliders(page, server):
    choose(page, png())
    page.wait_for_selector("#facts dt")
    cutout = server.predict(png()).pixels
    assert (shown(page)[..., 3] == cutout[..., 3]).all()
    assert "20 × 16" in page.inner_text("#facts")

    # Sliders ask nobody. Colours between dark and bright would be foreground above 0.5.
    assert predictions(page) == 1
    page.fill("#softness", "0")
    page.wait_for_timeout(200)
    assert {*np.unique(shown(page)[..., 3])} <= {0, 255}
    page.locator("[data-view=mask]").check(force=True)
    mask = server.predict(png(), "?output=mask").pixels
    assert (shown(page)[..., 0] == mask).all()
    page.fill("#threshold", "0.98")
    page.wait_for_timeout(200)
    strict = server.predict(png(), "?output=mask&threshold=0.98").pixels
    assert (shown(page)[..., 0] == strict).all()
    assert predictions(page) == 1

    # What changes nothing of a mask rests meanwhile.
    assert page.is_disabled("#softness") and page.is_disabled("[data-colour='#ffffff']")
    page.locator("[data-view=cutout]").check(force=True)
    assert page.is_enabled("#softness")
    # A small picture is shown larger, and the handle of the slider lies within the page.
    assert page.locator("#result").bounding_box()["width"] == 40
    assert page.locator("#split").bounding_box()["x"] >= 14

    # The picture as it was, from the left.
    page.fill("#split", "40")
    clip = page.evaluate("() => getComputedStyle(document.getElementById('before')).clipPath")
    assert clip == "inset(0px 60% 0px 0px)"
    page.focus("#split")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#split") == "41"

    # Another model is another question.
    page.select_option("#model", "other")
    page.wait_for_timeout(1500)
    assert predictions(page) == 2
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_what_is_downloaded_is_what_the_server_made(page, server):
    choose(page, png(), "cat.v2.png")
    page.wait_for_selector("#facts dt")
    with page.expect_download() as wait:
        page.click("#download")
    assert wait.value.suggested_filename == "cat.v2-cutout.png"
    assert Path(wait.value.path()).read_bytes() == server.predict(png()).body
    page.locator("[data-colour='#ffffff']").check(force=True)
    with page.expect_download() as wait:
        page.click("#download")
    pixels = np.asarray(Image.open(wait.value.path()).convert("RGBA"))
    assert (pixels[..., 3] == 255).all() and (pixels[0, 0] > 200).all()


@pytest.mark.browser
def test_a_sample_and_what_cannot_be_read(page):
    page.click("[data-sample='cat.jpg']")
    page.wait_for_selector("#facts dt")
    choose(page, b"this is no picture", "letter.heic")
    page.wait_for_selector("#status .bad")
    assert "not a picture that segzoo reads" in page.inner_text("#status")


@pytest.mark.browser
def test_a_picture_that_is_too_large_is_made_smaller_first(page):
    choose(page, png(np.zeros((800, 1000, 3))))
    page.wait_for_selector("#status span:has-text('Sent at')")
    assert "Sent at 707 × 565" in page.inner_text("#status")


DROP = """([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""


PASTE = DROP.replace(
    'new DragEvent("drop", { dataTransfer: data, bubbles: true })',
    'new ClipboardEvent("paste", { clipboardData: data, bubbles: true })',
)


@pytest.mark.browser
def test_a_picture_is_pasted_and_a_text_is_not(page):
    page.evaluate(PASTE, ["note.txt", "text/plain", ""])
    assert not page.is_visible("#another") and page.is_visible("#drop")
    page.evaluate(PASTE, ["image.png", "image/png", base64.b64encode(png()).decode()])
    page.wait_for_selector("#facts dt")
    assert predictions(page) == 1 and page.is_visible("#another")
    with page.expect_download() as wait:
        page.click("#download")
    assert wait.value.suggested_filename == "pasted-cutout.png"


@pytest.mark.browser
def test_what_fails_leaves_the_picture_before_it_and_its_name(page, server):
    choose(page, png(), "first.png")
    page.wait_for_selector("#facts dt")
    choose(page, b"no picture", "second.png")
    page.wait_for_selector("#status .bad")
    with page.expect_download() as wait:
        page.click("#download")
    assert wait.value.suggested_filename == "first-cutout.png"
    assert Path(wait.value.path()).read_bytes() == server.predict(png()).body
    # The same file once more is asked once more.
    before = predictions(page)
    choose(page, b"no picture", "second.png")
    page.wait_for_timeout(500)
    assert predictions(page) == before + 1


@pytest.mark.browser
def test_50_megapixels_are_dropped(page):
    content = png(np.full((6250, 8000, 3), 200))
    page.evaluate(DROP, ["large.png", "image/png", base64.b64encode(content).decode()])
    page.wait_for_selector("#facts dt")
    assert "Sent at 715 × 559" in page.inner_text("#status")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_a_heic_is_dropped_which_the_browser_cannot_open(page):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    content = io.BytesIO()
    square = Image.open(io.BytesIO(png(side=64)))
    pillow_heif.from_pillow(square).save(content, quality=-1)
    file = base64.b64encode(content.getvalue()).decode()
    page.evaluate(DROP, ["phone.heic", "image/heic", file])
    page.wait_for_selector("#facts dt")
    alpha = shown(page)[..., 3]
    assert alpha.shape == (64, 68) and alpha[32, 34] > 200 and alpha[2, 2] < 50
    assert not page.is_visible("#split")


@pytest.mark.browser
def test_two_tabs_are_two_visitors(page, server):
    other = page.context.new_page()
    other.goto(page.url)
    choose(page, png())
    choose(other, png(side=24))
    for tab, size in ((page, "20 × 16"), (other, "28 × 24")):
        tab.wait_for_selector("#facts dt")
        assert size in tab.inner_text("#facts")
    page.fill("#threshold", "0.9")
    assert other.input_value("#threshold") == "0.5"
    other.close()


FOCUSED = "() => document.activeElement.id || document.activeElement.name"


@pytest.mark.browser
def test_the_keyboard_reaches_everything(page):
    """From the top of the page by the Tab key alone, to a picture's every setting."""
    choose(page, png())
    page.wait_for_selector("#facts dt")
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.name")
        )
    for wanted in ("split", "model", "shown", "behind", "edges", "threshold", "softness"):
        assert wanted in reached, reached
    assert "download" in reached and "another" in reached


@pytest.mark.browser
def test_without_javascript_it_is_a_form(browser, server):
    context = browser.new_context(java_script_enabled=False, accept_downloads=True)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    assert not page.is_visible("#threshold") and page.is_visible("#output")
    choose(page, png())
    page.select_option("#output", "mask")
    with page.expect_response("**/predict") as wait:
        page.click("button.plain")
    assert (wait.value.status, wait.value.headers["content-type"]) == (200, "image/png")
    page.goto(f"http://127.0.0.1:{server.port}/")
    choose(page, b"no picture")
    page.click("button.plain")
    assert "Unprocessable" in page.inner_text("h1")
    context.close()


@pytest.mark.slow  # a server of its own
def test_a_form_of_a_browser_is_answered_with_a_page_when_it_fails(server):
    body, kind = form({"model": "<script>"}, png())
    said = server.ask("/predict", body, Content_Type=kind, Accept="text/html,*/*")
    assert (said.status, said.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert b"<script>" not in said.body and b"&lt;script&gt;" in said.body
    front = server.ask("/")
    assert front.status == 200 and b'<option value="moody">' in front.body
    assert "'unsafe" not in front.headers["Content-Security-Policy"]
    assert Image.open(io.BytesIO(server.ask("/cat.jpg").body)).format == "JPEG"
