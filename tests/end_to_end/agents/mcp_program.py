"""A small MCP server; it runs in a sandbox, by the agent server's own Python."""

import os

from mcp.server.fastmcp import FastMCP

server = FastMCP("letters")


@server.tool()
def count_letters(word: str) -> str:
    """Counts the letters of a word."""
    return f"{word} has {len(word)} letters{os.environ.get('ENDING', '.')}"


if __name__ == "__main__":
    server.run()
