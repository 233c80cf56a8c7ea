"""What the tests of the examples take for an example, and what they would notice."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from .commands import parsed, typed
from .examples import projects_of
from .markdown import Block, blocks_in
from .outcomes import wrong

PAGE = """
# Title

```python
# conftest.py
import pytest
```

```python
# test_a.py
def test_a(): ...
```

- in a list:

  ```python
  conversation = agent_conversation(LLM(model="default"))
  ```

## Other

```ini
[pytest]
sandbox_memory = 2g
```

<!-- fails: what it
says -->
```python
async def test_b(agent_workspace): ...
```

<!-- not run: it takes a week -->
<!-- image: source -->

```python
import time
```

```python
print(Tool(name="terminal"))
```

```python
await conversation.arun(agent_llm)
```

````text
```python
# no example
```
````
"""


def collected() -> list[Block]:
    return list(blocks_in(PAGE, "page.md"))


def test_blocks_and_what_is_said_of_them() -> None:
    found = collected()
    languages = ["python", "python", "python", "ini", "python", "python", "python", "python"]
    assert [block.language for block in found] == [*languages, "text"]
    assert found[2].code.startswith("conversation = ")
    assert [block.line for block in found[:2]] == [4, 9]
    assert [block.notes for block in found[3:7]] == [
        {},
        {"fails": "what it\nsays"},
        {"not run": "it takes a week", "image": "source"},
        {},
    ]


def test_what_becomes_of_them() -> None:
    first, second = projects_of(collected())
    assert list(first.files) == [
        "section_2/conftest.py",
        "section_2/test_a.py",
        "section_2/test_line_16.py",
    ]
    assert list(first.tests) == ["section_2/test_a.py", "section_2/test_line_16.py"]
    part = first.files["section_2/test_line_16.py"]
    assert part == (
        "from pytest_agent_sandbox import LLM\n\n\n"
        "def test_it(agent_conversation):\n"
        '    conversation = agent_conversation(LLM(model="default"))\n'
    )
    assert second.files["pytest.ini"] == "[pytest]\nsandbox_memory = 2g\n"
    assert len(second.programs) == 1
    (program,) = second.programs
    assert second.files[program].startswith("from pytest_agent_sandbox import Tool\n")
    *_, awaiting = second.files.values()
    assert "async def test_it(agent_llm):" in awaiting
    assert not any("import time" in text for text in second.files.values())


def test_what_comes_before_a_part() -> None:
    page = (
        "<!-- before:\nagent_llm.script([])\nconversation = agent_conversation()\n-->\n"
        "```python\nassert conversation.status\n```\n"
    )
    (project,) = projects_of(list(blocks_in(page, "page.md")))
    assert list(project.files.values()) == [
        "\n\ndef test_it(agent_conversation, agent_llm):\n"
        "    agent_llm.script([])\n"
        "    conversation = agent_conversation()\n"
        "    assert conversation.status\n"
    ]


def test_the_same_name_twice_is_two_files() -> None:
    page = "```python\n# test_a.py\ndef test_a(): ...\n```\n" * 2
    (project,) = projects_of(list(blocks_in(page, "page.md")))
    assert list(project.tests) == ["section_0/test_a.py", "section_0_again/test_a.py"]


@pytest.mark.parametrize(
    ("inside", "note", "expected"),
    [
        ("", None, ""),
        ("<failure>it broke</failure>", None, "did not pass"),
        ("<error>it broke</error>", None, "did not pass"),
        ("<skipped/>", None, "did not pass"),
        ("<failure>it   broke\nhere</failure>", "it broke here", ""),
        ("<failure>otherwise</failure>", "it broke", "was to fail"),
        ("", "it broke", "it passed"),
        ("<error>it broke</error>", "it broke", "was to fail"),
    ],
)
def test_outcomes(inside: str, note: str | None, expected: str) -> None:
    case = ElementTree.fromstring(f'<testcase name="test_a">{inside}</testcase>')
    block = Block("page.md", 1, 0, "python", "", {} if note is None else {"fails": note})
    found = wrong(case, block)
    assert (expected in found) if expected else (found == "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pytest -n 4", [({}, ("pytest", "-n", "4"))]),
        ("A=1 B='2 3' pytest # why", [({"A": "1", "B": "2 3"}, ("pytest",))]),
        ("export A=1", [({"A": "1"}, ())]),
        (
            "cd x && python -m pytest --k='a b' >out | cat",
            [({}, ("cd", "x")), ({}, ("python", "-m", "pytest", "--k=a b")), ({}, ("cat",))],
        ),
    ],
)
def test_command_lines(line: str, expected: list[tuple[dict[str, str], tuple[str, ...]]]) -> None:
    block = Block("page.md", 1, 0, "console", line)
    assert [(found.variables, found.words) for found in parsed(line, block)] == expected


def test_consoles() -> None:
    assert typed("$ a \\\n  b\nprinted\n$ c\n") == ["a    b", "c"]
