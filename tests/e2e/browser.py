"""A real browser, Debian's chromium without a window, and what a user does with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
SECONDS = 120.0  # for all that one page waits for
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # plots are WebGL, and there is no GPU
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1400,1330",
)
Found = TypeVar("Found")

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM.exists() and CHROMEDRIVER.exists()),
    reason="no browser: apt-get install chromium chromium-driver",
)


@dataclass
class Page:
    """What the browser shows; each step waits until the page is ready for it."""

    driver: Chrome
    deadline: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def until(self, condition: Callable[[Chrome], Found], what: str) -> Found:
        """The first true result of `condition`; a page that redraws itself is asked again."""
        left = max(self.deadline - time.monotonic(), 0)
        wait = WebDriverWait(self.driver, left, 0.1, ignored_exceptions=[WebDriverException])
        return wait.until(condition, f"not within {SECONDS:.0f} s: {what}")  # type: ignore[arg-type]

    def find(self, xpath: str) -> WebElement:
        """The first visible element."""
        elements = self.until(lambda _: self.visible(xpath), f"{xpath} is visible")
        return elements[0]

    def exists(self, xpath: str) -> None:
        """Wait until an element exists, even if another one hides it."""
        self.until(lambda driver: driver.find_elements(By.XPATH, xpath), f"{xpath} exists")

    def visible(self, xpath: str) -> list[WebElement]:
        """The elements that can be seen now, without waiting."""
        elements = self.driver.find_elements(By.XPATH, xpath)
        return [element for element in elements if element.is_displayed()]

    def click(self, xpath: str) -> None:
        """Click the first such element as soon as it accepts clicks."""

        def clicked(driver: Chrome) -> bool:
            driver.find_element(By.XPATH, xpath).click()
            return True

        self.until(clicked, f"{xpath} accepts a click")


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A fresh browser; a failure reports the page's text and leaves a screenshot in `folder`."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    driver = Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    try:
        yield Page(driver)
    except Exception as error:
        picture = folder / "browser.png"
        driver.save_screenshot(str(picture))
        text = driver.find_element(By.TAG_NAME, "body").text
        raise AssertionError(f"{error}\n{driver.current_url}, see {picture}\n{text}") from error
    finally:
        driver.quit()
