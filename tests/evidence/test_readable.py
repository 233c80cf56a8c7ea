"""Texts of Python, without the addresses of objects."""

from pytest_agent_sandbox.evidence.readable import dollars, without_addresses, without_objects
from pytest_agent_sandbox.evidence.verdict import judge

LLM = "<pytest_agent_sandbox.plugin.agent_llm.AgentLLM object at 0x7fb0141526d0>"


def test_an_amount_of_nothing_is_none():
    assert [dollars(0.0), dollars(0.25), dollars(12)] == ["no cost", "$0.2500", "$12.0000"]


def test_an_object_is_its_class():
    assert without_addresses(f"assert {LLM} is None") == "assert <AgentLLM> is None"
    assert without_addresses("<x.f.<locals>.Own object at 0xAB12>") == "<Own>"
    assert without_addresses("<a 0x12 of ours> <p>") == "<a 0x12 of ours> <p>"


def test_a_headline_has_no_addresses():
    failed = {"outcome": "failed", "error": f"AssertionError: {LLM}", "fault": "assertion"}
    assert judge({"call": failed}).headline == "AssertionError: <AgentLLM>"


def test_arguments_that_are_mere_objects_are_left_out():
    code = "    def test_x(agent_llm):\n>       assert agent_llm is None\n"
    report = f"agent_llm = {LLM}\nworkspace = {LLM}\n\n{code}E       assert {LLM} is None"
    assert without_objects(report) == f"{code}E       assert <AgentLLM> is None"
    number = "number = 5\n\n    def test_x(number):"
    assert without_objects(number) == number
    coloured = f"\x1b[37magent_llm\x1b[39;49;00m = {LLM}\x1b[90m\x1b[39;49;00m\n\x1b[0m\n{code}"
    assert without_objects(coloured) == code
