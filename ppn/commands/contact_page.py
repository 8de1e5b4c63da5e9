"""All explained images on one HTML page, beside their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment

from ppn.explanation.versus import Versus
from ppn.io.files import write_bytes
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppn.explanation.record import Explanation

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'">
<title>{{ shown | length }} explained images</title>
<style>
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #fff; --ink: #191b20; --soft: #5d636e;
  --line: #e5e2da; }
@media (prefers-color-scheme: dark) { :root { --paper: #111317; --card: #191c22; --ink: #eceef2;
  --soft: #a0a7b4; --line: #2b2f38; } }
body { margin: 2rem auto; width: min(1400px, 100% - 2rem); background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } p { margin: .2rem 0; color: var(--soft); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(420px, 100%), 1fr));
  gap: 1rem; margin-top: 1.5rem; }
article { border: 1px solid var(--line); border-radius: 12px; background: var(--card);
  padding: 1rem; min-width: 0; }
h2 { font-size: 1rem; margin: .6rem 0 0; overflow-wrap: anywhere; }
small { color: var(--soft); overflow-wrap: anywhere; }
img { width: 100%; height: auto; border-radius: 8px; display: block; background: #fbfaf7; }
.caution { color: #b3203b; }
</style>
</head>
<body>
<h1>{{ shown | length }} explained images</h1>
<p>Each logit is the sum of its parts and a bias. Open a picture to see it whole.</p>
<main>
{% for file, title, verdict, name, caution in shown %}
<article>
<a href="{{ file }}"><img src="{{ file }}" alt="{{ title }}: {{ name }}" loading="lazy"></a>
<h2>{{ title }}</h2>
<p>{{ verdict }}</p>
{% if caution %}<p class="caution">{{ caution }}</p>{% endif %}
<small>{{ name }}</small>
</article>
{% endfor %}
</main>
<footer><p>Made by ppn {{ version }}.</p></footer>
</body>
</html>
"""


def write_page(folder: Path, shown: Sequence[tuple[str, Explanation | Versus]]) -> Path:
    """Write `index.html`.

    Args:
        folder: Where the pictures are.
        shown: Name of each picture, and what it explains.

    Returns:
        The page.
    """
    rows = []
    for file, one in shown:
        first = one.first if isinstance(one, Versus) else one
        title, name, caution = first.class_name, first.name, first.caution
        if isinstance(one, Versus):
            title += f" or {one.second.class_name}"
        rows.append((quote(file), title, one.verdict, name, caution))
    page = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    target = folder / "index.html"
    write_bytes(target, page.render(shown=rows, version=__version__).encode())
    return target
