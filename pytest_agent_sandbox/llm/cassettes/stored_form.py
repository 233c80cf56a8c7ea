"""The form of a cassette's file, against which each is held before anything of it is used."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_agent_sandbox.llm.strict_json import is_deeper

#: Requests have at most 200 levels; whatever walks through a cassette is recursive.
_DEEPEST = 250
_LONGEST_REASON = 300

#: What HTTP allows in the name and the value of a header.
_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\z"
_VALUE = r"^(?:[!-~\x{a0}-\x{ff}](?:[ \t!-~\x{a0}-\x{ff}]*[!-~\x{a0}-\x{ff}])?)?\z"
#: Headers that belong to one connection, or tell where a body ends: a replay has its own.
_OF_THE_WIRE = {
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

_Milliseconds = Annotated[int, Field(ge=0)]
_Name = Annotated[str, Field(pattern=_NAME)]
_Value = Annotated[str, Field(pattern=_VALUE)]
_OneLine = Annotated[str, Field(pattern=r"^[^\r\n]*\z")]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Mark(_Form):
    at: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    mark: Any = Field(alias="is")


class _Request(_Form):
    dialect: str
    method: str
    path: str
    continues: int = 1
    new: Annotated[dict[str, list[Any]], Field(min_length=1, max_length=1)] | None = None
    marks: list[_Mark] | None = None


class _Event(_Form):
    ms: _Milliseconds
    event: _OneLine = ""
    data: Any


class _Answer(_Form):
    status: Annotated[int, Field(ge=200, le=599)]
    headers: dict[_Name, _Value]
    cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    ms: _Milliseconds
    base64: str = ""
    events: list[_Event] | None = None


class _Interaction(_Form):
    request: _Request
    answer: _Answer


class _Cassette(_Form):
    test: str
    model: str
    lanes: dict[str, list[_Interaction]]


def check(content: Any) -> None:
    """Hold the content of a cassette's file against the form.

    Raises:
        ValueError: It is of another form; the message says where.
    """
    if is_deeper(content, _DEEPEST):
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
    try:
        cassette = _Cassette.model_validate(content)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}"[:_LONGEST_REASON]) from None
    for name, lane in cassette.lanes.items():
        for number, interaction in enumerate(lane):
            odd = _OF_THE_WIRE & {header.lower() for header in interaction.answer.headers}
            if odd:
                raise ValueError(f"lanes.{name}.{number}.answer.headers: {odd.pop()} is in it")
