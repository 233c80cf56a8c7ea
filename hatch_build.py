"""The README as the package index shows it: without the repository around it, links are absolute.

A metadata hook of Hatch. The links lead to the repository that `[project.urls]` names as `Source`.
Where it names none, their words stay, and pictures go: no link leads nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE = re.compile(r"!\[([^]]*)\]\((?!\w+:)([^)\s]+)\)")
_LINK = re.compile(r"(?<!!)\[((?:[^][]|!?\[[^]]*\](?:\([^)]*\))?)*)\]\((?!\w+:|#)([^)\s]+)\)")


class AbsoluteLinks(MetadataHookInterface):
    """Gives the package its description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README to the package's metadata."""
        text = Path(self.root, "README.md").read_text("utf-8")
        source = metadata.get("urls", {}).get("Source", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, source)}


def absolute(markdown: str, source: str) -> str:
    """Return the text with links that do not depend on where it is read.

    Args:
        markdown: The text, with links relative to the repository's root.
        source: The repository's address; empty where it has none.
    """
    if source:
        raw, page = f"{source.rstrip('/')}/raw/HEAD/", f"{source.rstrip('/')}/blob/HEAD/"
        markdown = _PICTURE.sub(rf"![\1]({raw}\2)", markdown)
        return _LINK.sub(rf"[\1]({page}\2)", markdown)
    markdown = _LINK.sub(r"\1", _PICTURE.sub("", markdown))
    return re.sub(r"\n{3,}", "\n\n", markdown)
