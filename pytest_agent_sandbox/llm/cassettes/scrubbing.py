"""Secrets masked in recorded answers before they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_agent_sandbox.llm.cassettes.cassette import RecordedAnswer


def scrubbed_answer(recorded: RecordedAnswer, scrub: Callable[[str], str]) -> RecordedAnswer:
    """Return a recorded answer without secrets, also those that became known only later."""
    if recorded.events is None:
        return replace(recorded, body=scrubbed(recorded.body, scrub))
    contents = scrubbed_stream([event.data for event in recorded.events], scrub)
    pairs = zip(recorded.events, contents, strict=True)
    return replace(recorded, events=tuple(replace(event, data=data) for event, data in pairs))


def scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    """Return a piece of JSON with the secrets in its texts masked."""
    match value:
        case str():
            return scrub(value)
        case bytes():
            return scrub(value.decode("latin-1")).encode("latin-1")
        case list():
            return [scrubbed(item, scrub) for item in value]
        case dict():
            return {scrub(name): scrubbed(item, scrub) for name, item in value.items()}
    return value


def scrubbed_stream(contents: Sequence[Any], scrub: Callable[[str], str]) -> list[Any]:
    """Return the contents of a stream's events without secrets, even those cut over several events.

    A model streams a word in pieces, one piece an event. Where the joined pieces hold a secret, the
    first of them gets the whole masked text, and the others become empty.
    """
    cleaned = [scrubbed(content, scrub) for content in contents]
    texts: dict[str, list[tuple[Any, Any]]] = {}
    _collect(cleaned, "", texts)
    for places in texts.values():
        joined = "".join(owner[name] for owner, name in places)
        masked = scrub(joined)
        if masked != joined:
            for position, (owner, name) in enumerate(places):
                owner[name] = masked if position == 0 else ""
    return cleaned


def _collect(value: Any, path: str, texts: dict[str, list[tuple[Any, Any]]]) -> None:
    """Collect the places of all texts, by the path that the pieces of one text share."""
    if isinstance(value, Mapping):
        numbers = [value.get(name) for name in ("index", "output_index", "content_index")]
        path = f"{path}/{numbers}"
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, item in items:
        inner = f"{path}/{name}" if isinstance(value, Mapping) else path
        if isinstance(item, str):
            texts.setdefault(inner, []).append((value, name))
        elif isinstance(item, dict | list):
            _collect(item, inner, texts)
