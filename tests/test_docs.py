"""The documentation names files, functions, commands and settings that exist."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests import REPOSITORY
from unet3d.cli import COMMANDS
from unet3d.config.command_line import prepare_overrides
from unet3d.config.compose import compose_config, from_overrides

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
FOLDERS = "unet3d|hydra_plugins|conf|docs|tests|benchmarks|examples"
# Of another project, and of a reader's own.
NOT_OURS = {
    "monai/apps/datasets.py",
    "conf/data/our_livers.yaml",
    *("nets.py", "conf/data/example.yaml"),  # what `unet3d init` writes
}


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file, and its #anchor a heading of that file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in _anchors(path), target


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_files_that_are_named_exist(page: Path) -> None:
    """A path such as unet3d/losses.py, and any name that ends in .py."""
    text = page.read_text()
    paths = re.findall(rf"(?<![\w./<-])(?:{FOLDERS})/[\w./-]*\w", text)
    paths += re.findall(r"(?<![\w./<-])[\w/]+\.py\b", text)
    missing = [p for p in paths if p not in NOT_OURS and not (REPOSITORY / p).exists()]
    assert not missing


@EACH_PAGE
def test_names_in_files_exist(page: Path) -> None:
    """`path.py:name` and `path.py:Class.method` are defined in that file."""
    for path, name in re.findall(r"`([\w/]+\.py):([\w.]+)`", page.read_text()):
        assert name in _defined(REPOSITORY / path), f"{path}:{name}"


def test_each_fault_of_the_table_has_its_test() -> None:
    """docs/reliability.md names tests of tests/faults that exist, in every row."""
    page = (REPOSITORY / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(test_\w+):(test_\w+)`", page)
    assert len(named) > 50
    for module, name in named:
        assert name in _defined(REPOSITORY / "tests" / "faults" / f"{module}.py"), name
    rows = [line for line in page.splitlines() if line.startswith("| ") and "| fault |" not in line]
    assert [row for row in rows if ":test_" not in row] == []


def _defined(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return names


def test_the_map_has_the_floors_of_the_contract() -> None:
    """The table of docs/architecture.md and import-linter's layers are the same."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    expected = {
        len(layers) - at: set(re.findall(r"\w+", re.sub(r"\(\w+\)", "", layer)))
        for at, layer in enumerate(layers)
    }
    shown: dict[int, set[str]] = {}
    floor = 0
    rows = re.compile(r"^\| *(\d*) *\| (`\w+`(?:, `\w+`)*) \|", re.MULTILINE)
    for number, packages in rows.findall((REPOSITORY / "docs" / "architecture.md").read_text()):
        floor = int(number or floor)
        shown.setdefault(floor, set()).update(re.findall(r"\w+", packages))
    assert shown == expected


@EACH_PAGE
def test_commands_that_are_shown_could_be_typed(page: Path) -> None:
    """Each line of train.py, sweep.py and unet3d composes; the values may be made up."""
    for line in _command_lines(page.read_text()):
        words = shlex.split(re.sub(r"<[^>]*>", "x", line), comments=True)
        words = [word for word in words if not word.startswith("data.plans=")]  # a file to be read
        words = [word for word in words if word not in ("-m", "--help", "...")]
        if "--config-dir" in words:
            continue  # of a project made by `unet3d init`: tests/e2e/test_wheel.py types those
        if words[1] in ("train", "sweep", "train.py", "sweep.py"):
            name = words[1].removesuffix(".py").replace("train", "config")
            compose_config(_first_values(words[2:]), name)
        else:
            _check_unet3d(words[1], words[2:])


def _command_lines(text: str) -> list[str]:
    """The command lines of a page's code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split("#")[0].split("&&")]
    commands = [part.partition(" | ")[0].strip() for part in parts]
    return [c for c in commands if re.match(r"(python (train|sweep)\.py|unet3d \w)", c)]


def _check_unet3d(name: str, overrides: list[str]) -> None:
    command = {command.name: command for command in COMMANDS}[name]
    if not command.of_training:
        if command.words:  # no settings
            assert not any("=" in word for word in overrides)
        elif command.schema is None:
            assert not overrides
        else:
            from_overrides(command.schema, overrides)
        return
    own = set(getattr(command.schema, "__dataclass_fields__", ()))
    own |= {"sweep"} if name in ("report", "simulate") else set()
    groups = tuple(f"{key}." for key in own)
    left = [o for o in overrides if o != "..." and o.partition("=")[0] not in own]
    left = [o for o in left if not o.startswith(groups)]
    compose_config(_first_values(left) if name == "simulate" else left)


def _first_values(overrides: list[str]) -> list[str]:
    """Overrides of a sweep as those of its first trial; what Optuna draws is left out."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    single = []
    for override in OverridesParser.create().parse_overrides(prepare_overrides(overrides)):
        key = override.get_key_element()
        if key.startswith(("hydra.", "+hydra.", "hydra/")):
            continue
        if not override.is_sweep_override():
            single.append(override.input_line or "")
        elif override.is_choice_sweep() or override.is_range_sweep():
            single.append(f"{key}={next(override.sweep_string_iterator())}")
    return single
