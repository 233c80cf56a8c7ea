"""Every setting once: its kind of value, what it does, and its default.

A setting called `memory` is `--sandbox-memory` on the command line, `PYTEST_SANDBOX_MEMORY` in the
environment, `sandbox_memory` in the ini file and `memory=` in `@pytest.mark.agent_sandbox`. One
called `llm_record` is `--llm-record`, `PYTEST_LLM_RECORD`, `llm_record` and `llm_record=`, and so
is `agent_trials`. The marker wins over the flag, the flag over the environment, that over the ini
file.

Standard library only: every run of pytest imports this module, in every project that has the
plugin installed.
"""

from __future__ import annotations

from typing import Literal

from pytest_agent_sandbox.settings import kinds
from pytest_agent_sandbox.settings.engines import EngineSettings
from pytest_agent_sandbox.settings.setting import setting, settings_class


@settings_class
class SandboxSettings(EngineSettings):
    """The resolved settings of a test; the fixture `sandbox_settings` returns those of the run.

    Override that fixture in a `conftest.py` to change settings in code::

        @pytest.fixture(scope="session")
        def sandbox_settings(sandbox_settings):
            return dataclasses.replace(sandbox_settings, memory="2g")
    """

    image: str | None = setting(
        kinds.text,
        "NAME",
        "image of the sandboxes (default: the one built here by `agent-sandbox build`, else "
        "the published image this release was tested with)",
        default=None,
        elsewhere="ignored",
    )
    pull: Literal["missing", "always", "never"] = setting(
        kinds.choice("missing", "always", "never"),
        "missing|always|never",
        "when to pull the image (default: missing)",
        default="missing",
        elsewhere="ignored",
    )
    platform: str | None = setting(
        kinds.text,
        "OS/ARCH",
        "platform of the image (default: the engine's own)",
        default=None,
        elsewhere="ignored",
    )
    memory: str | None = setting(
        kinds.size,
        "SIZE",
        "memory limit, such as 512m or 2g (default: 4g)",
        default=None,
        elsewhere="ignored",
    )
    cpus: float | None = setting(
        kinds.positive_number, "N", "CPU limit, such as 1.5", default=None, elsewhere="ignored"
    )
    pids: int | None = setting(
        kinds.positive_integer,
        "N",
        "limit on processes and threads (default: 1024)",
        default=None,
        elsewhere="ignored",
    )
    shm_size: str | None = setting(
        kinds.size,
        "SIZE",
        "size of /dev/shm, such as 512m (default: the engine's, which is 64m)",
        default=None,
        elsewhere="ignored",
    )
    tmpfs: tuple[str, ...] = setting(
        kinds.names,
        "DIR[:SIZE],…",
        "folders to mount in memory, empty at the start, such as /scratch:512m; comma-separated",
        default=(),
        elsewhere="refused",
    )
    network: str | None = setting(
        kinds.text,
        "open|isolated|none|NAME",
        "what a sandbox can reach: everything the engine's network does; its LLM and what "
        "`allow` names; nothing; or a named network of the engine (default: open; isolated "
        "with security = strict)",
        default=None,
        elsewhere="refused",
    )
    allow: tuple[str, ...] = setting(
        kinds.names,
        "HOST:PORT,…",
        "hosts that an isolated sandbox may connect to, over TCP; comma-separated",
        default=(),
        elsewhere="refused",
    )
    user: str | None = setting(
        kinds.text,
        "USER",
        "user of the container (default: the image's)",
        default=None,
        elsewhere="refused",
    )
    security: Literal["default", "strict", "sudo"] = setting(
        kinds.choice("default", "strict", "sudo"),
        "default|strict|sudo",
        "privileges of a sandbox: no capabilities, and limits; the same, isolated, read-only "
        "and never root; or what sudo needs (default: default)",
        default="default",
        elsewhere="refused",
    )
    runtime: str | None = setting(
        kinds.text,
        "NAME",
        "runtime of the engine, such as runsc (default: its own)",
        default=None,
        elsewhere="refused",
    )
    volumes: tuple[str, ...] = setting(
        kinds.names,
        "HOST:DIR[:ro],…",
        "folders of the host to mount, comma-separated",
        default=(),
        elsewhere="refused",
    )
    files: tuple[str, ...] = setting(
        kinds.names,
        "HOST:PATH,…",
        "files and folders of the host to copy into the sandbox before its server starts, "
        "comma-separated",
        default=(),
        elsewhere="refused",
    )
    forward_env: tuple[str, ...] = setting(
        kinds.names,
        "NAME,…",
        "environment variables of the host to set in the sandbox, comma-separated",
        default=(),
        elsewhere="refused",
    )
    secret_key_env: str | None = setting(
        kinds.text,
        "NAME",
        "environment variable of the host with the key that encrypts the server's secrets, so "
        "that another sandbox can read a conversation kept on a volume (default: a new key "
        "for each sandbox)",
        default=None,
        elsewhere="refused",
    )
    quiet_boot: bool = setting(
        kinds.switch,
        "true|false",
        "turn garbage collection off while the server loads its modules, which saves a "
        "seventh of its start (default: true)",
        default=True,
        elsewhere="ignored",
    )
    gpu: bool = setting(
        kinds.switch,
        "true|false",
        "give the sandbox all GPUs of the engine",
        default=False,
        elsewhere="refused",
    )
    extra_ports: bool | None = setting(
        kinds.switch,
        "true|false",
        "start and publish VS Code and the desktop (default: only where a failed test is kept "
        "or held)",
        default=None,
        elsewhere="refused",
    )
    working_dir: str = setting(
        kinds.text,
        "DIR",
        "the workspace's folder (default: /workspace/project)",
        default="/workspace/project",
    )
    isolation: Literal["fresh", "recycled", "shared"] = setting(
        kinds.choice("fresh", "recycled", "shared"),
        "fresh|recycled|shared",
        "how sandboxes are reused: never; reset and verified between tests; not reset "
        "(default: fresh)",
        default="fresh",
        elsewhere="ignored",
    )
    max_reuses: int = setting(
        kinds.positive_integer,
        "N",
        "uses of a recycled sandbox before it is replaced (default: 100)",
        default=100,
        run_wide=True,
        elsewhere="ignored",
    )
    pool_size: int | None = setting(
        kinds.count_or_auto,
        "N|auto",
        "sandboxes to start ahead of the tests that use them, for each worker (default: auto, "
        "by the cores and memory of the engine)",
        default=None,
        run_wide=True,
        elsewhere="ignored",
    )
    start_timeout: float = setting(
        kinds.positive_number,
        "SECONDS",
        "time for a sandbox to start (default: 120)",
        default=120.0,
    )
    run_timeout: float = setting(
        kinds.positive_number,
        "SECONDS",
        "time for conversation.run() where the test sets no timeout (default: 600)",
        default=600.0,
    )
    gateway_address: str | None = setting(
        kinds.text,
        "ADDRESS",
        "address of this machine at which sandboxes reach the LLM gateway (default: detected "
        "from the engine)",
        default=None,
    )
    output: str = setting(
        kinds.text,
        "DIR",
        "folder for the evidence of failed tests (default: agent-results)",
        default="agent-results",
        run_wide=True,
    )
    artifacts: Literal["failed", "all", "none"] = setting(
        kinds.choice("failed", "all", "none"),
        "failed|all|none",
        "tests to keep the evidence of (default: failed)",
        default="failed",
        run_wide=True,
    )
    keep: Literal["failed", "all", "none"] = setting(
        kinds.choice("failed", "all", "none"),
        "failed|all|none",
        "tests to keep the sandboxes of after the run, for a look inside; `agent-sandbox "
        "prune` removes them (default: none)",
        default="none",
        run_wide=True,
        elsewhere="refused",
    )
    pause_on_failure: bool = setting(
        kinds.switch,
        "true|false",
        "hold each failed test, with its sandbox running, until Enter is pressed",
        default=False,
        run_wide=True,
    )
    video: Literal["failed", "all", "none"] = setting(
        kinds.choice("failed", "all", "none"),
        "failed|all|none",
        "tests to keep a video of the sandbox's desktop of (default: none)",
        default="none",
        elsewhere="refused",
    )
    live: bool | None = setting(
        kinds.switch,
        "true|false",
        "show what agents do as it happens (default: with -v)",
        default=None,
        run_wide=True,
    )
    no_engine: Literal["fail", "skip"] = setting(
        kinds.choice("fail", "skip"),
        "fail|skip",
        "what to do with sandbox tests when no container engine answers (default: fail)",
        default="fail",
        run_wide=True,
    )

    agent_trials: int | None = setting(
        kinds.positive_integer,
        "N",
        "run each sandbox test this many times and report how often it passes; replaces the "
        "number in its marker agent_trials; without a marker every trial must pass",
        default=None,
        run_wide=True,
    )

    llm_record: Literal["none", "once", "new_episodes", "all", "live"] | None = setting(
        kinds.choice("none", "once", "new_episodes", "all", "live"),
        "none|once|new_episodes|all|live",
        "how to answer LLM calls of tests without a script: replay only; record where there "
        "is no cassette; record new calls; record all again; call the model and record "
        "nothing (default: once with LLM_MODEL and LLM_API_KEY, else none; none in CI)",
        default=None,
    )
    llm_cassettes: str = setting(
        kinds.text,
        "DIR",
        "folder of the cassettes, beside the test's file (default: cassettes)",
        default="cassettes",
    )
    llm_match: Literal["strict", "lenient"] | None = setting(
        kinds.choice("strict", "lenient"),
        "strict|lenient",
        "whether a recording matches when only a tool's output differs (default: strict in "
        "CI, else lenient)",
        default=None,
    )
    llm_unused: Literal["fail", "warn"] = setting(
        kinds.choice("fail", "warn"),
        "fail|warn",
        "what to do with a test that leaves recorded answers unused (default: fail)",
        default="fail",
    )
    llm_volatile: tuple[str, ...] = setting(
        kinds.patterns,
        "REGEX",
        "regular expressions for text to ignore in requests because it differs in every run; "
        "one a line in the ini file",
        default=(),
    )
    llm_volatile_fields: tuple[str, ...] = setting(
        kinds.field_names,
        "NAMES",
        "fields of requests to ignore because they differ in every run, such as create_time "
        "or message.create_time; separated by commas or lines",
        default=(),
    )
    llm_max_cost: float | None = setting(
        kinds.positive_number,
        "USD",
        "limit on the cost of calls to real models in this run; in a marker, of all calls of "
        "the test",
        default=None,
    )
    llm_max_tokens: int | None = setting(
        kinds.positive_integer,
        "N",
        "the same limit in tokens, of requests and answers together",
        default=None,
    )
    llm_max_calls: int | None = setting(
        kinds.positive_integer, "N", "the same limit in calls", default=None
    )
    llm_prices: str | None = setting(
        kinds.text,
        "FILE",
        'prices in USD for a million tokens, as JSON: {"MODEL": {"input": 1, "output": 2}}',
        default=None,
        run_wide=True,
    )
    llm_provider_tools: bool = setting(
        kinds.switch,
        "true|false",
        "let agents use tools that the LLM's provider runs, such as web search (default: false)",
        default=False,
    )
    llm_allow_paths: tuple[str, ...] = setting(
        kinds.path_names,
        "PATHS",
        "further paths below /v1 that agents may use at the LLM's provider, such as files; "
        "requests there are not checked for tools of the provider; comma-separated",
        default=(),
    )


#: All of them, in the order of their declaration.
SETTINGS = tuple(SandboxSettings.declared().values())
