"""Hooks of mkdocs: pages of the site that are not files of docs/, and links that lead out of it.

`make docs` runs mkdocs, which calls the functions named `on_...` here.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wecromcl_d2"
# Pages of the root of the repository that the site has, by their names on it.
ROOT_PAGES = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md"}
ROOT_PAGES |= {"CONTRIBUTING.md": "CONTRIBUTING.md"}
# Entries of mkdocs.yml: one for all pages of the reference, one for the pages of docs/ that it does
# not name.
REFERENCE, REST = "reference", "rest"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def reference_pages() -> dict[str, str]:
    """Markdown of the reference, a page for each folder of the package, by the pages' names."""
    pages = {}
    for folder in [PACKAGE, *sorted(p for p in PACKAGE.rglob("*") if p.is_dir())]:
        modules = sorted(p for p in folder.glob("*.py") if not p.stem.startswith("_"))
        if not modules:
            continue
        dotted = ".".join(folder.relative_to(ROOT).parts)
        blocks = [f"::: {dotted}.{module.stem}\n" for module in modules]
        pages[f"{REFERENCE}/{dotted}.md"] = f"# {dotted}\n\n" + "\n".join(blocks)
    return pages


def site_links(text: str, page: str) -> str:
    """The Markdown of a page of the repository with the links that its place on the site needs.

    Links to files that the site does not have become plain text.

    Args:
        text: of the page.
        page: its path in the repository.
    """

    def moved(match: re.Match[str]) -> str:
        mark, title, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return match[0]
        place = (ROOT / page).parent.joinpath(path).resolve()
        if not place.is_relative_to(ROOT):
            return match[0]
        name = place.relative_to(ROOT).as_posix()
        if name in ROOT_PAGES:
            return f"{mark}[{title}]({ROOT_PAGES[name]}{hash_}{anchor})"
        if name.startswith("docs/"):
            inside = PurePosixPath(name).relative_to("docs")
            return f"{mark}[{title}]({inside}{hash_}{anchor})"
        return title if place.exists() else match[0]

    return LINK.sub(moved, text)


def on_config(config: Any) -> Any:
    """Put pages in place of the entries that stand for several."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = (path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    sections = {
        REFERENCE: [
            {Path(name).stem.replace("wecromcl_d2.", ""): name} for name in reference_pages()
        ],
        REST: sorted(name for name in pages if f"- {name}\n" not in text),
    }
    nav = []
    for item in config.nav:
        if not isinstance(item, str):
            nav.append(item)
        elif sections[item]:
            nav.append({{REFERENCE: "Reference", REST: "More"}[item]: sections[item]})
    config.nav = nav
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not files of docs/."""
    from mkdocs.structure.files import File  # the tests use this module without mkdocs

    for source, name in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=site_links(text, source)))
    for name, text in reference_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Adapt the links of the files of docs/."""
    if page.file.generated_by or page.file.src_uri in ROOT_PAGES.values():
        return markdown
    return site_links(markdown, f"docs/{page.file.src_uri}")
