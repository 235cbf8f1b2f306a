"""What is wrong with settings shows once the data are known, before the network is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.errors import ConfigError
from unet3d.training.setup import make_data


def test_settings_that_do_not_fit_the_data(tmp_path: Path) -> None:
    """Weights are counted; a typed patch divides by the strides that topology=auto will choose."""
    config = small_config(tmp_path)
    weighted = replace(config, loss=replace(config.loss, class_weights=[1, 2]))
    with pytest.raises(ConfigError, match="names 2 weights; the network has 3 outputs: whole_tum"):
        make_data(weighted)
    model = replace(config.model, topology="auto", depth=6)  # 64 voxels, were it isotropic
    make_data(replace(config, model=model))
    shares = {7: 1.0}
    with pytest.raises(ConfigError, match="data.foreground_shares: 7 is no label value"):
        make_data(replace(config, data=replace(config.data, foreground_shares=shares)))
