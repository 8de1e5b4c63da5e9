from contextlib import contextmanager

from tests.app.serving import kill, needs_gradio, serving

pytestmark = needs_gradio

PARTS = ["beak", "wing", "tail"]
WAIT = 60_000


def annotating(path):
    """`ppn annotate` and its address; it is killed at the end."""
    words = ["--data", "synthetic_birds", "--data.num_classes=3", "--data.train_per_class=3"]
    words += ["--data.draw_size=96", "--parts", ",".join(PARTS), "--out", str(path)]
    return serving(path.parent, "annotate", *words)


@contextmanager
def visited(browser, address, width, touch=False):
    context = browser.new_context(viewport={"width": width, "height": 844}, has_touch=touch)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.complaints, requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.locator(".annotate .picture").wait_for()
    yield page
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert all(url.startswith((address, "data:")) for url in requests)
    context.close()


def at(page, x, y):
    """Viewport coordinates of a place in the picture, x and y in [0, 1]."""
    box = page.locator(".picture").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def asked(page, part):
    """Wait until a part is asked for, and no answer is on its way."""
    page.wait_for_function(
        "name => document.querySelector('.question').textContent.startsWith(name)", arg=part
    )


def answered(path):
    return path.read_text().splitlines()[1:]


def test_parts_are_clicked_and_nothing_is_lost_when_it_is_killed(browser, tmp_path):
    path = tmp_path / "clicks.csv"
    with annotating(path) as (process, address), visited(browser, address, 1280) as page:
        asked(page, "beak")
        first = page.locator("figcaption").inner_text().split(" · ")[1]
        page.mouse.click(*at(page, 0.25, 0.5))
        asked(page, "wing")
        (line,) = answered(path)
        name, part, x, y = line.split(",")
        assert (name, part) == (first, "beak")
        assert abs(float(x) - 24) < 1
        assert abs(float(y) - 48) < 1
        page.keyboard.press("n")
        asked(page, "tail")
        assert answered(path)[1:] == [f"{first},wing,,"]
        page.keyboard.press("u")
        asked(page, "wing")
        assert answered(path) == [line]
        page.get_by_role("button", name="tail").click()
        page.get_by_role("button", name="Not visible").click()
        asked(page, "wing")
        page.keyboard.press("3")
        asked(page, "tail")
        page.mouse.click(*at(page, 0.75, 0.5))  # another answer takes the place of the first
        asked(page, "wing")
        assert len(answered(path)) == 2
        page.mouse.click(*at(page, 0.5, 0.5))
        page.wait_for_function(
            "name => !document.querySelector('figcaption').textContent.includes(name)", arg=first
        )
        asked(page, "beak")
        assert page.locator(".done").inner_text() == "1"
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("document.querySelectorAll('.marks span').length === 3")
        page.keyboard.press("ArrowRight")
        asked(page, "beak")
        second = page.locator("figcaption").inner_text().split(" · ")[1]
        page.mouse.dblclick(*at(page, 0.5, 0.5))  # one answer
        asked(page, "wing")
        assert len(answered(path)) == 4
        page.locator(".frame").focus()  # as Tab does
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("ArrowDown")
        page.locator(".cross").wait_for()
        page.keyboard.press("Enter")
        asked(page, "tail")
        _, part, x, y = answered(path)[-1].split(",")
        assert (part, abs(float(x) - 38.4) < 0.1, abs(float(y) - 49) < 0.1) == ("wing", True, True)
        page.keyboard.press("u")
        asked(page, "wing")
        assert page.locator("figcaption").inner_text().endswith(second)  # arrows changed no image
        assert page.complaints == []
        kill(process)
        page.keyboard.press("n")
        page.locator(".notice").wait_for()
        assert "The program does not answer" in page.locator(".notice").inner_text()
        asked(page, "wing")
    with path.open("a") as file:
        file.write(f"{second},wing,12.5,1")  # the machine went down in the middle of a line
    with annotating(path) as (_, address), visited(browser, address, 390, touch=True) as page:
        asked(page, "wing")
        assert "cut off" in page.locator(".notice").inner_text()
        assert page.locator("figcaption").inner_text().endswith(second)
        assert page.locator(".done").inner_text() == "1"
        page.touchscreen.tap(*at(page, 0.5, 0.25))
        asked(page, "tail")
        page.get_by_role("button", name="Not visible").tap()
        page.wait_for_function("document.querySelector('.done').textContent === '2'")
        asked(page, "beak")
        page.get_by_role("button", name="Undo").tap()
        asked(page, "tail")
        assert len(answered(path)) == 5
        assert page.locator("figcaption").inner_text().endswith(second)
        assert page.complaints == []
