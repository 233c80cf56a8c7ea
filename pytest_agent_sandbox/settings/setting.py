"""What a setting is, and how it is called on the command line and in the ini file.

Standard library only: see `table`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, make_dataclass, replace
from typing import Any, Literal, Self, TypeVar, dataclass_transform

_Class = TypeVar("_Class")

#: What becomes of a setting with engines that know nothing of it: it works without them; it is
#: `refused`, for tests would rely on it in vain; it is `ignored`, for it only makes containers what
#: they are.
Elsewhere = Literal["works", "refused", "ignored"]

#: Names that begin like this stand for themselves; before others, `sandbox_` says whose they are.
_OWN_PREFIXES = ("agent_", "llm_")

#: Whom an address says that one is, and the password.
_USERINFO = r"//[^/@\s'\"]+@"


class Setting:
    """What there is to know of one setting.

    Attributes:
        name: Its name.
        parse: Turns text into a value; raises `ValueError` with what is wrong.
        metavar: Its values, for people.
        help: What it does, for people.
        default: Its value where nobody sets it.
        run_wide: Whether it is of the run as a whole, so that a single test cannot change it.
        elsewhere: What becomes of it with engines that know nothing of it: see `Elsewhere`.
    """

    __slots__ = ("default", "elsewhere", "help", "metavar", "name", "parse", "run_wide")

    def __init__(
        self,
        parse: Callable[[str], Any],
        metavar: str,
        help_text: str,
        default: Any,
        run_wide: bool,
        elsewhere: Elsewhere,
    ) -> None:
        self.parse = parse
        self.metavar = metavar
        self.help = help_text
        self.default = default
        self.run_wide = run_wide
        self.elsewhere = elsewhere
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
    elsewhere: Elsewhere = "works",
) -> Any:  # dataclasses.field is typed like this too
    """Declare a setting; the arguments are the attributes of `Setting`."""
    return Setting(parse, metavar, help_text, default, run_wide, elsewhere)


class _Fields:
    """The fields of a settings class as `dataclasses` knows them, made on first use.

    To make so many takes 0.2 ms, and most runs of pytest have no use for them.
    """

    def __init__(self) -> None:
        self._made: dict[type[Values], dict[str, Field[Any]]] = {}

    def __get__(self, instance: Values | None, owner: type[Values]) -> dict[str, Field[Any]]:
        if owner not in self._made:
            declared = [(one.name, Any, one.default) for one in owner.declared().values()]
            made = make_dataclass(owner.__name__, declared, init=False, eq=False, repr=False)
            self._made[owner] = {field.name: field for field in fields(made)}
        return self._made[owner]


class Values:
    """Makes an object of a settings class: of keyword arguments, and defaults for the others."""

    __dataclass_fields__ = _Fields()

    def __init__(self, **values: Any) -> None:
        for name, declared in self.declared().items():
            setattr(self, name, values.pop(name, declared.default))
        if values:
            from pytest_agent_sandbox.settings.suggest import did_you_mean

            name = next(iter(values))
            hint = did_you_mean(name, self.declared())
            raise TypeError(f"{type(self).__name__} has no setting {name!r}. {hint}".rstrip(". "))

    def __repr__(self) -> str:
        given = {
            name: value
            for name, declared in self.declared().items()
            if (value := getattr(self, name)) != declared.default
        }
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"{type(self).__name__}({re.sub(_USERINFO, '//***@', shown)})"

    @classmethod
    def declared(cls) -> dict[str, Setting]:
        """Return the settings by their names, in the order of their declaration."""
        return {
            name: value
            for kind in reversed(cls.__mro__)
            for name, value in vars(kind).items()
            if isinstance(value, Setting)
        }

    def with_overrides(self, overrides: Mapping[str, Any], *, source: str) -> Self:
        """Return these settings with some values replaced.

        Args:
            overrides: Setting names and values: typed ones, or text as on the command line.
            source: Where the overrides come from, for the error message.

        Raises:
            SettingsError: A name is unknown or a value cannot be used.
        """
        from pytest_agent_sandbox.errors import SettingsError

        known = self.declared()
        run_wide = sorted(name for name in overrides if name in known and known[name].run_wide)
        if run_wide:
            raise SettingsError(
                f"{source}: {run_wide[0]!r} can only be set for the whole run, by "
                f"{flag(known[run_wide[0]])}, the environment or the ini file"
            )
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            from pytest_agent_sandbox.settings.suggest import did_you_mean

            hint = did_you_mean(unknown[0], known) or f"Known are {', '.join(sorted(known))}."
            raise SettingsError(f"{source}: unknown setting {unknown[0]!r}. {hint}")
        return replace(
            self,  # type: ignore[type-var]  # its subclass is a dataclass
            **{
                name: checked(known[name], value, f"{source} {name}={value!r}")
                for name, value in overrides.items()
            },
        )


@dataclass_transform(kw_only_default=True, field_specifiers=(setting,))
def settings_class(cls: type[_Class]) -> type[_Class]:
    """Say to type checkers that a class with declared settings is a dataclass."""
    return cls


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
