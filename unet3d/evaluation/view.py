"""`unet3d view`: one segmented case as a picture, a film and a page."""

from __future__ import annotations

import logging
from pathlib import Path

from unet3d.config import ConfigError, ViewConfig
from unet3d.data.atomic import write_text
from unet3d.evaluation.film import write_film
from unet3d.evaluation.pictures import overlay
from unet3d.evaluation.view_case import read_case
from unet3d.evaluation.view_page import page
from unet3d.inference.scan import stem
from unet3d.visualize import save_png

log = logging.getLogger(__name__)


def view(settings: ViewConfig) -> Path:
    """Write overlay.png, slices.gif and view.html; returns their folder.

    Raises DataError for files that do not fit each other, ConfigError for a channel, a window
    or regions that cannot be, and for a folder that cannot be written to.
    """
    pred = Path(settings.pred)
    folder = Path(settings.output or pred.with_name(f"{stem(pred)}_view"))
    case = read_case(settings)
    try:
        save_png(overlay(case), folder / "overlay.png")
        write_film(case, folder / "slices.gif")
        write_text(folder / "view.html", page(case))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"output: {folder} cannot be written to ({reason})") from error
    log.info("overlay.png, slices.gif and view.html are in %s", folder)
    return folder
