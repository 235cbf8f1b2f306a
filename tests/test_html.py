"""The HTML pages' frame, styles and scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tinycss2

from tests.e2e.browser import browser, needs_chromium
from unet3d import html

PACKAGE = Path(html.__file__).parent
STYLES = sorted(PACKAGE.rglob("*.css"))
each_style = pytest.mark.parametrize("style", STYLES, ids=lambda path: path.name)


def rules(nodes: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """(selector, declarations) of each rule, also within @media."""
    for node in nodes:
        assert node.type in ("qualified-rule", "at-rule"), f"{node.source_line}: {node}"
        if node.type == "at-rule":
            yield from rules(tinycss2.parse_rule_list(node.content, skip_whitespace=True))
        else:
            declarations = tinycss2.parse_blocks_contents(
                node.content, skip_comments=True, skip_whitespace=True
            )
            yield tinycss2.serialize(node.prelude).strip(), declarations


def parsed(style: Path) -> list[tuple[str, list[Any]]]:
    """All rules of a file."""
    sheet = tinycss2.parse_stylesheet(style.read_text(), skip_comments=True, skip_whitespace=True)
    return list(rules(sheet))


@each_style
def test_styles_have_no_syntax_errors(style: Path) -> None:
    """A browser would silently drop the rule; no property is set twice in one."""
    assert parsed(style)
    for selector, declarations in parsed(style):
        for declaration in declarations:
            assert declaration.type == "declaration", f"{selector}: {declaration.message}"
        names = [declaration.name for declaration in declarations]
        assert len(names) == len(set(names)), selector


@each_style
def test_styles_use_variables_that_exist(style: Path) -> None:
    """All colours come from base.css, which has each of them in light and in dark."""
    light, dark = ({d.name for d in ds} for s, ds in parsed(PACKAGE / "base.css") if s == ":root")
    assert light == dark
    assert set(re.findall(r"var\((--\w+)\)", style.read_text())) <= light


@each_style
def test_styles_are_used(style: Path) -> None:
    """Every class and id of a style occurs in a template, script or module beside it."""
    beside = [path for path in style.parent.glob("*.*") if path.suffix in (".html", ".js", ".py")]
    text = "\n".join(path.read_text() for path in beside)
    for selector, _ in parsed(style):
        for name in re.findall(r"[.#]([a-z]\w*)", selector):
            assert style.name == "base.css" or re.search(rf"\b{name}\b", text), name


@needs_chromium
def test_a_browser_knows_every_property(tmp_path: Path) -> None:
    """And its value; it would silently ignore others."""
    pairs = [
        (declaration.name, tinycss2.serialize(declaration.value).strip())
        for style in STYLES
        for _, declarations in parsed(style)
        for declaration in declarations
    ]
    check = "return arguments[0].filter(([name, value]) => !CSS.supports(name, value))"
    with browser(tmp_path) as page:
        assert page.driver.execute_script(check, [*pairs, ("colour", "red")]) == [["colour", "red"]]


def test_data_cannot_end_its_script() -> None:
    """Nor can any other value become HTML."""
    template = html._environment().from_string("<script>{{ data | tojson }}</script>{{ data }}")
    page = template.render(data=["</script><b>"])
    assert page.count("</script>") == 1 and "<b>" not in page


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    """A page with a hole would be written otherwise."""
    with pytest.raises(Exception, match="'case' is undefined"):
        html.render("viewer/viewer.html")
