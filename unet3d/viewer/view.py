"""`unet3d view`: segmented cases as pictures, GIFs and HTML pages, and in the browser."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from unet3d.browser import has_screen
from unet3d.config.schema import ViewConfig
from unet3d.errors import ConfigError
from unet3d.files import write_text
from unet3d.html import render
from unet3d.inference.scan import stem
from unet3d.plotting import save_png
from unet3d.progress_bars import case_bar
from unet3d.viewer.case import ShownCase, read_case
from unet3d.viewer.cases import ViewCase, find_cases
from unet3d.viewer.gif import write_gif
from unet3d.viewer.overlay import overlay
from unet3d.viewer.page import page
from unet3d.viewer.serve import serve

log = logging.getLogger(__name__)


def view(settings: ViewConfig) -> Path | None:
    """Write the files of one case or of a folder's, and show them in the browser if wanted.

    The cases of a folder have files where none is to be shown, or `output` is given. Returns the
    folder of the files, or None where none were written. Raises DataError for files that do not
    belong together, ConfigError for a channel, a window or regions that are not possible and for
    a folder that cannot be written to, RunError for a port in use.
    """
    cases = find_cases(settings)
    shown = has_screen() if settings.serve is None else settings.serve
    folder = None
    if not Path(settings.pred).is_dir():
        folder = _output(settings)
        _write(read_case(settings), folder)
        log.info("overlay.png, slices.gif and view.html are in %s", folder)
    elif not shown or settings.output:
        folder = _output(settings)
        _write_all(cases, folder)
    if shown:
        serve(cases, settings.port)
    return folder


def _output(settings: ViewConfig) -> Path:
    pred = Path(settings.pred)
    name = pred.resolve().name if pred.is_dir() else stem(pred)
    return Path(settings.output or pred.resolve().with_name(f"{name}_view"))


def _write_all(cases: Sequence[ViewCase], folder: Path) -> None:
    """A folder for each case, and index.html, which lists them in their order."""
    with case_bar("drawn", len(cases)) as advance:
        for case in cases:
            _write(read_case(case.settings), folder / case.name)
            advance()
    write_text(folder / "index.html", render("viewer/index.html", cases=cases))
    log.info("index.html and a folder of each case are in %s", folder)


def _write(case: ShownCase, folder: Path) -> None:
    try:
        save_png(overlay(case), folder / "overlay.png")
        write_gif(case, folder / "slices.gif")
        write_text(folder / "view.html", page(case))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"output: {folder} cannot be written to ({reason})") from error
