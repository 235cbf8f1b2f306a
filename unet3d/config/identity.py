"""What a training's settings are, in short: equal for those that give the same result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from unet3d.config.schema import Config, flatten
from unet3d.config.setting import Effect
from unet3d.config.walk import walk


def settings_key(config: Config) -> str:
    """Names a training by what its result depends on, in 12 hexadecimal digits."""
    settings = {
        name: value
        for name, value, setting in walk(config)
        if setting.effect is not Effect.NONE and not (setting.newer and value == setting.default)
    }
    return digest(flatten(settings))


def digest(value: Any) -> str:
    """12 hexadecimal digits that are the same for equal plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
