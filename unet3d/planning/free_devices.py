"""The devices of a simulated cluster that no trial has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from unet3d.planning.simulated import Cluster


class FreeDevices:
    """Devices by their number; those of a node follow one another."""

    def __init__(self, cluster: Cluster):
        self.size = cluster.devices_per_node
        self.nodes = [self._of_node(node) for node in range(cluster.nodes)]
        self.away: set[int] = set()  # nodes that are lost
        self.returned: dict[int, list[int]] = {}  # devices given back while their node was away

    def _of_node(self, node: int) -> list[int]:
        return list(range(node * self.size, (node + 1) * self.size))

    @property
    def count(self) -> int:
        """How many are free."""
        return sum(map(len, self.nodes))

    def nodes_of(self, devices: Iterable[int]) -> int:
        """Over how many nodes devices lie."""
        return len({device // self.size for device in devices})

    def take(self, wanted: int) -> tuple[int, ...] | None:
        """Devices of one node where they fit, else of as few as possible; None for too few.

        Of the nodes where they fit, the one with the least to spare.
        """
        fitting = [node for node in self.nodes if len(node) >= wanted]
        if fitting:
            return self._from([min(fitting, key=len)], wanted)
        if wanted <= self.size or self.count < wanted:
            return None
        return self._from(sorted(self.nodes, key=len, reverse=True), wanted)

    def take_beside(self, more: int, devices: Sequence[int]) -> tuple[int, ...]:
        """`more` devices, those on the nodes of `devices` first."""
        own = {device // self.size for device in devices}
        order = sorted(
            range(len(self.nodes)), key=lambda node: (node not in own, -len(self.nodes[node]))
        )
        return self._from([self.nodes[node] for node in order], more)

    def closest(self, devices: Sequence[int], wanted: int) -> tuple[int, ...]:
        """`wanted` of these devices, those on the nodes that have most of them."""
        on_node = Counter(device // self.size for device in devices)
        return tuple(sorted(devices, key=lambda d: (-on_node[d // self.size], d))[:wanted])

    def _from(self, nodes: Iterable[list[int]], wanted: int) -> tuple[int, ...]:
        found: list[int] = []
        for node in nodes:
            taken = node[: wanted - len(found)]
            del node[: len(taken)]
            found += taken
        return tuple(found)

    def release(self, devices: Iterable[int]) -> None:
        """Give devices back; those of a lost node are free once it is there again."""
        for device in devices:
            node = device // self.size
            place = self.returned.setdefault(node, []) if node in self.away else self.nodes[node]
            place.append(device)

    def lose(self, node: int) -> set[int]:
        """A node is lost, with the devices that are returned."""
        self.away.add(node)
        self.returned[node] = self.nodes[node][:]
        self.nodes[node].clear()
        return set(self._of_node(node))

    def repair(self, node: int) -> None:
        """A lost node is there again."""
        self.away.discard(node)
        self.nodes[node] += self.returned.pop(node)
