"""The client tools of a conversation, served to its sandbox.

The agent server (1.58) only notes that a client tool was called: no answer of the client reaches
the agent. So they are tools of an MCP server that this process is, behind the LLM gateway.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.client.client_tools import ClientTool, as_client_tool
from pytest_agent_sandbox.errors import SettingsError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pytest_agent_sandbox.sandbox.gateway import HostGateway

#: What agents know the server as.
NAME = "test"
_PATH = "/mcp"
#: What a call is answered with that comes too late: the text, and that it is an error.
_OVER = ("The conversation is over.", True)


class ServedTools:
    """Tools that agents in sandboxes reach; close them with the conversation.

    Args:
        tools: Functions, or what `client_tool` makes of them.
        gateway: What leads to them.

    Raises:
        SettingsError: A tool cannot be used, two have the same name, or `mcp` is not installed.
    """

    def __init__(self, tools: Iterable[object], gateway: HostGateway) -> None:
        self._tools: dict[str, ClientTool] = {}
        for tool in map(as_client_tool, tools):
            if tool.name in self._tools:
                raise SettingsError(f"client_tools=[…]: two are named {tool.name!r}.")
            self._tools[tool.name] = tool
        self._failure: BaseException | None = None
        self._one_at_a_time = threading.Lock()
        self._is_closed = False
        #: Give an answer to the calls that wait for one.
        self._awaited: set[Callable[[tuple[str, bool]], None]] = set()
        self._server = _mcp_server(self._tools, self._answer)
        self._service = gateway.open_service(self._serve)

    @property
    def token(self) -> str:
        """What opens the way to them: not to be shown."""
        return self._service.token

    @property
    def mcp_servers(self) -> dict[str, dict[str, Any]]:
        """The server, as a conversation's `mcp_servers` want it."""
        headers = {"Authorization": f"Bearer {self._service.token}"}
        server = {"url": f"{self._service.url}{_PATH}", "transport": "http", "headers": headers}
        return {NAME: server}

    def check(self) -> None:
        """Raise a failed assertion in a tool; once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Serve them no more: calls under way are answered. May be called more than once."""
        self._is_closed = True
        for give in list(self._awaited):
            give(_OVER)
        self._service.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the ASGI application."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from starlette.responses import Response

        if scope["method"] != "POST":  # there is nothing to tell without being asked
            await Response(status_code=405)(scope, receive, send)
            return
        # One for each request: nothing is left when it is answered.
        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    async def _answer(self, tool: ClientTool, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Return what the agent is told, and whether that is an error."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[str, bool]] = loop.create_future()

        def settle(told: tuple[str, bool]) -> None:
            if not answer.done():
                answer.set_result(told)

        def give(told: tuple[str, bool]) -> None:
            with suppress(RuntimeError):  # the gateway has been closed
                loop.call_soon_threadsafe(settle, told)

        def work() -> None:
            with self._one_at_a_time:
                # It may have waited for another that took long.
                give(_OVER if self._is_closed else self._call(tool, arguments))

        self._awaited.add(give)
        try:
            # Not one of a pool: what a test does in there may take for ever, and is not waited for.
            threading.Thread(target=work, name=f"client-tool-{tool.name}", daemon=True).start()
            return await answer
        finally:
            self._awaited.discard(give)

    def _call(self, tool: ClientTool, arguments: dict[str, Any]) -> tuple[str, bool]:
        try:
            return tool.answer(arguments), False
        except BaseException as error:  # noqa: BLE001 - it is the agent's to deal with, or the test's
            if isinstance(error, AssertionError) or not isinstance(error, Exception):
                self._failure = self._failure or error
            return f"{type(error).__name__}: {error}", True


def _mcp_server(tools: dict[str, ClientTool], answer: Callable[..., Any]) -> Any:
    try:
        from mcp import types
        from mcp.server.lowlevel import Server
    except ImportError:
        raise SettingsError(
            "client_tools need the package mcp: pip install 'pytest-agent-sandbox[tools]'."
        ) from None

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        described = [
            types.Tool(name=one.name, description=one.description, input_schema=one.parameters)
            for one in tools.values()
        ]
        return types.ListToolsResult(tools=described)

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name in tools:
            text, is_error = await answer(tools[params.name], params.arguments or {})
        else:
            text, is_error = f"There is no tool {params.name!r}.", True
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=text)], is_error=is_error
        )

    return Server(NAME, on_list_tools=list_tools, on_call_tool=call_tool)
