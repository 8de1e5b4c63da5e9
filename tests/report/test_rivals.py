"""The pair view of a mistake."""

from ppn.report.content import Report
from ppn.report.render import render
from ppn.report.rivals import rivals
from tests.explanation.test_versus import made


def test_a_mistake_shows_predicted_against_true():
    versus = made()
    wrong = versus.first
    page = render(Report("t", "m", "d", "test", samples=[wrong], versus={0: versus}))
    assert "Why gull and not auk?" in page
    assert page.count('<div class="side"') == 4
    assert "rivals" not in render(Report("t", "m", "d", "test", samples=[wrong])).split("<body>")[1]


def test_printed_differences_add_up():
    found = rivals(made(), {})
    values = [float(row.difference.text.replace("\N{MINUS SIGN}", "-")) for row in found.rows]
    bias, total = (float(d.text.replace("\N{MINUS SIGN}", "-")) for d in (found.bias, found.total))
    assert round(sum(values) + bias, 6) == total == 1.75
    assert [row.difference.negative for row in found.rows] == [False, False]
    assert found.bias.negative
    assert max(row.difference.width for row in found.rows) == 100
