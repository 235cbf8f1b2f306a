"""The code and the packages that a run begins with, kept in its folder for `unet3d capsule`."""

from __future__ import annotations

import contextlib
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from unet3d.files import write_text
from unet3d.run_folder import RunFolder

SOURCES = ("*.py", "*.yaml", "*.toml", "*.css", "*.js")  # new files that are code
LARGEST = 200_000  # bytes of a new file that is still code


def keep_provenance(folder: RunFolder) -> None:
    """Write both, where the folder can be written; where it cannot, the training says so."""
    with contextlib.suppress(OSError):
        write_text(folder.packages, installed_packages())
        if changes := code_changes():
            write_text(folder.code_changes, changes)


@cache
def installed_packages() -> str:
    """name==version of each package that Python finds, in the order of their names."""
    found: dict[str, str] = {}
    for package in distributions():
        name = package.metadata["Name"]
        if name:  # a folder that an interrupted installation has left has none
            found.setdefault(name.lower().replace("_", "-"), package.version)
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found))


@cache
def code_changes() -> str:
    """What the code's repository holds beside its commit, as a patch; "" without one or the other.

    With new files of source text, which git does not know yet.
    """
    try:
        changed = _git("diff", "HEAD", "--no-color", "--no-ext-diff")
        names = _git("ls-files", "--others", "--exclude-standard", "--", *SOURCES).splitlines()
        top = Path(_git("rev-parse", "--show-toplevel").strip())
    except (OSError, subprocess.CalledProcessError):
        return ""
    new = [name for name in sorted(names) if (top / name).stat().st_size <= LARGEST]
    return changed + "".join(_as_patch(name) for name in new)


def _as_patch(name: str) -> str:
    """A new file as a patch; git's exit code says that it differs from nothing."""
    return _git("diff", "--no-color", "--no-index", "--", "/dev/null", name, ends=(0, 1))


def _git(*words: str, ends: tuple[int, ...] = (0,)) -> str:
    """What git prints at the top of the repository that this file lies in."""
    here = Path(__file__).resolve().parents[2]
    done = subprocess.run(["git", *words], cwd=here, capture_output=True, check=False)
    if done.returncode not in ends:
        raise subprocess.CalledProcessError(done.returncode, "git")
    return done.stdout.decode(errors="replace")
