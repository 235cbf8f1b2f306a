"""The reference page of all settings, docs/settings.md, as `unet3d settings` prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from omegaconf import MISSING

from unet3d.config.choices import Choice, choices, default_choices
from unet3d.config.messages import as_typed
from unet3d.config.schema import COMMANDS, SCHEMAS, Config, SweepConfig, SweepRunConfig, schemas_of
from unet3d.config.setting import Effect
from unet3d.config.walk import own_settings, subgroups

INTRODUCTION = """\
# Settings

Made by `unet3d settings > docs/settings.md`; do not edit.

`python train.py key=value ...` changes settings, and `group=choice` takes all that a file of
`conf/` sets. A choice may set other values than the defaults below; `python train.py --cfg job`
prints the values that a command has. What "result" says:

- *yes*: another value gives another result. Once a run has begun it is fixed: `resume=` refuses
  another value, and trials of a sweep that differ in it are different trials.
- *yes; may change on resume*: how far a run goes and how it is validated. A resumed run may change
  it; trials of a sweep that differ in it are different trials.
- *no*: where and how fast a run computes, and where it is recorded. A resumed run may change it,
  and it makes no other trial.
"""
TYPES: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    list[int]: "whole numbers",
    list[float]: "numbers",
    dict[str, str]: "mapping",
    dict[str, Any]: "mapping",
    Any: "as described",
}
COLUMNS = ("setting", "type", "default", "description", "allowed")


@dataclass(frozen=True)
class Row:
    """A setting in words. default: as typed, or None for one that must be given."""

    key: str
    type: str
    default: Any
    description: str
    allowed: str
    effect: Effect

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default == MISSING


def rows(schema: type, group: str = "") -> list[Row]:
    """The settings that a schema has itself, without those of its groups and a choice's name."""
    hints = get_type_hints(schema)
    own = own_settings(schema)
    found = []
    for f in fields(schema):
        if f.name not in own or (f.name == "name" and schema in SCHEMAS.values()):
            continue
        setting = own[f.name]
        default = f.default if f.default_factory is NO_DEFAULT else f.default_factory()
        key = f"{group}.{f.name}" if group else f.name
        allowed = setting.rule.text if setting.rule else ""
        kind = _type(hints[f.name])
        found.append(Row(key, kind, default, setting.description, allowed, setting.effect))
    return found


def summary(schema: type) -> str:
    """The line that describes a group: the docstring of its schema."""
    return (schema.__doc__ or "").split("\n")[0]


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    offered, default = choices(), default_choices()
    yield INTRODUCTION
    yield "## Of a run"
    yield from _table(rows(Config))
    for group, schema in subgroups(Config).items():
        yield f"\n## {group}"
        yield summary(schema)
        if group in offered:
            yield from _choice_table(group, offered.pop(group), default[group])
        variants = schemas_of(group) or [schema]
        for variant in variants:
            if len(variants) > 1:
                yield f"\n### {group}={getattr(variant, 'name', '')}"
            yield from _table(rows(variant, group))
        for name, nested in subgroups(schema).items():
            yield f"\n### {group}.{name}"
            yield summary(nested)
            yield from _table(rows(nested, f"{group}.{name}"))
    for group, presets in offered.items():
        yield f"\n## {group}"
        yield "Presets over several groups."
        yield from _choice_table(group, presets)
    yield "\n## sweep"
    yield f"Settings of `sweep.py` beside those of a run. {summary(SweepConfig)}"
    own = [row for row in rows(SweepRunConfig) if row not in rows(Config)]
    yield from _table([*own, *rows(SweepConfig, "sweep")], effect=False)
    for command, schema in COMMANDS.items():
        yield f"\n## unet3d {command}"
        yield summary(schema).partition(": ")[2].capitalize()
        nested_rows = [r for n, below in subgroups(schema).items() for r in rows(below, n)]
        yield from _table([*rows(schema), *nested_rows], effect=False)


def _type(hint: Any) -> str:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    if NoneType in get_args(hint):
        return f"{_type(kinds[0])} or null"
    return TYPES.get(hint, "group")


def _table(settings: Iterable[Row], effect: bool = True) -> Iterator[str]:
    columns = (*COLUMNS, "result") if effect else COLUMNS
    yield from _heading(columns)
    for row in settings:
        default = "required" if row.required else f"`{as_typed(row.default)}`"
        cells = (f"`{row.key}`", row.type, default, row.description, row.allowed, row.effect.value)
        yield _line(cells[: len(columns)])


def _choice_table(group: str, offered: list[Choice], default: str = "") -> Iterator[str]:
    yield from _heading(("choice", "what it is", "sets"))
    for choice in offered:
        mark = " (default)" if choice.name == default else ""
        values = ", ".join(f"`{key}={as_typed(value)}`" for key, value in choice.values.items())
        yield _line((f"`{group}={choice.name}`{mark}", choice.description, values))


def _heading(columns: Iterable[str]) -> Iterator[str]:
    yield ""
    yield _line(columns)
    yield _line("---" for _ in columns)


def _line(cells: Iterable[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("<", "\\<") for cell in cells)
    return f"| {' | '.join(escaped)} |"
