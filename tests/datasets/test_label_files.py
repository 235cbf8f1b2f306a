"""Which regions are scored, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from unet3d.datasets.label_files import PRESETS, chosen_regions
from unet3d.errors import ConfigError


def test_presets_and_mappings() -> None:
    """A preset by its name, or names with lists of label values."""
    assert chosen_regions("brats", []) == PRESETS["brats"]
    assert chosen_regions({"whole": [1, 2]}, []) == {"whole": [1, 2]}


@pytest.mark.parametrize("given", [{"x": 1}, {"x:1": None}, {}, "brain", [1, 2], 3])
def test_other_things_are_refused(given: Any) -> None:
    """One line that names the key and what is possible."""
    with pytest.raises(ConfigError, match="regions"):
        chosen_regions(given, [])
