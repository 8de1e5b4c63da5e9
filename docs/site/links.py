"""What a site of `docs/` shows of files outside of it: their names in place of links to them."""

import re
from pathlib import Path
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!docs/)[^)\s]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401
    """Replace `[words](../FILE)` by the words and the path; show CONTRIBUTING.md as a page."""
    if page.file.src_uri == "extending.md":
        markdown = Path("CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")

    def named(found: re.Match[str]) -> str:
        words, file = found[1].strip("`"), found[2]
        return f"`{file}`" if words in file else f"{found[1]} (`{file}`)"

    return _OUTSIDE.sub(named, markdown)
