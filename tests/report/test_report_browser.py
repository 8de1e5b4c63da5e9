from dataclasses import replace

import pytest

from ppn.report.confusion import Cell, Confusion
from ppn.report.content import Fact
from ppn.report.parts import Flagged, NamedPart, Separation
from ppn.report.render import write_report
from tests.axe import barriers
from tests.explanation.test_versus import made

HOSTILE_CLASS = "<script>alert(1)</script>"
HOSTILE_IMAGE = '"><img src=x onerror=alert(1)>'
LONG = "A_class_with_a_name_that_goes_on_and_on_without_a_single_space_to_break_the_line_at"


@pytest.fixture(params=[1280, 390])
def page(browser, request):
    page = browser.new_page(viewport={"width": request.param, "height": 844})
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (page.complaints.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def visit(page, path):
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    page.evaluate(
        "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); }))"
    )


def fits(page):
    return page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("k", [1, 10])
def test_the_page_fits_the_screen_and_stays_silent(make_report, page, tmp_path, k):
    visit(page, write_report(make_report(k=k, samples=2, patches=5), tmp_path))
    assert fits(page)
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="In its image").click()
    assert fits(page)
    assert page.complaints == []
    assert all(url.startswith(("file://", "data:")) for url in page.requests)


def test_hostile_and_long_names_do_no_harm(make_report, page, tmp_path):
    report = make_report()
    sample = replace(
        report.samples[0], name=HOSTILE_IMAGE + LONG, class_name=LONG, true_class=HOSTILE_CLASS
    )
    first, second = report.classes
    patches = [replace(p, name=HOSTILE_IMAGE) for p in first.prototypes[0].patches]
    hostile = replace(
        report,
        title=HOSTILE_CLASS,
        model=LONG,
        samples=[sample],
        classes=[
            replace(
                first,
                name=HOSTILE_CLASS,
                prototypes=[replace(first.prototypes[0], patches=patches)],
            ),
            replace(second, name=LONG),
        ],
    )
    visit(page, write_report(hostile, tmp_path))
    assert page.title() == HOSTILE_CLASS
    assert HOSTILE_CLASS in page.locator("#classes h3").first.inner_text()
    assert fits(page)
    assert page.complaints == []
    assert all(url.startswith(("file://", "data:")) for url in page.requests)


def test_the_policy_stops_a_handler_even_if_it_got_in(make_report, page, tmp_path):
    visit(page, write_report(make_report(classes=1), tmp_path))
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None


def test_classes_are_found_by_name(make_report, page, tmp_path):
    visit(page, write_report(make_report(classes=3, patches=1), tmp_path))
    box = page.get_by_role("searchbox")
    box.fill("bird_001")
    assert page.locator("details.class:visible").count() == 1
    assert page.locator(".count").inner_text() == "1 of 3 classes"
    box.fill("no such bird")
    assert page.locator("details.class:visible").count() == 0
    assert page.locator(".nothing").is_visible()
    box.fill("")
    assert page.locator("details.class:visible").count() == 3
    assert page.locator(".count").inner_text() == "3 classes"


def test_the_switches_work_by_keyboard(make_report, page, tmp_path):
    visit(page, write_report(make_report(samples=3), tmp_path))
    assert page.locator(".sample:visible").count() == 1
    page.locator(".filmstrip button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator(".sample:visible").get_attribute("id") == "sample-2"
    page.locator(".filmstrip .all").press("Enter")
    assert page.locator(".sample:visible").count() == 3
    assert page.locator(".patches .whole:visible").count() == 0
    page.get_by_role("button", name="In its image").press("Enter")
    assert page.locator(".patches .crop:visible").count() == 0
    assert page.locator(".patches .whole:visible").count() > 0
    page.locator(".fold").press("Enter")
    assert page.locator("details.class[open]").count() == 2
    page.locator(".fold").press("Enter")
    assert page.locator("details.class[open]").count() == 0


def test_flags_are_sorted_by_any_column(make_report, page, tmp_path):
    given = [("b", "outside", 0.6), ("c", "foreign", 1.0), ("a", "little", 0.08)]
    flags = [Flagged(i, name, 0, "Part 1", kind, v) for i, (name, kind, v) in enumerate(given)]
    visit(page, write_report(make_report(flags=flags), tmp_path))
    assert fits(page)

    def order():
        return page.locator("table.flags tbody th").all_inner_texts()

    assert order() == ["c", "a", "b"]
    page.locator("table.flags").get_by_role("button", name="Class").click()
    assert order() == ["a", "b", "c"]
    page.locator("table.flags").get_by_role("button", name="Class").click()
    assert order() == ["c", "b", "a"]
    page.locator("table.flags").get_by_role("button", name="Value").press("Enter")
    assert order() == ["c", "a", "b"]
    assert page.complaints == []


def test_everything_can_be_read_without_the_script(make_report, browser, tmp_path):
    path = write_report(make_report(samples=2), tmp_path)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator(".sample:visible").count() == 2
    assert page.locator(".toolbar:visible").count() == 0
    context.close()


def grown(make_report):
    """A report with mistakes, a table of parts and a page for each class."""
    report = make_report(k=2, classes=3, samples=3, patches=2)
    first = report.classes[0]
    doubted = replace(first.prototypes[0], share=0.01, outside=0.7, flags=("mostly background",))
    cards = [replace(first, prototypes=[doubted, first.prototypes[1]]), *report.classes[1:]]
    cells = [[Cell(4), Cell(2, 1, 1.0)], [Cell(0), Cell(3)]]
    names = [first.name, cards[1].name]
    table = Confusion(names, cells, 2, 9, 3, [(*names, cells[0][1])])
    run = [Fact("Command", "ppn test --config some.yaml")]
    return replace(report, classes=cards, confusion=table, run=run)


def whole(make_report):
    """A report with everything that there can be on one."""
    report = grown(make_report)
    head = NamedPart(0, "head", share=0.6, accuracy=0.93, shares={0: 0.5, 1: 0.7})
    separates = [Separation("Bird 000", "Bird 001", 0.5, 1.25)]
    parts = [replace(head, separates=separates), NamedPart(1, "rest", remainder=True, share=0.4)]
    flags = [Flagged(0, report.classes[0].name, 0, "Part 1", "outside", 0.7)]
    pair = made()
    samples = [pair.first, *report.samples[1:]]
    return replace(report, parts=parts, flags=flags, samples=samples, versus={0: pair})


def arrived(page, name):
    """Wait until an address leads to what is seen: a browser goes there in its own time."""
    page.locator(f"#{name}").wait_for()
    page.wait_for_function("hash => location.hash === hash", arg=f"#{name}")


def test_mistakes_open_from_the_table_and_by_address(make_report, page, tmp_path):
    path = write_report(grown(make_report), tmp_path)
    page.goto(path.as_uri())
    assert page.locator("#sample-1").is_visible()
    page.locator("table.matrix a").click()
    arrived(page, "sample-2")
    page.locator("#sample-1").wait_for(state="hidden")
    page.keyboard.press("ArrowRight")
    arrived(page, "sample-3")
    page.reload()
    arrived(page, "sample-3")
    page.goto(path.as_uri() + "#class-2-part-1")
    arrived(page, "class-2-part-1")
    assert page.locator("#class-2[open]").count() == 1
    assert page.complaints == []


def test_parts_are_sorted_and_unknown_values_come_last(make_report, page, tmp_path):
    page.goto(write_report(grown(make_report), tmp_path).as_uri())
    page.get_by_role("button", name="Share of the logit").click()
    shares = page.locator(".sortable td:nth-child(3)").all_inner_texts()
    assert shares[-1].startswith("1")
    page.get_by_role("button", name="Outside of the object").click()
    outside = page.locator(".sortable td:nth-child(4)").all_inner_texts()
    assert outside[0].startswith("70")
    page.get_by_role("button", name="Outside of the object").click()
    assert page.locator(".sortable td:nth-child(4)").all_inner_texts()[0].startswith("70")
    assert fits(page)


def test_technical_terms_are_on_a_switch(make_report, page, tmp_path):
    page.goto(write_report(grown(make_report), tmp_path).as_uri())
    term = page.locator("#class-0-part-1 .term-of-art")
    assert not term.is_visible()
    page.get_by_role("switch", name="Technical terms").check()
    assert term.is_visible()
    assert fits(page)


def test_each_class_of_many_has_a_page(make_report, page, tmp_path):
    report = grown(make_report)
    cards = {card.label: card for card in report.classes}
    lines = [
        replace(c, prototypes=[replace(p, patches=[]) for p in c.prototypes])
        for c in report.classes
    ]
    several = replace(report, lines=lines, card=cards.__getitem__)
    path = write_report(several, tmp_path)
    assert len(list((tmp_path / "classes").iterdir())) == 3
    page.goto(path.as_uri())
    page.get_by_role("searchbox").fill("bird 001")
    page.locator(".listed a:visible").click()
    page.get_by_role("heading", level=1, name=cards[1].name, exact=True).wait_for()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/00002.html")
    assert page.locator(".prototype").count() == 2
    assert fits(page)
    page.goto(path.as_uri())
    page.locator(".whole-table").evaluate("box => { box.open = true; }")
    page.locator(".sortable a").first.click()
    page.wait_for_url("**/00000.html#class-0-part-1")
    assert page.complaints == []
    write_report(report, tmp_path)  # in the same place, on one page
    assert not (tmp_path / "classes").exists()


@pytest.mark.parametrize("listed", [False, True])
def test_nothing_stands_in_anyone_s_way(make_report, page, tmp_path, listed):
    report = whole(make_report)
    if listed:
        cards = {card.label: card for card in report.classes}
        report = replace(report, lines=report.classes, card=cards.__getitem__)
    start = write_report(report, tmp_path)
    found = {}
    for path in (start, tmp_path / "classes/00000.html") if listed else (start,):
        visit(page, path)
        for scheme in ("light", "dark") if page.viewport_size["width"] > 1000 else ("light",):
            page.emulate_media(color_scheme=scheme)
            found[path.name, scheme] = barriers(page)
    assert not any(found.values()), found


@pytest.mark.slow
def test_every_class_of_two_hundred_is_found(browser, tmp_path):
    from experiments.benchmarks.report import folder_size, many_classes

    report = many_classes(200, 10, 20)
    path = write_report(report, tmp_path)
    assert folder_size(tmp_path) <= 100e6
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.goto(path.as_uri())
    search = page.get_by_role("searchbox")
    for line in report.lines[::40]:
        search.fill(line.name)
        assert page.locator(".listed a:visible").count() == 1
    page.locator(".listed a:visible").click()
    page.wait_for_url("**/classes/*.html")
    assert page.locator(".prototype").count() == 10
    tiles = page.get_by_alt_text("15 more training patches of Part 1 of")
    assert tiles.evaluate("image => image.decode().then(() => image.naturalWidth)") > 600
    page.close()
