"""`unet3d view`: one segmented case as a picture, an animated GIF and an HTML page."""

from __future__ import annotations

import logging
from pathlib import Path

from unet3d.config.schema import ViewConfig
from unet3d.errors import ConfigError
from unet3d.files import write_text
from unet3d.inference.scan import stem
from unet3d.plotting import save_png
from unet3d.viewer.case import read_case
from unet3d.viewer.gif import write_gif
from unet3d.viewer.overlay import overlay
from unet3d.viewer.page import page

log = logging.getLogger(__name__)


def view(settings: ViewConfig) -> Path:
    """Write overlay.png, slices.gif and view.html; returns their folder.

    Raises DataError for files that do not belong together, ConfigError for a channel, a window
    or regions that are not possible and for a folder that cannot be written to.
    """
    pred = Path(settings.pred)
    folder = Path(settings.output or pred.with_name(f"{stem(pred)}_view"))
    case = read_case(settings)
    try:
        save_png(overlay(case), folder / "overlay.png")
        write_gif(case, folder / "slices.gif")
        write_text(folder / "view.html", page(case))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"output: {folder} cannot be written to ({reason})") from error
    log.info("overlay.png, slices.gif and view.html are in %s", folder)
    return folder
