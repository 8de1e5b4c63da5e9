import base64
import io
import json
from contextlib import contextmanager

import pytest
from PIL import Image

import ppn
from tests.app.serving import needs_gradio, serving
from tests.axe import barriers
from tests.commands.conftest import CLASSES, world  # noqa: F401 - a fixture

pytestmark = needs_gradio
WAIT = 60_000


@pytest.fixture(scope="module")
def served(world, tmp_path_factory):  # noqa: F811
    """`ppn app` of a small network and its images: address, folder of photos, --out, clicks."""
    base, _ = world
    out = tmp_path_factory.mktemp("app")
    words = ["--ckpt", base / "run/checkpoints/prototypes.ckpt", "--data", "folder"]
    words += ["--data.root", base / "photos", "--data.num_workers=0"]
    words += ["--out", out / "edited", "--clicks", out / "clicks.csv", "--parts", "handle,rim"]
    with serving(out, "app", *map(str, words)) as (_, address):
        yield address, base, out


@contextmanager
def visited(browser, address, width):
    context = browser.new_context(viewport={"width": width, "height": 844}, has_touch=width < 800)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.locator(".bench .examples button").first.wait_for()
    yield page
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert all(url.startswith((address, "data:")) for url in requests)
    assert complaints == []
    context.close()


def expect_open_to_all(page, schemes=("light",)):
    """Nothing that axe looks for stands in anyone's way."""
    found = {}
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        found[scheme] = barriers(page)
    assert not any(found.values()), found


def opened(page, path):
    page.locator(".open input").set_input_files(path)
    page.locator(".bench .rows .row").first.wait_for()


def logit(page):
    return float(page.locator(".logit").inner_text().replace("\N{MINUS SIGN}", "-"))


def values(page):
    return [
        float(text.replace("\N{MINUS SIGN}", "-"))
        for text in page.locator(".row:not(.off) .value").all_inner_texts()
    ]


def test_parts_are_seen_taken_out_compared_flagged_and_saved(browser, served):
    address, base, out = served
    photo = base / "photos/mug/1.png"
    network = ppn.load(base / "run/checkpoints/prototypes.ckpt")
    truth = network.explain(photo)
    with visited(browser, address, 1280) as page:
        opened(page, photo)
        assert page.locator(".verdict").inner_text().startswith(truth.class_name)
        assert abs(logit(page) - truth.logit) < 0.01
        assert abs(sum(values(page)) - logit(page)) < 1e-6
        first, second = truth.order[:2]
        page.get_by_role("button", name=f"Show Part {first + 1}").hover()
        page.locator(".bench .over").wait_for()
        page.locator(".like figure").first.wait_for()
        assert f"Part {first + 1} in training images" in page.locator(".like h2").inner_text()
        plain = page.locator(".bench .over").get_attribute("src")
        page.get_by_role("button", name=f"Show Part {second + 1}").hover()
        page.wait_for_function("src => document.querySelector('.over').src !== src", arg=plain)

        page.get_by_role("switch", name=f"Part {first + 1} counts").uncheck()
        page.locator(".row.off").wait_for()
        assert abs(logit(page) - (truth.logit - truth.contributions[first])) < 0.01
        assert abs(sum(values(page)) - logit(page)) < 1e-6
        network.remove(truth.label, first + 1)
        probability = network.explain(photo, truth.label).probability
        shown = page.locator(".likely li", has_text=truth.class_name).inner_text()
        assert f"{100 * probability:.1f}" in shown
        assert "Accuracy" in page.locator(".accuracy").inner_text()

        other = next(name for name in CLASSES if name != truth.class_name)
        page.locator(".against").select_option(label=other)
        page.locator(".versus table").wait_for()
        cells = page.locator(".versus td:last-child").all_inner_texts()
        numbers = [float(text.replace("\N{MINUS SIGN}", "-")) for text in cells]
        assert abs(sum(numbers[:-1]) - numbers[-1]) < 1e-6

        page.get_by_role("button", name=f"Flag Part {second + 1}").click()
        page.locator(".keep input").fill("background")
        expect_open_to_all(page, ("light", "dark"))
        page.get_by_role("button", name="Save the network").click()
        page.wait_for_function(
            "document.querySelector('.saved').textContent.startsWith('Saved in')"
        )
        place = out / "edited/1"
        assert [edit.parts for edit in ppn.load(place / "checkpoints/prototypes.ckpt").edits] == [
            (first,)
        ]
        (flag,) = json.loads((place / "flags.json").read_text())["flags"]
        assert (flag["prototype"], flag["reason"]) == (second + 1, "background")
        page.get_by_role("button", name="Undo all").click()
        page.wait_for_function("!document.querySelector('.row.off')")
        assert abs(logit(page) - truth.logit) < 0.01


def test_a_small_screen_shows_the_same_and_what_is_wrong(browser, served, tmp_path):
    address, base, _ = served
    with visited(browser, address, 390) as page:
        page.locator(".bench .examples button").first.tap()
        page.locator(".bench .rows .row").first.wait_for()
        page.get_by_role("button", name="Show Part 2").tap()
        page.locator(".like figure").first.wait_for()
        expect_open_to_all(page)
        page.evaluate("scrollTo(0, 300)")  # the picture stays in sight
        page.wait_for_function("document.querySelector('.stage').getBoundingClientRect().y === 0")
        before = page.locator(".logit").inner_text()
        (tmp_path / "no.jpg").write_text("no image")
        page.locator(".open input").set_input_files(tmp_path / "no.jpg")
        page.locator(".bench .notice").wait_for()
        assert "cannot be read (it is of no known kind)" in page.locator(".notice").inner_text()
        assert page.locator(".logit").inner_text() == before
        opened(page, base / "photos/plate/2.png")
        page.wait_for_function("document.querySelector('.bench .notice').hidden")


def test_parts_are_named_in_another_tab(browser, served):
    address, _, out = served
    with visited(browser, address, 1280) as page:
        page.get_by_role("tab", name="Name parts").click()
        page.locator(".annotate .picture").wait_for()
        page.keyboard.press("n")
        page.wait_for_function(
            "document.querySelector('.annotate .question').textContent.startsWith('rim')"
        )
        expect_open_to_all(page, ("light", "dark"))
    assert (out / "clicks.csv").read_text().splitlines()[1].endswith(",handle,,")


def test_large_requests_are_refused(served):
    import urllib.error
    import urllib.request

    address, _, _ = served
    for length in (len(b"x" * 40_000_000), None):
        body = (b"x" * 1_000_000 for _ in range(40))
        request = urllib.request.Request(f"{address}gradio_api/component_server", body)
        request.add_header("Content-Type", "application/json")
        if length:
            request.add_header("Content-Length", str(length))
        with pytest.raises((urllib.error.HTTPError, OSError)):
            urllib.request.urlopen(request, timeout=30)


def test_images_are_not_bombs():
    from ppn.app.uploads import uploaded
    from ppn.errors import DataError

    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    with pytest.raises(DataError, match="9000 x 9000 pixels, more than 60 million"):
        uploaded("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
