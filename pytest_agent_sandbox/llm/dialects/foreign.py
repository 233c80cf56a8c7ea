"""Dialects that the gateway does not speak: how to recognise their requests, and the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

from pytest_agent_sandbox.llm.dialects import DIALECTS

#: By the request's path, below `/v1` or not.
_BY_PATH = {
    "Ollama's own dialect": re.compile(r"/api/(?:chat|generate|show|tags|embed|embeddings|pull)$"),
    "Google's dialect": re.compile(
        r":(?:generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents"
        r"|predict|rawPredict|streamRawPredict)$"
    ),
    "Amazon Bedrock's dialect": re.compile(
        r"/model/[^/]+/(?:converse|converse-stream|invoke|invoke-with-response-stream)$"
    ),
    "Azure's dialect": re.compile(r"^(?:/v1)?/openai/"),
    "Cohere's dialect": re.compile(r"^(?:/v1|/v2)*/chat$"),
}
#: By the header that holds the key. Bedrock's requests are signed and show no key.
_BY_HEADER = {"api-key": "Azure's dialect", "x-goog-api-key": "Google's dialect"}
_SIGNED = ("aws4-hmac-sha256", "Amazon Bedrock's dialect")
#: Google's key may be in the query, too.
_QUERY_KEY = "key"


def foreign_dialect(path: str, query: str, headers: Mapping[str, str]) -> str:
    """Return the name of the foreign dialect that a request is in; empty if it is in none."""
    for name, pattern in _BY_PATH.items():
        if pattern.search(path):
            return name
    if _has_key(headers):  # whatever else it shows
        return ""
    for header, name in _BY_HEADER.items():
        if header in headers:
            return name
    scheme, name = _SIGNED
    if headers.get("authorization", "").lower().startswith(scheme):
        return name
    return "Google's dialect" if _QUERY_KEY in parse_qs(query) else ""


def foreign_key(query: str, headers: Mapping[str, str]) -> str:
    """Return the key that such a request shows; empty if it shows none."""
    for header in _BY_HEADER:
        if header in headers:
            return headers[header]
    return parse_qs(query).get(_QUERY_KEY, [""])[0]


def spoken() -> str:
    """Return where this gateway takes requests for completions, for a message."""
    return ", ".join(f"POST /v1{dialect.path}" for dialect in DIALECTS)


def not_spoken(name: str, method: str, path: str) -> str:
    """Return the message that answers a request in another dialect."""
    return (
        f"{method} {path} is {name}, which this gateway does not speak. It speaks {spoken()}, with "
        "the key in `Authorization: Bearer` or `x-api-key`: where the provider has an address that "
        "is compatible with OpenAI's, name the model openai/… and set LLM_BASE_URL to that."
    )


def _has_key(headers: Mapping[str, str]) -> bool:
    is_bearer = headers.get("authorization", "").lower().startswith("bearer ")
    return is_bearer or "x-api-key" in headers
