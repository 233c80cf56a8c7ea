"""What somebody meant who misspelled a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

#: How much alike two words are, from 0 to 1, of which one is taken for the other.
_ALIKE = 0.75
_NEARLY_THE_SAME = 0.9
_BEGINNINGS = ("--no-sandbox-", "--sandbox-", "sandbox_", "--no-llm-", "--llm-", "llm_")
#: How many letters one may have more than the other: `image_tag` is no misspelled `image`.
_LONGER = 2


def meant(word: str, known: Iterable[str]) -> str:
    """Return the known word that was meant; empty where none is like it.

    What many of them begin with, such as `--sandbox-`, makes none of them likely.
    """
    from difflib import get_close_matches  # few runs have a use for it

    known = [one for one in known if abs(len(one) - len(word)) <= _LONGER]
    shared = next((one for one in _BEGINNINGS if word.startswith(one)), "")
    rest = word.removeprefix(shared)
    possible = [one.removeprefix(shared) for one in known if one.startswith(shared)]
    found = get_close_matches(rest, possible, n=1, cutoff=_ALIKE)
    if found:
        return shared + found[0]
    # It is the beginning that is misspelled.
    return next(iter(get_close_matches(word, known, n=1, cutoff=_NEARLY_THE_SAME)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question with the known word that was meant; empty where none is like it."""
    found = meant(word, known)
    return f"Did you mean {found!r}?" if found else ""


def suggests(
    others: Mapping[str, str],
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Have a function say what an argument is called that it does not know.

    Args:
        others: What else arguments are called, with the names that they have here.
    """

    def decorate(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        known = set(function.__code__.co_varnames[: _argument_count(function)])

        @wraps(function)
        def checked(*args: _Parameters.args, **named: _Parameters.kwargs) -> _Result:
            for name in named.keys() - known:
                name_here = others.get(name) or meant(name, known)
                hint = f". Did you mean {name_here!r}?" if name_here else ""
                kind = function.__qualname__.removesuffix(".__init__")
                raise TypeError(f"{kind}() got an unexpected keyword argument {name!r}{hint}")
            return function(*args, **named)

        return checked

    return decorate


def _argument_count(function: Callable[..., Any]) -> int:
    code = function.__code__
    return code.co_argcount + code.co_kwonlyargcount
