"""Code, packages and machine of a capsule, and how those here differ."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unet3d.capsule import names
from unet3d.capsule.archive import Capsule
from unet3d.config.schema import Config
from unet3d.config.target import OWN, OWN_GROUPS, find_target
from unet3d.errors import ConfigError
from unet3d.files import read_text
from unet3d.run_folder import RunFolder
from unet3d.tracking.facts import RunFacts, run_tags
from unet3d.tracking.provenance import code_changes, installed_packages

COMMIT, DIRTY = "mlflow.source.git.commit", "git.dirty"
ARITHMETIC = (
    "device",
    "precision",
    "tf32",
    "xla",
    "deterministic",
    "threads",
    "parallel.world_size",
)
NAMED = 6  # packages in a line
# By which results change, before all others.
FIRST = ("tensorflow", "keras", "numpy", "unet3d", "nvidia-cudnn-cu12", "blosc2", "scipy")
NOT_RECORDED = "not recorded by the run"


def code_files(config: Config, folder: RunFolder, facts: RunFacts) -> dict[str, bytes]:
    """Version and changes of the code, and the user's own functions."""
    version = {
        "commit": facts.tags.get(COMMIT, ""),
        "changed": facts.tags.get(DIRTY, "unknown"),
        "versions": facts.tags.get("versions", ""),
        # Runs of earlier versions did not keep what they were computed with.
        "recorded": folder.packages.is_file(),
    }
    found = {names.CODE: json.dumps(version, indent=1).encode()}
    if changes := read_text(folder.code_changes):
        found[names.CHANGES] = changes.encode()
    return found | {f"{names.OWN}{group}.py": text for group, text in own_sources(config).items()}


def own_sources(config: Config) -> dict[str, bytes]:
    """The file of the user's own function of each group that has one and can be imported."""
    found = {}
    for group in OWN_GROUPS:
        settings: Any = getattr(config, group)
        if settings.name == OWN:
            try:
                source = inspect.getsourcefile(find_target(f"{group}._target_", settings._target_))
                found[group] = Path(source or "").read_bytes()
            except (ConfigError, TypeError, OSError):
                continue
    return found


def environment_files(folder: RunFolder, facts: RunFacts) -> dict[str, bytes]:
    """Packages, machine, and the lock file where it lies beside the code."""
    machine = {name: facts.tags[name] for name in ARITHMETIC if name in facts.tags}
    packages = read_text(folder.packages)
    found = {
        names.MACHINE: json.dumps(machine, indent=1).encode(),
        names.PACKAGES: (packages or installed_packages()).encode(),
    }
    lock = Path(__file__).resolve().parents[2] / "requirements.lock"
    return found | ({names.LOCK: lock.read_bytes()} if lock.is_file() else {})


def environment_differences(capsule: Capsule, config: Config) -> list[str]:
    """A line for what is another here than it was for the run: code, packages, own functions."""
    version = capsule.json_of(names.CODE)
    recorded = bool(version.get("recorded"))
    return [
        *_code(capsule, version, recorded),
        *_packages(capsule.bytes_of(names.PACKAGES).decode(), recorded),
        *_own(capsule, config),
    ]


def _code(capsule: Capsule, version: Mapping[str, Any], recorded: bool) -> list[str]:
    here, before = run_tags(), version["commit"]
    now = here.get(COMMIT, "")
    if now != before:
        return [f"code: commit {now[:12] or 'unknown'}, was {before[:12] or 'unknown'}"]
    changes = capsule.bytes_of(names.CHANGES).decode() if names.CHANGES in capsule.names else ""
    if not recorded:
        return [f"code: whether it is the same is {NOT_RECORDED}"]
    return ["code: the same commit with other changes"] if changes != code_changes() else []


def _packages(text: str, recorded: bool) -> list[str]:
    before, now = _by_name(text), _by_name(installed_packages())
    differ = [name for name in {*before, *now} if before.get(name) != now.get(name)]
    if not differ:
        return []
    order = {name: index for index, name in enumerate(FIRST)}
    differ.sort(key=lambda name: (order.get(name, len(FIRST)), name))
    named = [
        f"{name} {now.get(name, 'missing')}, was {before.get(name, 'missing')}"
        for name in differ[:NAMED]
    ]
    more = f"; and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
    of = "" if recorded else ", those of the run being unknown: the capsule has those of its making"
    return [
        f"packages: {len(differ)} of {len({*before, *now})} differ{of}: {'; '.join(named)}{more}"
    ]


def _by_name(text: str) -> dict[str, str]:
    pairs = (line.partition("==") for line in text.splitlines())
    return {name: version for name, _, version in pairs}


def _own(capsule: Capsule, config: Config) -> list[str]:
    now = own_sources(config)
    return [
        f"own code: that of {group}._target_ is not as it was"
        for group, text in now.items()
        if f"{names.OWN}{group}.py" in capsule.names
        and capsule.bytes_of(f"{names.OWN}{group}.py") != text
    ]


def machine_differences(capsule: Capsule, tags: Mapping[str, str]) -> list[str]:
    """Where the run that was made again computed otherwise. tags: of that run."""
    before = capsule.json_of(names.MACHINE)
    return [
        f"{name}: {tags[name]}, was {before[name]}"
        for name in ARITHMETIC
        if name in before and name in tags and before[name] != tags[name]
    ]
