"""The frame of an HTML page that is one file and needs no network."""

from __future__ import annotations


def document(title: str, style: str, head: str, body: str) -> str:
    """A page in light or dark, as the browser prefers; all arguments but `title` are HTML or CSS.

    title: escaped; head: below the heading that shows it; body: <main> and what follows.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{head}
</header>
{body}
</body>
</html>
"""
