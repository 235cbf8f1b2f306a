"""Hooks of MkDocs: pages made from the code, and links that leave the folder of the site."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
COMMANDS = "<!-- commands -->"
DECISIONS = "<!-- decisions -->"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is made from the code, and lead links to files of the repository there."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    if DECISIONS in markdown:
        markdown = markdown.replace(DECISIONS, decisions())
    here = (DOCS / page.file.src_uri).parent
    return LINK.sub(lambda found: _link(found, here), markdown)


def _link(found: re.Match[str], here: Path) -> str:
    target = (here / found[3]).resolve()
    if target.is_relative_to(DOCS) and target.is_file():
        return found[0]
    home = os.environ.get("REPO_URL")
    if not target.is_relative_to(REPOSITORY) or not target.exists():
        return found[0]  # for MkDocs to complain about
    path = target.relative_to(REPOSITORY)
    kind = "tree" if target.is_dir() else "blob"
    return f"[{found[2]}]({home}/{kind}/main/{path})" if home else f"`{path}`"


def commands() -> str:
    """The help of each command, as a terminal shows it."""
    sys.path.insert(0, str(REPOSITORY))
    from unet3d.cli import COMMANDS as TABLE
    from unet3d.cli.usage import command_help

    parts = []
    for command in TABLE:
        text = command_help(command)
        parts += [f"## unet3d {command.name}", "", "```text", text, "```", ""]
    return "\n".join(parts)


def decisions() -> str:
    """A line for each decision, by its number."""
    lines = []
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        title = path.read_text().splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines)
