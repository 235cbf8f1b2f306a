"""What settings must be to each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unet3d.config.compose import compose_config
from unet3d.config.rules import check_batch, check_config, check_regions
from unet3d.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=3", "accumulate=2"], "accumulate: 2 does not divide batch_size=3"),
        (["schedule.warmup_epochs=20"], "schedule.warmup_epochs: 20.0 is not possible"),
        (["nodes=2"], "nodes: 2 is not possible with parallel=none; type parallel=data"),
        (["parallel.devices=2"], "parallel.devices: 2 is not possible with parallel=none"),
        (
            ["parallel=data", "nodes=2", "parallel.devices=1"],
            "devices: 1 is only possible",
        ),
        (["data.patch=[20,16,16]"], "data.patch: [20, 16, 16] is not divisible by 8"),
        (["loss.class_weights=[1,-1]"], "loss.class_weights: [1, -1] is not possible; write [0.5"),
        (["data.foreground_shares={1:0}"], "data.foreground_shares: {1: 0} is not possible"),
        (["model.depth=4", "data.patch=[24,16,16]"], "the nearest that is: [32, 16, 16]"),
    ],
)
def test_settings_at_odds_are_one_line(overrides: list[str], message: str) -> None:
    """Each alone is possible; together they are not, and the line says which."""
    with pytest.raises(ConfigError) as caught:
        compose_config(overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_values_are_checked_before_what_is_between_them() -> None:
    """A batch of 0 is not a matter of division."""
    config = replace(compose_config([]), batch_size=0, accumulate=3)
    with pytest.raises(ConfigError, match="batch_size: 0 is not possible; it must be 1 or more"):
        check_config(config)


@pytest.mark.parametrize(
    ("batch_size", "replicas", "accumulate", "sizes"),
    [(6, 4, 1, "batch_size=4 or batch_size=8"), (1, 2, 2, "batch_size=4"), (8, 4, 2, None)],
)
def test_the_global_batch_is_shared_evenly(
    batch_size: int, replicas: int, accumulate: int, sizes: str | None
) -> None:
    """Or the line names the sizes that are, none of them 0."""
    config = replace(compose_config([]), batch_size=batch_size, accumulate=accumulate)
    if sizes is None:
        check_batch(config, replicas)
        return
    with pytest.raises(ConfigError) as caught:
        check_batch(config, replicas)
    assert str(caught.value).endswith(f"type {sizes}")


@pytest.mark.parametrize("regions", [{}, [1], "x", {"a": 1}, {"a": [True]}, {"a": ["1"]}])
def test_regions_are_names_and_lists_of_label_values(regions: object) -> None:
    """Anything else is refused under the key that was typed."""
    with pytest.raises(ConfigError, match="^regions"):
        check_regions(regions, "regions")
    check_regions({"a": [1, 2]}, "regions")
    check_regions(None)
