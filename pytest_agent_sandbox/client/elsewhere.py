"""Attributes that upstream has and this package has not: they say what to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

_Class = TypeVar("_Class", bound=type)


class _Elsewhere:
    def __init__(self, here: str) -> None:
        self._here = here
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no {self._name}: {self._here}")


def elsewhere(names: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Have a class say what to use in place of attributes that it has not.

    Type checkers see no such attribute, and `hasattr` is false.

    Args:
        names: What to use, by the name of the attribute.
    """

    def decorate(cls: _Class) -> _Class:
        for name, here in names.items():
            attribute = _Elsewhere(here)
            attribute.__set_name__(cls, name)
            setattr(cls, name, attribute)
        return cls

    return decorate
