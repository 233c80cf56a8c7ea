"""A small agent that is a plain program: an LLM, a shell, a loop, and a line for each step.

It takes nothing but Python and the variables that lead to its LLM.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "shell",
        "description": "Runs a shell command.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}


def ask(messages: list[Any], tools: list[Any]) -> dict[str, Any]:
    model = os.environ.get("OPENAI_MODEL", "small-model")
    request = urllib.request.Request(
        f"{os.environ['OPENAI_BASE_URL']}/chat/completions",
        json.dumps({"model": model, "messages": messages, "tools": tools}).encode(),
        {
            "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True)
    parser.add_argument("--title", action="store_true", help="ask for a title first")
    given = parser.parse_args()
    if given.title:
        ask([{"role": "user", "content": f"Write a title for this: {given.task}"}], [])
    messages: list[Any] = [{"role": "user", "content": given.task}]
    while True:
        message = ask(messages, [TOOL])
        messages.append(message)
        if message.get("content"):
            print(message["content"], flush=True)
        if not message.get("tool_calls"):
            return 3 if "give up" in (message.get("content") or "") else 0
        for call in message["tool_calls"]:
            command = json.loads(call["function"]["arguments"])["command"]
            print(f"$ {command}", flush=True)
            done = subprocess.run(
                ["sh", "-c", command],
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            print(done.stdout, end="", flush=True)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": done.stdout})


if __name__ == "__main__":
    sys.exit(main())
