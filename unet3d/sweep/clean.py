"""`unet3d clean`: shows with the reason what nothing needs, and removes it only with yes=true."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.filesize import decimal

from unet3d.config.schema import CleanConfig, Config
from unet3d.disk import disk_errors_name
from unet3d.distributed.run_state import FINISHED, read_state
from unet3d.distributed.writer import check_free
from unet3d.errors import RunError
from unet3d.files import discard, stale_entries
from unet3d.preprocessing.store import FORMAT, MARKER, ROOTS, format_of, roots_of
from unet3d.run_folder import RunFolder

DAY = 24 * 3600.0


@dataclass(frozen=True)
class Leftover:
    """What can go. kind: of `what`; size: bytes that it frees."""

    kind: str
    path: Path
    size: int
    reason: str
    remove: Callable[[], None]


def clean(config: Config, settings: CleanConfig) -> list[Leftover]:
    """Show what nothing needs, and remove it with yes=true; returns what was found.

    What something was written to in the last `days` stays. Raises RunError where a file cannot be
    removed.
    """
    output = Path(config.output_dir)
    found = [
        one
        for one in leftovers(output, Path(config.data.store), time.time() - settings.days * DAY)
        if settings.what in ("all", one.kind)
    ]
    if not found:
        print(f"nothing in {output} that is not needed, of more than {settings.days:g} days ago")
        return found
    for one in found:
        if settings.yes:
            with disk_errors_name(one.path):
                one.remove()
        print(f"{'removed' if settings.yes else one.kind:<8} {decimal(one.size):>9}  {one.path}")
        print(f"{'':<19} {one.reason}")
    size = decimal(sum(one.size for one in found))
    print(f"{size} freed" if settings.yes else f"{size} in all; yes=true removes what is shown")
    return found


def leftovers(output: Path, stores: Path, before: float) -> Iterator[Leftover]:
    """What nothing needs. before: the time of its last change, at most."""
    runs = [RunFolder(path) for path in sorted((output / "runs").glob("*"))]
    for folder in runs:
        if found := _resume_state(folder, before):
            yield found
    now = time.time()
    states = [read_state(folder.state) for folder in runs]
    if not any(state and state.alive(now) for state in states):  # which may be reading one
        for path in sorted(stores.glob("*")):
            if found := _store(path, before):
                yield found
    yield from _dead_processes(output, stores, before)


def _resume_state(folder: RunFolder, before: float) -> Leftover | None:
    """The state to resume from, of a run that has finished and whose weights are there."""
    from unet3d.training.checkpoint import has_state

    state = read_state(folder.state)
    if state is None or state.status != FINISHED or not folder.best_weights.is_file():
        return None
    paths = [p for p in (folder.last_checkpoint, folder.previous_checkpoint) if p.is_file()]
    if not paths or _changed(paths) > before or not has_state(folder):
        return None
    size = sum(path.stat().st_size for path in paths)
    reason = "its run has finished; weights, curves and record stay, resume= with more epochs goes"
    return Leftover("resume", folder.checkpoints, size, reason, partial(_remove_state, folder))


def _remove_state(folder: RunFolder) -> None:
    from unet3d.training.checkpoint import remove_state

    check_free(folder.state, f"run {folder.run_id} is being trained")
    remove_state(folder)


def _store(path: Path, before: float) -> Leftover | None:
    """A store whose data sets are gone, or that only an earlier version could read."""
    if not (path / MARKER).is_file() or _changed([path / MARKER, path / ROOTS]) > before:
        return None
    roots, version = roots_of(path), format_of(path)
    if version is not None and version < FORMAT:
        reason = f"it is of format {version}, which this version does not read"
    elif roots and not any(Path(root).exists() for root in roots):
        reason = f"its data set {' and '.join(roots)} does not exist"
    else:
        return None
    return Leftover("stores", path, _size(path), reason, partial(discard, path))


def _dead_processes(output: Path, stores: Path, before: float) -> Iterator[Leftover]:
    """Half-written files, and folders of jobs, of processes that do not live."""
    places = [output, output / ".jobs", stores]
    for pattern in ("runs/*", "runs/*/checkpoints", "sweeps/*", "sweeps/*/trials/*"):
        places += sorted(output.glob(pattern))
    places += [place for path in sorted(stores.glob("*")) for place in (path, path / "cases")]
    for place in places:
        for entry in stale_entries(place):
            if _changed([entry]) <= before:
                reason = "a process that has ended left it half-written"
                yield Leftover("jobs", entry, _size(entry), reason, partial(_remove, entry))


def _remove(entry: Path) -> None:
    try:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    except FileNotFoundError:  # another command was faster
        pass
    except OSError as error:
        raise RunError(f"{entry}: cannot be removed ({error.strerror})") from error


def _changed(paths: list[Path]) -> float:
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
