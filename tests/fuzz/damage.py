"""What may happen to a file: bytes and fields are lost, changed and made up."""

import json
import re

from hypothesis import strategies as st

from ppn.errors import PPNError

TOKENS = [
    "",
    "0",
    "-1",
    "1e999",
    "nan",
    "9" * 400,
    "9" * 5000,
    "99999999999",
    "1.5",
    "../../x",
    "/x",
    "C:\\x",
    "a\\..\\..\\x",
    "\0",
    "\ufeff",
    "\u2028",
    "\\ud800",
    "<script>",
    '"',
    '"a\nb"',
    "null",
    "true",
    "{}",
    "[]",
    "[" * 5000,
    "&a [*a]",
    "2001-99-99",
    "é" * 300,
]
"""Fields that readers stumble over."""

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(TOKENS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Whatever JSON can say."""


@st.composite
def damaged(draw, whole):
    """Bytes of a whole file, some of them lost, changed, repeated or made up; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.integers(1, 40)))
        kind = draw(st.sampled_from(("flip", "lose", "insert", "cut", "repeat", "field")))
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "lose":
            del content[at:to]
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "cut":
            del content[at:]
        elif kind == "repeat":
            content[at:at] = content[at:to]
        elif kind == "field":
            fields = list(re.finditer(rb"[^\s,:\"\[\]{}<>]+", content[:20_000]))
            if fields:
                field = fields[draw(st.integers(0, len(fields) - 1))]
                token = draw(st.sampled_from(TOKENS)).encode()
                content[field.start() : field.end()] = token
    return bytes(content)


@st.composite
def rewritten(draw, whole):
    """Plain values of which one, somewhere inside, has been replaced or lost."""
    content = json.loads(json.dumps(whole))
    places = list(_places(content))
    parent, key = places[draw(st.integers(0, len(places) - 1))]
    if draw(st.integers(0, 4)) == 0:
        del parent[key]
    else:
        parent[key] = draw(PLAIN)
    return content


def _places(content):
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def outcome(read, *named):
    """What a reader returns, or None where it refuses in one sentence that names a file.

    Anything else that it may raise is an error of the test.
    """
    try:
        return read()
    except PPNError as error:
        said = str(error)
        assert "\n" not in said, said
        assert any(str(name) in said for name in named), said
        return None
