"""The training step of train_step.py --peer, by the same network in torch, in a process of its own.

Run by benchmarks/train_step.py: python benchmarks/train_step_torch.py VARIANT PATCH BATCH STEPS
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from typing import Any

FILTERS, DEPTH, CHANNELS, OUTPUTS = 8, 3, 4, 3
WARM = 3  # steps before the clock starts


def main() -> None:
    """Print {"ms": median of the steps, "parameters": ...} as JSON."""
    variant, patch, batch, steps = sys.argv[1], *map(int, sys.argv[2:5])
    import torch

    torch.manual_seed(0)
    network = make_network(torch)
    images = torch.randn(batch, CHANNELS, patch, patch, patch)
    truth = (torch.rand(batch, OUTPUTS, patch, patch, patch) < 0.1).float()
    if "channels-last" in variant:
        network = network.to(memory_format=torch.channels_last_3d)
        images = images.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    half = variant.startswith("bfloat16")

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = network(images)
        loss = dice_cross_entropy(torch, logits.float(), truth)
        loss.backward()
        optimizer.step()
        return float(loss)

    seconds = []
    for _ in range(WARM + steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in network.parameters())
    print(json.dumps({"ms": 1000 * median(seconds[WARM:]), "parameters": parameters}))


def dice_cross_entropy(torch: Any, logits: Any, truth: Any) -> Any:
    """Soft Dice with squares, and cross-entropy, as unet3d.losses has them."""
    probability, space = torch.sigmoid(logits), (2, 3, 4)
    overlap = (truth * probability).sum(space)
    size = (truth**2).sum(space) + (probability**2).sum(space)
    dice = (2 * overlap + 1e-5) / (size + 1e-5)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    return (1 - dice.mean(1)).mean() + entropy


def make_network(torch: Any) -> Any:
    """The default 3D U-Net: two convolutions a level, batch norm, ReLU, max-pooling."""
    nn = torch.nn

    def level(inputs: int, filters: int) -> Any:
        parts = []
        for number in (inputs, filters):
            parts += [
                nn.Conv3d(number, filters, 3, padding=1, bias=False),
                nn.BatchNorm3d(filters, momentum=0.1, eps=1e-5),
                nn.ReLU(),
            ]
        return nn.Sequential(*parts)

    class UNet(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            sizes = [FILTERS * 2**n for n in range(DEPTH + 1)]
            self.down = nn.ModuleList(
                level(a, b) for a, b in zip([CHANNELS, *sizes[:-1]], sizes, strict=True)
            )
            self.up = nn.ModuleList(
                nn.ConvTranspose3d(2 * size, size, 2, stride=2) for size in sizes[:-1]
            )
            self.join = nn.ModuleList(level(2 * size, size) for size in sizes[:-1])
            self.pool, self.head = nn.MaxPool3d(2), nn.Conv3d(FILTERS, OUTPUTS, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for number, part in enumerate(self.down):
                if number:
                    skips.append(x)
                    x = self.pool(x)
                x = part(x)
            for number in reversed(range(DEPTH)):
                x = self.join[number](torch.cat([skips[number], self.up[number](x)], 1))
            return self.head(x)

    return UNet()


if __name__ == "__main__":
    main()
