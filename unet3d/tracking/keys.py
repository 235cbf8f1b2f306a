"""Names of metrics, params and tags as MLflow accepts them."""

from __future__ import annotations

import hashlib
import posixpath
import re

REFUSED = re.compile(r"[^\w.\- :/]")
CODE = re.compile(r":[0-9a-f]+:")
LIMIT = 250
VALUE_LIMIT = 6000  # of a param; longer values are cut


def mlflow_key(name: str) -> str:
    """`name` with each character that MLflow refuses as its code: TC+ET becomes TC:2b:ET.

    Two names never become one key, whatever the other names are. A name that MLflow accepts stays
    as it is, except one that looks like a code.
    """
    if _is_path(name):
        plain = not REFUSED.search(name) and not CODE.search(name)
        key = name if plain else re.sub(r"[^\w.\- /]", _code, name)
    else:  # such as a//b, which would be the same file as a/b
        key = re.sub(r"[^\w\- ]", _code, name)
    if len(key) > LIMIT:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        key = f"{key[: LIMIT - 20]}:{digest}:"
    return key


def _is_path(name: str) -> bool:
    path = posixpath.normpath(name)
    return path == name and path != "." and not path.startswith(("..", "/"))


def _code(character: re.Match[str]) -> str:
    return f":{ord(character[0]):x}:"
