from decimal import Decimal

import pytest

from ppn.visualization.numbers import (
    add_printed,
    number,
    percent,
    printed_sum,
    printed_versus,
    short,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3e-7, "", "3.0e-07"),
        (-3e-7, "", MINUS + "3.0e-07"),
        (0.0, "", "0"),
        (0.98123, "", "0.981"),
        (4.119, "", "4.12"),
        (67.43, "%", "67.4 %"),
        (100.0, "%", "100.00 %"),
        (99.59, "%", "99.59 %"),
        (99.9996, "%", "99.9996 %"),
        (99.99999, "%", "> 99.9999 %"),
        (0.5, "%", "0.50 %"),
        (12345, "", "12,345"),
        (2.5e7, "", "2.5e+07"),
        ("mean, linear", "", "mean, linear"),
        (None, "", "\N{EN DASH}"),
        (float("nan"), "%", "\N{EN DASH}"),
    ],
)
def test_numbers_have_sensible_digits(value, unit, text):
    assert number(value, unit).replace("\N{NARROW NO-BREAK SPACE}", " ") == text


def test_fractions_are_printed_as_percentages_that_never_round_up_to_all():
    texts = [percent(f).replace("\N{NARROW NO-BREAK SPACE}", " ") for f in (0.923, -0.11, 1, 0.999)]
    assert texts == ["92 %", MINUS + "11 %", "100 %", "> 99 %"]
    assert percent(None) == "\N{EN DASH}"
    assert not percent(-0.001).startswith(MINUS)


@pytest.mark.parametrize(
    "terms", [[1.255, 1.255, 0.005], [4.119, -0.581, 0.006, -0.05], [123.456, 7.05], [0.0], []]
)
def test_printed_terms_add_up_to_the_printed_total(terms):
    texts, total = printed_sum(terms, sum(terms), exact=True)
    assert float(add_printed(texts).replace(MINUS, "-").replace(",", "")) == pytest.approx(
        float(total.replace(MINUS, "-").replace(",", "")), abs=1e-9
    )


def test_terms_that_do_not_add_up_are_not_made_to():
    assert printed_sum([1.0, 1.0], 2.5, exact=False) == (["+1.00", "+1.00"], "2.50")


def test_long_names_keep_their_end():
    assert short("Black_Footed_Albatross_0046_18.jpg") == "\N{HORIZONTAL ELLIPSIS}batross_0046_18"
    assert short("a.jpg") == "a"


def test_two_printed_sums_and_their_differences_add_up_both_ways():
    first, second = [0.8626, -0.2942, 0.0005, 0.0041], [0.3460, -0.3207, 0.4912, -1.5019]
    columns = printed_versus(first, second, (sum(first), sum(second)), exact=True)
    mine, theirs, apart = (
        [Decimal(text.replace(MINUS, "-")) for text in column] for column in columns
    )
    assert apart == [one - other for one, other in zip(mine, theirs, strict=True)]
    for column in (mine, theirs, apart):
        assert sum(column[:-1]) == column[-1]
    assert columns[0][0] == "+0.86"  # as many digits as the other sum, which is the larger one
    assert columns[2][0] == "+0.52"
