"""What `agent-sandbox doctor` finds out, and how it tells."""

from __future__ import annotations

import platform as machine
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version

from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.llm.models import check_model

#: How programs are told of the states of findings.
_STATES = {"ok": "ok", "--": "optional", "WARN": "warning", "FAIL": "failed"}

LLM_VARIABLES = ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL")


@dataclass(frozen=True)
class Finding:
    """What the doctor found out about one thing.

    Attributes:
        subject: What was looked at.
        state: `ok`, `--` for something optional that is not there, `WARN`, or `FAIL`.
        text: What was found.
        advice: What to do about it.
    """

    subject: str
    state: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        indent = " " * 18
        lines = [*self.text.splitlines(), *self.advice.splitlines()]
        return f"{self.state:<5}{self.subject:<13}" + f"\n{indent}".join(lines)


def tell(findings: Generator[Finding, None, None], *, as_json: bool) -> int:
    """Print findings as they come.

    Args:
        findings: What is found; closed in any case.
        as_json: Print them for programs, all at once.

    Returns:
        The exit code: 1 where something needed is missing.
    """
    with closing(findings):
        return _as_json(list(findings)) if as_json else _as_text(findings)


def failure(subject: str, error: SandboxError, advice: str = "") -> Finding:
    """Return what is found where something was raised."""
    notes = getattr(error, "__notes__", ())
    return Finding(subject, "FAIL", str(error), "\n".join([*notes, *([advice] if advice else [])]))


def _as_text(findings: Iterable[Finding]) -> int:
    failed = False
    print(
        f"agent-sandbox {version('pytest-agent-sandbox')}, Python {machine.python_version()}, "
        f"{machine.system()} {machine.machine()}"
    )
    for finding in findings:
        print(finding, flush=True)
        failed = failed or finding.state == "FAIL"
    print("Something is missing: see above." if failed else "All that tests need is here.")
    return 1 if failed else 0


def _as_json(findings: Sequence[Finding]) -> int:
    failed = any(finding.state == "FAIL" for finding in findings)
    print_json(
        {
            "version": version("pytest-agent-sandbox"),
            "python": machine.python_version(),
            "system": f"{machine.system()} {machine.machine()}",
            "ready": not failed,
            "findings": [
                {**asdict(finding), "state": _STATES[finding.state]} for finding in findings
            ],
        }
    )
    return 1 if failed else 0


def live_llm(environment: Mapping[str, str]) -> Finding:
    """Look at what is set of the live LLM."""
    # Names only, but for that of the model: a value may be a secret.
    there = [name for name in LLM_VARIABLES if environment.get(name)]
    lacking = [name for name in LLM_VARIABLES[:2] if name not in there]
    if model := environment.get("LLM_MODEL"):
        try:
            check_model(model)
        except SettingsError as error:
            return Finding("live LLM", "FAIL", str(error))
    if not lacking:
        return Finding("live LLM", "ok", f"{', '.join(there)} set")
    return Finding(
        "live LLM",
        "--",
        f"{', '.join(lacking)} not set",
        "Tests with a script or a cassette run; others are skipped, and fail in CI.",
    )
