"""What a setting is, and how it is called on the command line and in the ini file.

Standard library only: see `table`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class")

#: Names that begin like this stand for themselves; before others, `sandbox_` says whose they are.
_OWN_PREFIXES = ("agent_", "llm_")


class Setting:
    """What there is to know of one setting.

    Attributes:
        name: Its name.
        parse: Turns text into a value; raises `ValueError` with what is wrong.
        metavar: Its values, for people.
        help: What it does, for people.
        default: Its value where nobody sets it.
        run_wide: Whether it is of the run as a whole, so that a single test cannot change it.
    """

    __slots__ = ("default", "help", "metavar", "name", "parse", "run_wide")

    def __init__(
        self,
        parse: Callable[[str], Any],
        metavar: str,
        help_text: str,
        default: Any,
        run_wide: bool,
    ) -> None:
        self.parse = parse
        self.metavar = metavar
        self.help = help_text
        self.default = default
        self.run_wide = run_wide
        self.name = ""

    def __set_name__(self, owner: object, name: str) -> None:
        self.name = name


def setting(
    parse: Callable[[str], Any],
    metavar: str,
    help_text: str,
    *,
    default: Any,
    run_wide: bool = False,
) -> Any:  # dataclasses.field is typed like this too
    """Declare a setting; the arguments are the attributes of `Setting`."""
    return Setting(parse, metavar, help_text, default, run_wide)


class Values:
    """Makes an object of a settings class: of keyword arguments, and defaults for the others."""

    def __init__(self, **values: Any) -> None:
        for name, declared in vars(type(self)).items():
            if isinstance(declared, Setting):
                setattr(self, name, values.pop(name, declared.default))
        if values:
            raise TypeError(f"{type(self).__name__} has no setting {next(iter(values))!r}")


@dataclass_transform(kw_only_default=True, field_specifiers=(setting,))
def settings_class(cls: type[_Class]) -> type[_Class]:
    """Make a class with declared settings a dataclass, as for `dataclasses.replace`.

    It gets no method of its own, which would take five times as long: most runs of pytest have no
    use for the class.
    """
    return dataclass(init=False, eq=False, repr=False)(cls)


def checked(setting: Setting, value: Any, where: str) -> Any:
    """Return the value as the setting's kind; text, numbers and lists take the text's way in.

    Raises:
        SettingsError: It cannot be used; `where` begins the message.
    """
    if value is None and setting.default is None:
        return None
    parts = value if isinstance(value, list | tuple) else [value]
    text = "\n".join(str(part) for part in parts)
    try:
        return setting.parse(text)
    except ValueError as error:
        from pytest_agent_sandbox.errors import SettingsError

        raise SettingsError(f"{where}: {error}") from None


def ini_key(setting: Setting) -> str:
    """Return its key in the ini file; pytest keeps the flag's value under it too."""
    if setting.name.startswith(_OWN_PREFIXES):
        return setting.name
    return f"sandbox_{setting.name}"


def flag(setting: Setting) -> str:
    """Return its flag on the command line."""
    return "--" + ini_key(setting).replace("_", "-")
