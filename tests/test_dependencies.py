"""docs/dependencies.md: a line for each direct dependency, and none for others."""

from __future__ import annotations

import re
import tomllib

from tests import REPOSITORY

ROW = re.compile(r"^\| ([\w.-]+) \| (?:`\[(\w+)\]`: )?(.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_each_direct_dependency_has_its_line() -> None:
    """Why, licence, what it would take to replace it; of an extra, which one."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {name: None for name in names(project["dependencies"])}
    for extra, packages in project["optional-dependencies"].items():
        for name in names(packages):
            if name != "unet3d":  # dev takes another extra whole
                asked.setdefault(name, extra)
    rows = ROW.findall((REPOSITORY / "docs" / "dependencies.md").read_text())
    listed = {name: extra or None for name, extra, *_ in rows if name != "package"}
    assert listed == asked
    assert len(listed) == len([row for row in rows if row[0] != "package"])


def names(packages: list[str]) -> list[str]:
    return [re.split(r"[\[<>=! ]", package)[0] for package in packages]
