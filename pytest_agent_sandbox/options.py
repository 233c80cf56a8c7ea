"""Every setting once: its flag, environment variable, ini key, marker argument, type and default.

A setting called `memory` is `--sandbox-memory` on the command line, `PYTEST_SANDBOX_MEMORY` in the
environment, `sandbox_memory` in the ini file and `memory=` in `@pytest.mark.agent_sandbox`. One
called `llm_record` is `--llm-record`, `PYTEST_LLM_RECORD`, `llm_record` and `llm_record=`, and so
is `agent_trials`. The marker wins over the flag, the flag over the environment, that over the ini
file.

Standard library and pytest only: this module is imported by every pytest run of every project
that has the plugin installed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, dataclass_transform

import pytest

from pytest_agent_sandbox import option_types as types

_Class = TypeVar("_Class")

MARKER = "agent_sandbox"
TRIALS_MARKER = "agent_trials"
#: What trials are parametrized by.
TRIAL_FIXTURE = "agent_trial"

#: Settings of the run as a whole, which a single test cannot change.
RUN_WIDE = frozenset(
    {
        "agent_trials",
        "artifacts",
        "engine",
        "keep",
        "live",
        "llm_prices",
        "max_reuses",
        "no_engine",
        "output",
        "pause_on_failure",
        "pool_size",
        "python",
        "url",
    }
)

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
    """

    __slots__ = ("default", "help", "metavar", "name", "parse")

    def __init__(
        self, parse: Callable[[str], Any], metavar: str, help_text: str, default: Any
    ) -> None:
        self.parse = parse
        self.metavar = metavar
        self.help = help_text
        self.default = default
        self.name = ""

    def __set_name__(self, owner: object, name: str) -> None:
        self.name = name


def _setting(
    parse: Callable[[str], Any], metavar: str, help_text: str, *, default: Any
) -> Any:  # dataclasses.field is typed like this too
    return Setting(parse, metavar, help_text, default)


@dataclass_transform(kw_only_default=True, field_specifiers=(_setting,))
def _made_on_first_use(cls: type[_Class]) -> type[_Class]:
    """Has a class become a dataclass when its first instance is made.

    To make one of so many fields takes 1 ms, and most runs of pytest have no use for it.
    """

    def initialise(self: _Class, **values: Any) -> None:
        for setting in SETTINGS:
            setattr(cls, setting.name, field(default=setting.default))
        del cls.__init__
        dataclass(kw_only=True, eq=False, repr=False)(cls)
        cls.__init__(self, **values)

    cls.__init__ = initialise  # type: ignore[method-assign, assignment]
    return cls


@_made_on_first_use
class SandboxSettings:
    """The resolved settings of a test; the fixture `sandbox_settings` returns those of the run.

    Override that fixture in a `conftest.py` to change settings in code::

        @pytest.fixture(scope="session")
        def sandbox_settings(sandbox_settings):
            return dataclasses.replace(sandbox_settings, memory="2g")
    """

    url: str | None = _setting(
        types.text,
        "URL",
        "an agent server that is running already, to use instead of containers; its session key "
        "in SANDBOX_API_KEY",
        default=None,
    )
    engine: Literal["docker", "process"] = _setting(
        types.choice("docker", "process"),
        "docker|process",
        "what agent servers run in: containers; or processes of this machine, nothing isolated "
        "(default: docker)",
        default="docker",
    )
    python: str | None = _setting(
        types.text,
        "PATH",
        "Python that has openhands-agent-server, for engine = process (default: that of the tests)",
        default=None,
    )
    image: str | None = _setting(
        types.text,
        "NAME",
        "image of the sandboxes (default: the one that `agent-sandbox build` made here, "
        "else the published image this release was tested with)",
        default=None,
    )
    pull: Literal["missing", "always", "never"] = _setting(
        types.choice("missing", "always", "never"),
        "missing|always|never",
        "when to pull the image (default: missing)",
        default="missing",
    )
    platform: str | None = _setting(
        types.text,
        "OS/ARCH",
        "platform of the image (default: the engine's own)",
        default=None,
    )
    memory: str | None = _setting(
        types.size,
        "SIZE",
        "memory limit, such as 512m or 2g (default: 4g)",
        default=None,
    )
    cpus: float | None = _setting(
        types.positive_number, "N", "CPU limit, such as 1.5", default=None
    )
    pids: int | None = _setting(
        types.positive_integer,
        "N",
        "limit on processes and threads (default: 1024)",
        default=None,
    )
    network: str | None = _setting(
        types.text,
        "open|isolated|none|NAME",
        "what a sandbox can reach: whatever the engine lets it; its LLM and what is allowed; "
        "nothing; or an existing network of the engine to join (default: open; isolated with "
        "security = strict)",
        default=None,
    )
    allow: tuple[str, ...] = _setting(
        types.names,
        "HOST:PORT,…",
        "what an isolated sandbox may connect to, through a proxy; commas between",
        default=(),
    )
    user: str | None = _setting(
        types.text,
        "USER",
        "user of the container (default: the image's)",
        default=None,
    )
    security: Literal["default", "strict", "sudo"] = _setting(
        types.choice("default", "strict", "sudo"),
        "default|strict|sudo",
        "how much a sandbox is trusted: no capabilities, and limits; besides, isolated, read-only "
        "and nobody root; or what sudo needs (default: default)",
        default="default",
    )
    runtime: str | None = _setting(
        types.text,
        "NAME",
        "the engine's runtime to use, such as runsc (default: its own)",
        default=None,
    )
    volumes: tuple[str, ...] = _setting(
        types.names,
        "HOST:DIR[:ro],…",
        "folders of the host to mount, separated by commas",
        default=(),
    )
    files: tuple[str, ...] = _setting(
        types.names,
        "HOST:PATH,…",
        "files and folders of the host to copy into the sandbox before its server starts",
        default=(),
    )
    forward_env: tuple[str, ...] = _setting(
        types.names,
        "NAME,…",
        "environment variables of the host that the sandbox gets too",
        default=(),
    )
    gpu: bool = _setting(
        types.switch,
        "true|false",
        "give the sandbox all GPUs of the engine",
        default=False,
    )
    extra_ports: bool | None = _setting(
        types.switch,
        "true|false",
        "start and publish VS Code and the desktop too (default: where a failed test is kept or "
        "held to be looked at)",
        default=None,
    )
    working_dir: str = _setting(
        types.text,
        "DIR",
        "the workspace's folder (default: /workspace/project)",
        default="/workspace/project",
    )
    isolation: Literal["fresh", "recycled", "shared"] = _setting(
        types.choice("fresh", "recycled", "shared"),
        "fresh|recycled|shared",
        "what a test's sandbox may have been used for before: nothing; other tests, cleaned and "
        "checked after each; other tests, as they left it (default: fresh)",
        default="fresh",
    )
    max_reuses: int = _setting(
        types.positive_integer,
        "N",
        "how often a recycled sandbox is used again before it is thrown away (default: 100)",
        default=100,
    )
    pool_size: int | None = _setting(
        types.count_or_auto,
        "N|auto",
        "how many sandboxes to start ahead of the tests that will use them (default: auto, by the "
        "cores and memory of the engine; with several workers, of each)",
        default=None,
    )
    start_timeout: float = _setting(
        types.positive_number,
        "SECONDS",
        "how long a sandbox may take to start (default: 120)",
        default=120.0,
    )
    run_timeout: float = _setting(
        types.positive_number,
        "SECONDS",
        "how long conversation.run() may take where the test sets no timeout (default: 600)",
        default=600.0,
    )
    gateway_address: str | None = _setting(
        types.text,
        "ADDRESS",
        "address of this machine at which sandboxes reach the LLM gateway "
        "(default: found out from the engine)",
        default=None,
    )
    output: str = _setting(
        types.text,
        "DIR",
        "folder for the evidence of failed tests (default: agent-results)",
        default="agent-results",
    )
    artifacts: Literal["failed", "all", "none"] = _setting(
        types.choice("failed", "all", "none"),
        "failed|all|none",
        "of which tests the evidence is kept (default: failed)",
        default="failed",
    )
    keep: Literal["failed", "all", "none"] = _setting(
        types.choice("failed", "all", "none"),
        "failed|all|none",
        "of which tests the sandboxes stay after the run, to be looked into; `agent-sandbox prune` "
        "ends them (default: none)",
        default="none",
    )
    pause_on_failure: bool = _setting(
        types.switch,
        "true|false",
        "hold each failed test, its sandbox alive, until Enter is pressed",
        default=False,
    )
    video: Literal["failed", "all", "none"] = _setting(
        types.choice("failed", "all", "none"),
        "failed|all|none",
        "of which tests to keep a video of the sandbox's desktop (default: none)",
        default="none",
    )
    live: bool | None = _setting(
        types.switch,
        "true|false",
        "show what agents do as it happens (default: with -v)",
        default=None,
    )
    no_engine: Literal["fail", "skip"] = _setting(
        types.choice("fail", "skip"),
        "fail|skip",
        "what sandbox tests do where no container engine answers (default: fail)",
        default="fail",
    )

    agent_trials: int | None = _setting(
        types.positive_integer,
        "N",
        "run each sandbox test this many times, all of them, to see how often it passes: instead "
        "of the number in its marker agent_trials; without a marker it has to pass each time",
        default=None,
    )

    llm_record: Literal["none", "once", "new_episodes", "all", "live"] | None = _setting(
        types.choice("none", "once", "new_episodes", "all", "live"),
        "none|once|new_episodes|all|live",
        "what becomes of the LLM calls of tests without a script: replayed from the cassette only; "
        "recorded where there is no cassette; what is new recorded; all recorded anew; not "
        "recorded (default: once with LLM_MODEL and LLM_API_KEY, none without and in CI)",
        default=None,
    )
    llm_cassettes: str = _setting(
        types.text,
        "DIR",
        "folder of the cassettes, beside the test's file (default: cassettes)",
        default="cassettes",
    )
    llm_match: Literal["strict", "lenient"] | None = _setting(
        types.choice("strict", "lenient"),
        "strict|lenient",
        "whether a recording fits where only what a tool printed is different "
        "(default: strict in CI, lenient elsewhere)",
        default=None,
    )
    llm_unused: Literal["fail", "warn"] = _setting(
        types.choice("fail", "warn"),
        "fail|warn",
        "what happens to a test that leaves recorded answers unused (default: fail)",
        default="fail",
    )
    llm_volatile: tuple[str, ...] = _setting(
        types.patterns,
        "REGEX",
        "what differs in every run and is to be ignored in requests; in the ini file one a line",
        default=(),
    )
    llm_volatile_fields: tuple[str, ...] = _setting(
        types.field_names,
        "NAMES",
        "fields of requests that differ in every run and are to be ignored, such as create_time or "
        "message.create_time; separated by commas or lines",
        default=(),
    )
    llm_max_cost: float | None = _setting(
        types.positive_number,
        "USD",
        "what calls of live LLMs may cost in this run; by marker, what all calls of a test may",
        default=None,
    )
    llm_max_tokens: int | None = _setting(
        types.positive_integer,
        "N",
        "the same in tokens, of requests and answers together",
        default=None,
    )
    llm_max_calls: int | None = _setting(
        types.positive_integer, "N", "the same in calls", default=None
    )
    llm_prices: str | None = _setting(
        types.text,
        "FILE",
        'prices in USD for a million tokens, as JSON: {"MODEL": {"input": 1, "output": 2}}',
        default=None,
    )
    llm_provider_tools: bool = _setting(
        types.switch,
        "true|false",
        "let agents use tools that the LLM's provider runs, such as web search (default: false)",
        default=False,
    )

    def with_overrides(self, overrides: Mapping[str, Any], *, source: str) -> SandboxSettings:
        """These settings with some values replaced.

        Args:
            overrides: Setting names and values: typed ones, or text as on the command line.
            source: Where the overrides come from, for the error message.

        Raises:
            SettingsError: A name is unknown or a value cannot be used.
        """
        from pytest_agent_sandbox.errors import SettingsError

        known = {setting.name: setting for setting in SETTINGS}
        run_wide = sorted(RUN_WIDE & set(overrides))
        if run_wide:
            raise SettingsError(
                f"{source}: {run_wide[0]!r} can only be set for the whole run, by "
                f"{flag(known[run_wide[0]])}, the environment or the ini file"
            )
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            raise SettingsError(
                f"{source}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}"
            )
        return replace(
            self,
            **{
                name: _checked(known[name], value, f"{source} {name}={value!r}")
                for name, value in overrides.items()
            },
        )


#: All of them, in the order of their declaration.
SETTINGS = tuple(value for value in vars(SandboxSettings).values() if isinstance(value, Setting))
_TRIALS = next(setting for setting in SETTINGS if setting.name == "agent_trials")


def _checked(setting: Setting, value: Any, where: str) -> Any:
    """The value as the setting's type; text, numbers and lists all take the text's way in."""
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
    """Its key in the ini file; pytest keeps the flag's value under it too."""
    if setting.name.startswith(_OWN_PREFIXES):
        return setting.name
    return f"sandbox_{setting.name}"


def flag(setting: Setting) -> str:
    """Its flag on the command line."""
    return "--" + ini_key(setting).replace("_", "-")


def _argument_type(setting: Setting) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return setting.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None

    return parse


def add_options(parser: pytest.Parser) -> None:
    """Declares each setting as a command-line option and an ini key."""
    group = parser.getgroup("agent-sandbox", "AI agents in real sandboxes")
    for setting in SETTINGS:
        help_text = setting.help
        value: dict[str, Any] = (
            {"action": argparse.BooleanOptionalAction}  # --sandbox-gpu, --no-sandbox-gpu
            if setting.parse is types.switch
            else {"type": _argument_type(setting), "metavar": setting.metavar}
        )
        group.addoption(flag(setting), dest=ini_key(setting), default=None, help=help_text, **value)
        parser.addini(ini_key(setting), help_text, type="string", default=None)


def resolve(config: pytest.Config, environment: Mapping[str, str] | None = None) -> SandboxSettings:
    """The settings of this run, from flags, environment and ini file.

    Raises:
        SettingsError: A value cannot be used; the message names where it stands.
    """
    environment = os.environ if environment is None else environment
    settings = SandboxSettings()
    for setting in SETTINGS:
        given = _given(setting, config, environment)
        if given is not None:
            settings = replace(settings, **{setting.name: given[0]})
    return settings


def trials(config: pytest.Config) -> int | None:
    """How often each test is to be run, where the run says so.

    Raises:
        pytest.UsageError: The value cannot be used.
    """
    given = _said(_TRIALS, config, os.environ)
    if given is None or given[1] is None:
        return None if given is None else given[0]
    try:  # without our own errors, which most runs have no use for
        return int(_TRIALS.parse(given[0]))
    except ValueError as error:
        raise pytest.UsageError(f"{given[1]}: {error}") from None


def _given(
    setting: Setting, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[Any] | None:
    """The value that flag, environment or ini file give a setting; None where none does."""
    said = _said(setting, config, environment)
    if said is None:
        return None
    value, where = said
    return (value if where is None else _checked(setting, value, where),)


def _said(
    setting: Setting, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[Any, str | None] | None:
    """A flag's value, and None; or the text in environment or ini file, and where it stands."""
    key = ini_key(setting)
    given = config.getoption(key)
    if given is not None:
        return given, None
    variable = f"PYTEST_{key.upper()}"
    text = environment.get(variable, "")
    if text != "":
        return text, f"{variable}={text}"
    if config.getini(key):
        text = str(config.getini(key))
        return text, f"{key} = {text} in {config.inipath}"
    return None


def for_test(settings: SandboxSettings, markers: Iterable[pytest.Mark]) -> SandboxSettings:
    """The settings of one test: those of the run, changed by its `agent_sandbox` markers.

    Args:
        settings: The settings of the run.
        markers: The test's markers, the closest first, as `Node.iter_markers` gives them.

    Raises:
        SettingsError: A marker has a positional argument, an unknown name or a wrong value.
    """
    for marker in reversed(list(markers)):
        if marker.args:
            from pytest_agent_sandbox.errors import SettingsError

            raise SettingsError(
                f"@pytest.mark.{MARKER} takes keyword arguments only, such as memory='2g'"
            )
        settings = settings.with_overrides(marker.kwargs, source=f"@pytest.mark.{MARKER}")
    return settings
