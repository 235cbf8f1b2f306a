"""What Ray says of a worker's end, in one line."""

from __future__ import annotations


def told(error: Exception) -> str:
    """Why a worker ended, without what differs from one time to the next."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

    if isinstance(error, OutOfMemoryError):
        return "out of memory: its node had none left; ask for fewer at once"
    text = str(getattr(error, "cause", None) or error)
    if isinstance(error, NodeDiedError):
        return "its node was lost"
    if isinstance(error, RayActorError | WorkerCrashedError):
        lost_node = any(clue in text for clue in ("node was terminated", "node died", "node has"))
        return "its node was lost" if lost_node else "its process was killed or ended by itself"
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("[[")]  # TensorFlow's nodes
    return (lines[-1] if lines else type(error).__name__)[:200]
