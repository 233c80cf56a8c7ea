"""Whether the tests of an example came out as they should."""

from __future__ import annotations

from xml.etree import ElementTree

from .markdown import Block


def wrong(case: ElementTree.Element, block: Block | None) -> str:
    """What is wrong with the outcome of a test, in words."""
    text = "".join(case.itertext())
    failed = case.find("failure") is not None
    expected = block.notes.get("fails") if block else None
    if expected is not None:
        if failed and expected in " ".join(text.split()):
            return ""
        return f"{case.get('name')} was to fail with {expected!r}, not so:\n{text or 'it passed'}"
    skipped = case.find("skipped")
    reason = "" if skipped is None else skipped.get("message", "")
    is_a_trial = reason.startswith(("trial failed", "not needed"))
    if failed or case.find("error") is not None or (skipped is not None and not is_a_trial):
        return f"{case.get('name')} did not pass:\n{text}"
    return ""
