"""A small agent of the Agent Client Protocol: an LLM, one tool, a loop.

It runs in a sandbox, by the agent server's own Python, which has both libraries.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from typing import Any

import acp
from acp.schema import Implementation, InitializeResponse, NewSessionResponse, PromptResponse
from openai import AsyncOpenAI

RUN = {
    "type": "function",
    "function": {
        "name": "run",
        "description": "Runs a shell command.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}


class SmallAgent(acp.Agent):
    def on_connect(self, conn: acp.Client) -> None:
        self._client = conn
        self._folders: dict[str, str] = {}
        self._servers: dict[str, list[str]] = {}

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        return InitializeResponse(
            protocol_version=protocol_version,
            agent_info=Implementation(name="small-agent", version="1.0"),
        )

    async def new_session(
        self, cwd: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> NewSessionResponse:
        session_id = uuid.uuid4().hex
        self._folders[session_id] = cwd
        self._servers[session_id] = [server.name for server in mcp_servers or ()]
        return NewSessionResponse(session_id=session_id)

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        text = "\n".join(block.text for block in prompt if block.type == "text")
        messages: list[Any] = [
            {"role": "system", "content": os.environ.get("INSTRUCTIONS", "Be brief.")},
            {"role": "user", "content": text},
        ]
        llm = AsyncOpenAI(max_retries=0)  # where it is, and its key, come from the environment
        while True:
            answer = await llm.chat.completions.create(
                model="small-model", messages=messages, tools=[RUN]
            )
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if message.content:
                await self._tell(session_id, acp.update_agent_message_text(message.content))
            if not message.tool_calls:
                for name in self._servers[session_id]:
                    said = acp.update_agent_message_text(f" I was given {name}.")
                    await self._tell(session_id, said)
                return PromptResponse(stop_reason="end_turn")
            for call in message.tool_calls:
                output = await self._run(session_id, call.id, call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": output})

    async def _run(self, session_id: str, call_id: str, arguments: str) -> str:
        command = json.loads(arguments)["command"]
        await self._tell(
            session_id,
            acp.start_tool_call(
                call_id,
                f"Run {command}",
                kind="execute",
                status="pending",
                raw_input={"command": command},
            ),
        )
        await self._tell(session_id, acp.update_tool_call(call_id, status="in_progress"))
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=self._folders[session_id],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
        await self._tell(
            session_id,
            acp.update_tool_call(
                call_id,
                status="failed" if process.returncode else "completed",
                content=[acp.tool_content(acp.text_block(output))],
                # Of what agents send, some leave out the one and some the other.
                raw_output={"exit_code": process.returncode} if "raw" in sys.argv else None,
            ),
        )
        return output

    async def _tell(self, session_id: str, update: Any) -> None:
        await self._client.session_update(session_id, update)


if __name__ == "__main__":
    asyncio.run(acp.run_agent(SmallAgent()))
