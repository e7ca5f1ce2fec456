"""What the site needs beyond the pages: files from outside docs/ as pages, and links to source code as plain text."""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
PAGES = {"CONTRIBUTING.md": "contributing.md", "README.md": "index.md", "benchmarks/README.md": "benchmarks.md"}
EXAMPLES = {f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted((ROOT / "examples").glob("*.py"))}


def on_files(files: Any, config: Any) -> Any:
    """Add the contribution guide, the benchmarks and the examples as pages."""
    from mkdocs.structure.files import File, InclusionLevel

    for origin, target in PAGES.items():
        if target != "index.md":
            text = relinked((ROOT / origin).read_text(encoding="utf-8"), origin, target)
            files.append(File.generated(config, target, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    for origin, target in EXAMPLES.items():
        code = (ROOT / origin).read_text(encoding="utf-8")
        text = f"# {origin}\n\n```python\n{code}```\n"
        files.append(File.generated(config, target, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Bring links that leave docs/ to what the site has of them."""
    source = page.file.src_uri
    generated = source in {*PAGES.values(), *EXAMPLES.values()} and source != "index.md"
    return markdown if generated else relinked(markdown, f"docs/{source}", source)


def relinked(markdown: str, origin: str, target: str) -> str:
    """A page of the repository at `origin` with its links as they must be on the site's page `target`."""

    def link(found: re.Match[str]) -> str:
        text, path, anchor = found[1], found[2], found[3] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        known = PAGES.get(place) or EXAMPLES.get(place)
        if known is None and place.startswith("docs/") and "." in posixpath.basename(place):
            known = place.removeprefix("docs/")
        if known is None:
            return text if text.startswith("`") else f"`{text}`" if "/" in text else text
        return f"[{text}]({posixpath.relpath(known, posixpath.dirname(target) or '.')}{anchor})"

    return LINK.sub(link, markdown)
