import errno
import itertools
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from ppn.errors import DataError
from ppn.explanation.record import Ranked
from ppn.report import render as render_module
from ppn.report.confusion import Cell, Confusion
from ppn.report.content import Column, Fact, Report, Sensitivity
from ppn.report.parts import ClassCard, Flagged, NamedPart, Prototype, Separation
from ppn.report.render import render, write_report

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
MINUS = "\N{MINUS SIGN}"


class Page(HTMLParser):
    """Collects tags with their attributes, and checks that they close in order."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.ids = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def amounts(html):
    """The printed steps of the first sample: parts and bias, then the logit."""
    steps = html[html.index('<ol class="steps"') : html.index("</ol>")]
    texts = re.findall(r'<p class="amount">([^<]+)</p>', steps)
    return [float(text.replace(MINUS, "-").replace(",", "")) for text in texts]


def test_the_page_is_well_formed_and_refers_to_nothing_outside(make_report):
    html = render(make_report(samples=2))
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/", "#")), (tag, attributes[name])
        if tag == "img":
            assert "alt" in attributes
    assert "url(" not in html
    assert "@import" not in html
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_every_name_is_escaped(make_report, make_sample):
    report = make_report()
    prototypes = report.classes[0].prototypes
    patches = [replace(patch, name=IMAGE) for patch in prototypes[0].patches]
    hostile = replace(
        report,
        title=SCRIPT,
        subtitle=SCRIPT,
        model=IMAGE,
        dataset=SCRIPT,
        split=IMAGE,
        created=SCRIPT,
        facts=[Fact(SCRIPT, IMAGE, SCRIPT, IMAGE)],
        certificate=[Fact(SCRIPT, IMAGE, SCRIPT)],
        metrics=[
            replace(
                report.metrics[0],
                name=SCRIPT,
                unit=IMAGE,
                levels={IMAGE: 1.0},
                protocol=SCRIPT,
                constants={IMAGE: SCRIPT},
                help=SCRIPT,
            )
        ],
        explainers=[
            replace(
                report.explainers[0], name=IMAGE, values={Column(SCRIPT, IMAGE): 1.0}, kind=SCRIPT
            )
        ],
        sensitivity=[
            replace(
                report.sensitivity[0],
                metric=SCRIPT,
                rows=(IMAGE, [27, 36]),
                columns=(SCRIPT, [0.7, 0.8]),
            )
        ],
        samples=[
            replace(
                make_sample([1.0, 2.0, 3.0]),
                name=IMAGE,
                true_class=IMAGE,
                class_name=SCRIPT,
                ranking=(Ranked(1, SCRIPT, 1.0, 0.9),),
            )
        ],
        classes=[
            ClassCard(0, SCRIPT, [replace(prototypes[0], patches=patches, part=IMAGE)], images=1)
        ],
        notes=[SCRIPT],
    )
    html = render(hostile)
    clean = Page(render(replace(make_report(), samples=report.samples)))
    page = Page(html)
    assert "<script>alert" not in html
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags}


def test_the_printed_contributions_and_bias_add_up_to_the_printed_logit(make_report):
    *terms, logit = amounts(render(make_report(k=5)))
    assert len(terms) == 6
    assert sum(terms) == pytest.approx(logit, abs=1e-9)


def test_a_sum_that_misses_the_logit_is_called_so(make_report, make_sample):
    good = make_sample([1.0, 2.0])
    whole = render(replace(make_report(k=2), samples=[good]))
    assert "do not add up" not in whole
    assert "factor 1/s = 0.5." in whole
    html = render(replace(make_report(k=2), samples=[replace(good, logit=good.logit + 0.5)]))
    assert "do not add up" in html
    assert "differs from the black box's own logit by 0.500" in html.replace("&#39;", "'")


def test_the_page_opens_with_a_sum_and_no_two_signs_together(make_report, make_sample):
    html = render(replace(make_report(), samples=[make_sample([-2.0, -1.0])]))
    opening = html[html.index('<figure class="equation"') : html.index("</figure>")]
    signs = re.findall(r'<span class="sign" aria-hidden="true">([^<]+)</span>', opening)
    terms = re.findall(r'<p class="amount">([^<]+)</p>', opening)
    assert signs == ["=", MINUS, MINUS]
    assert terms == [f"{MINUS}3.25", f"{MINUS}1.00", "2.00", "0.25"]


def test_a_part_that_carries_nothing_looks_like_nothing(make_report, make_sample):
    given = replace(make_report(), samples=[make_sample([2.0, 0.001, -1.0])])
    html = render(given)
    steps = html[html.index('<ol class="steps"') : html.index("</ol>")]
    assert steps.count("looks<br>like") == 1
    assert steps.count("adds next<br>to nothing") == 1
    assert steps.count("speaks<br>against it") == 1


def test_a_doubtful_prediction_is_cautioned(make_report, make_sample):
    sure = make_sample([2.0, 1.0])
    doubtful = replace(sure, ranking=(Ranked(0, "a", 1.0, 0.4), Ranked(1, "b", 0.9, 0.36)))
    assert "uncertain" not in render(replace(make_report(), samples=[sure]))
    page = render(replace(make_report(), samples=[doubtful]))
    assert '<p class="caution">The prediction is uncertain: a 40' in page


def test_negative_contributions_step_down(make_report, make_sample):
    negative = make_sample([2.0, -1.5, 0.25])
    html = render(replace(make_report(), samples=[negative]))
    assert amounts(html) == [2.0, 0.25, -1.5, -0.25, 0.5]  # what adds most comes first
    assert html.count("stair negative") == 1
    assert html.count("stair constant negative") == 1
    below = render(replace(make_report(), samples=[make_sample([-2.0, -1.0, 0.5])]))
    assert amounts(below)[-1] == -2.75
    for value in re.findall(r"(?:left|width|--zero):([-\d.]+)%", below):
        assert 0 <= float(value) <= 100


def test_negative_shares_are_shown_as_such(make_report):
    report = make_report()
    prototypes = [
        replace(p, share=s)
        for p, s in zip(report.classes[0].prototypes, (0.8, 0.4, -0.2), strict=True)
    ]
    html = render(replace(report, classes=[replace(report.classes[0], prototypes=prototypes)]))
    assert f"{MINUS}20" in html
    assert "piece negative" in html


def test_fields_may_be_missing(make_report, make_sample):
    bare = Report(title="Bare", model="m", dataset="d", split="s")
    assert Page(render(bare)).open == []
    prototype = Prototype(0, [])
    patch = make_report().classes[0].prototypes[0].patches[0]
    second = Prototype(1, [replace(patch, heatmap=None)])
    html = render(
        replace(
            bare,
            classes=[ClassCard(7, "seven", [prototype, second], images=3)],
            samples=[replace(make_sample([1.0]), true_class="", patches=(None,))],
        )
    )
    assert "No patches in this report" in html
    assert "no patch" in html
    assert ">wrong<" not in html
    assert "None" not in html


@pytest.mark.parametrize("k", [1, 4, 5, 10])
def test_any_number_of_parts(make_report, k):
    html = render(make_report(k=k, classes=1))
    assert html.count('<li class="step"') == k
    assert f">Part {k}<" in html
    assert ("other parts" in html) == (k > 4)


def test_the_best_exact_method_is_marked_in_the_direction_of_the_column(make_report):
    html = render(make_report())
    start = html.index('id="explainers"')
    table = html[start : html.index("</table>", start)]
    assert re.findall(r"<strong>([^<]+)</strong>", table) == ["67.4", "0.010"]
    assert table.count("not exact") == 1
    assert table.count("lower is better") == 1
    assert "control, exact sum" in table


def test_floors_stand_on_the_scale(make_report):
    html = render(make_report())
    assert "; image centre 22.0" in html
    assert '<span class="tick" style="left:22.0%">' in html
    assert '<span class="mark" style="left:67.4%">' in html


def test_patches_are_shown_where_their_class_is_not(make_report, make_sample):
    report = make_report()
    patches = [p.patches[0] for p in report.classes[1].prototypes]
    elsewhere = replace(make_sample([1.0, 2.0, 3.0], label=99), patches=tuple(patches))
    html = render(replace(report, samples=[elsewhere], classes=[]))
    assert "Nearest training patch of Part 3, from class 1 image 0.jpg" in html


def test_records_that_do_not_fit_are_refused(make_sample):
    with pytest.raises(ValueError, match="one of each per prototype"):
        replace(make_sample([1.0, 2.0]), maps=(np.zeros((7, 7)),))
    with pytest.raises(ValueError, match="one row per half size"):
        Sensitivity("Consistency %", ("half size", [36]), ("threshold", [0.8]), [[1.0, 2.0]])


def test_the_report_is_one_file(make_report, tmp_path):
    path = write_report(make_report(), tmp_path / "new" / "folder")
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert path.stat().st_mode & 0o400


@pytest.mark.parametrize("stage", ["render", "replace"])
def test_a_failure_leaves_the_old_report_whole(make_report, tmp_path, monkeypatch, stage):
    path = write_report(make_report(), tmp_path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "disk full")

    if stage == "render":
        monkeypatch.setattr(render_module, "panel", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((OSError, DataError), match="disk full"):
        write_report(make_report(title="Another"), tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_report_stays_small(make_report, tmp_path):
    path = write_report(make_report(k=3, classes=24, samples=12, patches=5), tmp_path)
    assert path.stat().st_size < 8e6


def named_report(make_report):
    report = make_report(k=2)
    cards = [
        replace(
            card,
            prototypes=[
                replace(card.prototypes[0], name="head <1>"),
                replace(card.prototypes[1], name="rest", consistent=None, part=None),
            ],
        )
        for card in report.classes
    ]
    parts = [
        NamedPart(
            *(0, "head <1>", False, 0.6, 0.77),
            {card.label: 0.6 for card in cards},
            [Separation("Bird 000", "Bird 001", 1.25, 2.5)],
        ),
        NamedPart(1, "rest", True, 0.1),
    ]
    return replace(report, classes=cards, parts=parts, samples=[])


def test_named_parts_have_a_section_and_their_names(make_report):
    html = render(named_report(make_report))
    assert 'id="parts"' in html
    assert 'href="#parts"' in html
    assert "head &lt;1&gt;" in html
    assert "<1>" not in html
    assert "Part 1" not in html
    assert "+1.25 of a lead of 2.50" in html
    assert "What no name covers" in html
    assert "77" in html
    assert 'id="parts"' not in render(make_report())


def test_entries_of_named_parts_come_after_them(make_report):
    report = named_report(make_report)
    entry = NamedPart(1, "wing 2", share=0.4, shares={0: 0.3}, positions={0: 1})
    page = render(replace(report, parts=[*report.parts, entry]))
    section = page[page.index('id="parts"') :].split("</section>")[0]
    named, shared = section.split('id="entries-title"')
    assert "head &lt;1&gt;" in named
    assert "wing 2" in shared
    assert "without labels" not in section
    assert "Bird 001" not in shared


def test_a_guess_is_shown_only_where_the_part_is_consistent(make_report):
    report = make_report(k=1, classes=1, samples=0)
    assert ">crown</span>" in render(report)
    card = report.classes[0]
    unsure = replace(card.prototypes[0], consistent=False)
    assert ">crown</span>" not in render(
        replace(report, classes=[replace(card, prototypes=[unsure])])
    )


def test_flags_are_listed_the_worst_first_with_their_meaning(make_report):
    flags = [
        Flagged(0, "<b>gull</b>", 1, "Part 2", "outside", 0.6),
        Flagged(1, "auk", 0, "Part 1", "little", 0.01),
        Flagged(1, "auk", 2, "Part 3", "duplicate", 0.9, "Part 1"),
    ]
    page = render(make_report(flags=flags))
    table = page[page.index('<table class="flags') :].split("</table>")[0]
    assert [table.index(word) for word in ("little", "duplicate", "outside")] == sorted(
        table.index(word) for word in ("little", "duplicate", "outside")
    )
    assert "<small>of Part 1</small>" in table
    assert "<b>gull" not in page
    assert "outside of the object; at least 0.5" in page
    assert "foreign" not in page
    assert "Worth a second look" not in render(make_report())


def test_entries_show_only_the_classes_that_use_them(make_report):
    shared = NamedPart(6, "Entry 7", share=0.4, shares={0: 0.3, 1: 0.5}, positions={0: 2, 1: 0})
    own = NamedPart(8, "Entry 9", share=0.2, shares={1: 0.2}, positions={1: 1})
    page = render(make_report(parts=[shared, own]))
    section = page[page.index('id="parts"') :].split("</section>")[0]
    first, second = section.split("Entry 9")[0], section.split("Entry 9", 1)[1]
    assert "Every entry that classes share" in section
    assert "Bird 000" in first
    assert "Bird 001" in first
    assert "Bird 000" not in second
    assert "Bird 001" in second


def test_without_mistakes_there_is_a_sentence_and_no_table(make_report):
    page = render(replace(make_report(), confusion=Confusion(["a"], [[Cell(3)]], 0, 3, 1, [])))
    assert "all 3 images are predicted right" in page
    assert '<table class="matrix' not in page
