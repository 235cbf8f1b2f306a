"""`unet3d init`: a small project of the user's own, from the files in project/."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from unet3d.config.command_line import expand_home
from unet3d.errors import ConfigError
from unet3d.files import write_text

TEMPLATE = "cli/project"
HIDDEN = {"gitignore.txt": ".gitignore"}  # which would hide files of this repository


def init(arguments: list[str]) -> None:
    """Write the project's files to a folder, new or not, and print what to do there.

    arguments: at most the folder. Raises ConfigError where one of the files is there already:
    nothing is replaced.
    """
    if len(arguments) > 1 or any("=" in text or text.startswith("-") for text in arguments):
        raise ConfigError(f"{arguments[-1]}: not understood; type unet3d init [folder]")
    folder = Path(expand_home(arguments[0] if arguments else "."))
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder for the project")
    written = {folder / name: text for name, text in _template()}
    there = [str(path) for path in written if path.exists()]
    if there:
        raise ConfigError(f"{there[0]} exists; name another folder, as in unet3d init <folder>")
    for path, text in written.items():
        write_text(path, text)
        print(path)
    where = f"cd {folder}, then what" if arguments else "type what"
    print(f"\n{where} {folder / 'README.md'} says")


def _template() -> Iterator[tuple[str, str]]:
    """The files of the project: path in its folder, and text."""
    yield from _files(files("unet3d").joinpath(TEMPLATE), "")


def _files(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(entry, f"{above}{entry.name}/")
        else:
            yield above + HIDDEN.get(entry.name, entry.name), entry.read_text("utf-8")
