"""The user's browser: whether there is a screen for it, and a page in it."""

from __future__ import annotations

import os
import sys
import threading
import time
import webbrowser


def has_screen() -> bool:
    """Whether a browser that is opened here would be seen."""
    return sys.platform == "darwin" or bool(
        {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(os.environ)
    )


def show_page(address: str, wanted: bool = True) -> None:
    """Print an address, and open it in a browser where that is wanted and there is a screen."""
    print(address, flush=True)
    if wanted and has_screen():
        # A browser that is not yet open may hold up the call until it is closed.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        time.sleep(1)
