"""The models that the gateway can serve, by LiteLLM's prefix, which chooses the dialect."""

from __future__ import annotations

import re

from pytest_agent_sandbox.errors import SettingsError

#: Prefixes that LiteLLM (1.105 to 1.110) asks at `/chat/completions` or `/responses` below the
#: address that it is given, with the key as a bearer token. Each was tried. Any other prefix is not
#: one, stands for a dialect that the gateway does not speak, or wants a key of another form.
# fmt: off
_AS_OPENAI = frozenset({
    "ai21", "ai21_chat", "aiml", "amazon_nova", "apertis", "baseten", "bedrock_mantle",
    "cerebras", "chutes", "cloudflare", "codestral", "cometapi", "compactifai", "custom_openai",
    "dashscope", "databricks", "deepinfra", "deepseek", "docker_model_runner", "empower",
    "featherless_ai", "fireworks_ai", "friendliai", "galadriel", "github", "groq", "helicone",
    "hosted_vllm", "hyperbolic", "inception", "lambda_ai", "litellm_proxy",
    "llamafile", "lm_studio", "maritalk", "meta_llama", "minimax", "mistral", "modelscope",
    "moonshot", "morph", "nano-gpt", "nebius", "novita", "nscale", "nvidia_nim", "openai",
    "openhands", "openrouter", "ovhcloud", "parasail", "perplexity", "poe", "publicai",
    "sambanova", "scaleway", "synthetic", "together_ai", "v0", "vercel_ai_gateway",
    "volcengine", "wandb", "xai", "xiaomi_mimo", "xinference", "zai",
})
# fmt: on
_ANTHROPIC = "anthropic"
#: Models that LiteLLM knows without a prefix.
_BARE_ANTHROPIC = "claude"
_BARE_OPENAI = re.compile(r"(gpt-|o\d|ft:gpt-)")

#: Addresses where providers of other dialects answer as OpenAI does.
_COMPATIBLE_ADDRESSES = {
    "azure": "https://RESOURCE.openai.azure.com/openai/v1",
    "azure_ai": "https://RESOURCE.openai.azure.com/openai/v1",
    "bedrock": "https://bedrock-mantle.REGION.api.aws/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "cohere_chat": "https://api.cohere.ai/compatibility/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "huggingface": "https://router.huggingface.co/v1",
    "ollama": "http://localhost:11434/v1",
    "ollama_chat": "http://localhost:11434/v1",
}


def speaks_anthropic(model: str) -> bool:
    """Tell whether LiteLLM talks to this model in Anthropic's own dialect."""
    return model.startswith((f"{_ANTHROPIC}/", _BARE_ANTHROPIC))


def check_model(model: str) -> None:
    """Refuse a model that LiteLLM asks in a dialect that the gateway does not speak.

    Args:
        model: The model as LiteLLM spells it: `openai/gpt-4o`, `anthropic/claude-sonnet-5`.

    Raises:
        SettingsError: The gateway cannot serve it; the message names another way to the model.
    """
    prefix, slash, name = model.partition("/")
    if not slash:
        is_known = model.startswith(_BARE_ANTHROPIC) or bool(_BARE_OPENAI.match(model))
        problem, name, prefix = "names no provider", model, ""
    else:
        is_known = bool(name) and (prefix == _ANTHROPIC or prefix in _AS_OPENAI)
        problem = f"{prefix}/ is nothing that the LLM gateway serves" if name else "names no model"
    if is_known:
        return
    raise SettingsError(
        f"The model {model!r} (LLM_MODEL, or the agent's own) {problem}. It serves models that "
        "LiteLLM asks in OpenAI's dialects or Anthropic's, such as openai/…, anthropic/…, "
        f"openrouter/…, mistral/…. {_other_way(prefix, name)}"
    )


def _other_way(prefix: str, name: str) -> str:
    address = _COMPATIBLE_ADDRESSES.get(prefix, "the address of an OpenAI-compatible endpoint")
    return (
        f"Name it openai/{name or '…'} and set LLM_BASE_URL (the LLM's base_url) to {address}, "
        "where its provider answers as OpenAI does."
    )
