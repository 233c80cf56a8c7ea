"""The dialects that agents and providers speak."""

from __future__ import annotations

from pytest_agent_sandbox.llm.dialects.anthropic_messages import AnthropicMessages
from pytest_agent_sandbox.llm.dialects.dialect import Dialect
from pytest_agent_sandbox.llm.dialects.openai_chat import OpenAIChat
from pytest_agent_sandbox.llm.dialects.openai_responses import OpenAIResponses

DIALECTS: tuple[Dialect, ...] = (OpenAIChat(), OpenAIResponses(), AnthropicMessages())


def dialect_of(path: str) -> Dialect:
    """Return the dialect that is spoken at a path below `/v1`.

    Token counting and the like take the dialect of the completions above them in the path; models
    and embeddings are OpenAI's.
    """
    for dialect in DIALECTS:
        if path == dialect.path or path.startswith(f"{dialect.path}/"):
            return dialect
    return DIALECTS[0]
