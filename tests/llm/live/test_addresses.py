"""Which provider a model is asked of, and where."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.live import LiveSource, live_source

from .wire import KEY


@pytest.mark.parametrize(
    ("model", "base_url", "source_url"),
    [
        ("gpt-4o", None, "https://api.openai.com/v1"),
        ("openai/gpt-4o", None, "https://api.openai.com/v1"),
        ("anthropic/claude-sonnet-4-5", None, "https://api.anthropic.com/v1"),
        ("claude-sonnet-4-5", None, "https://api.anthropic.com/v1"),
        ("anthropic/claude", "https://proxy/llm", "https://proxy/llm/v1"),
        ("anthropic/claude", "https://proxy/llm/v1/", "https://proxy/llm/v1"),
        ("anthropic/claude", "https://proxy/v1/messages", "https://proxy/v1"),
        ("openai/gpt-4o", "http://127.0.0.1:4000/", "http://127.0.0.1:4000"),
        ("mistral/large", "https://api.mistral.ai/v1", "https://api.mistral.ai/v1"),
    ],
)
def test_the_source_for(model: str, base_url: str | None, source_url: str) -> None:
    assert live_source(model, base_url, SecretStr(KEY)).base_url == source_url


def test_an_unknown_provider_needs_an_address() -> None:
    with pytest.raises(SettingsError, match=r"'mistral/large' is not known: set LLM_BASE_URL"):
        live_source("mistral/large", None, SecretStr(KEY))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("azure/gpt-4o", "openai/gpt-4o and set LLM_BASE_URL (the LLM's base_url) to https://RES"),
        ("azure_ai/claude-sonnet-5", "azure_ai/ is nothing that the LLM gateway serves"),
        ("bedrock/converse/some.model-v1", "openai/converse/some.model-v1 and set"),
        ("gemini/gemini-2.5-pro", "googleapis.com/v1beta/openai, where"),
        ("vertex_ai/gemini-2.5-pro", "an OpenAI-compatible endpoint"),
        ("ollama_chat/llama3", "http://localhost:11434/v1, where"),
        ("acme/large", "acme/ is nothing"),
        ("OpenAI/gpt-4o", "OpenAI/ is nothing"),
        ("some-model", "names no provider"),
        ("gemini-2.5-pro", "Name it openai/gemini-2.5-pro"),
        ("openai/", "names no model"),
        ("/x", "/ is nothing"),
        ("", "Name it openai/…"),
    ],
)
@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9/v1"])
def test_a_model_of_another_dialect_is_refused(model: str, told: str, base_url: str | None) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as raised:
        live_source(model, base_url, SecretStr(KEY))
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "ft:gpt-4o-mini:me", "claude-opus-4"])
def test_a_model_without_a_prefix(model: str) -> None:
    assert live_source(model, None, SecretStr(KEY)).base_url.startswith("https://api.")


@pytest.mark.parametrize(
    "address",
    ["", "localhost:4000", "ftp://x", "http://", "http://u:geheim@host/v1", "http://h/v1?k=geheim"],
)
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(SettingsError, match="base URL") as failure:
        LiveSource(address, None)
    assert "geheim" not in str(failure.value)


@pytest.mark.parametrize("key", ["sk-geheim\nx", "sk-geheimü"])
def test_a_key_that_cannot_be_sent(key: str) -> None:
    with pytest.raises(SettingsError, match="API key holds a character") as failure:
        LiveSource("http://h/v1", SecretStr(key))
    assert "geheim" not in str(failure.value)


def test_the_key_is_in_no_repr() -> None:
    upstream = LiveSource("https://h/v1", SecretStr(f" {KEY}\n"))
    assert KEY not in repr(upstream) + str(vars(upstream))
