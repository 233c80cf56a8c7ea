"""The sandbox with VS Code, desktop and browser, looked at with a real browser as a person does."""

import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from pytest_agent_sandbox import LLM, DockerWorkspace, RemoteConversation, default_agent, say, tool
from pytest_agent_sandbox.engines.docker.access import ways_in
from pytest_agent_sandbox.errors import ServiceUnavailable
from pytest_agent_sandbox.llm.script import Script
from tests.support import ports

#: The colour of the page that the agent visits: nothing else on the desktop has it.
COLOUR = (18, 52, 255)
PAGE = b"""<title>Blue</title><body style="background: rgb(18, 52, 255)">
<h1>The magic word is xylophone</h1></body>"""


@pytest.fixture(scope="module")
def sandbox(engine, full_image):
    with DockerWorkspace(server_image=full_image, engine=engine, extra_ports=True) as workspace:
        yield workspace


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.set_viewport_size({"width": 1280, "height": 800})
    yield page
    page.close()


@pytest.fixture
def site(sandbox):
    """A web server of this test, on this machine; its address as the sandbox sees it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_):
            pass

    route = sandbox.gateway.route
    with ThreadingHTTPServer((route.bind_address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{route.container_host_name}:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def has_colour(page):
    """Whether the desktop that noVNC shows is mostly of the page's colour."""
    return page.evaluate(
        """([red, green, blue]) => {
            const canvas = document.querySelector("#noVNC_container canvas");
            if (!canvas || !canvas.width) return false;
            const data = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height).data;
            let same = 0;
            for (let i = 0; i < data.length; i += 4)
                same += Math.abs(data[i] - red) + Math.abs(data[i + 1] - green)
                    + Math.abs(data[i + 2] - blue) < 12;
            return same > data.length / 4 / 3;
        }""",
        list(COLOUR),
    )


def greeting(address):
    with connect(address, proxy=None, open_timeout=5) as socket:
        return socket.recv(timeout=5)


def test_all_services_run_and_are_published_on_this_machine_only(sandbox, engine, caplog):
    caplog.set_level(logging.DEBUG)
    assert {name: service.state for name, service in sandbox.services().items()} == {
        "server": "running",
        "vscode": "running",
        "desktop": "running",
    }
    sandbox.vscode_url()
    sandbox.vnc_url()
    ways_in(engine, sandbox.container.name)
    assert sandbox.session_key.get_secret_value() not in caplog.text
    found = engine.client.api.inspect_container(sandbox.container.id)
    published = [one for some in found["NetworkSettings"]["Ports"].values() for one in some or ()]
    assert {one["HostIp"] for one in published} == {"127.0.0.1"}
    assert {int(one["HostPort"]) for one in published} == {
        sandbox.host_port,
        sandbox.vscode_port,
        sandbox.vnc_port,
    }


def test_a_file_is_opened_edited_and_saved_in_vs_code(sandbox, page):
    sandbox.write_text("notes.txt", "one\n")
    page.goto(sandbox.vscode_url())
    page.get_by_role("treeitem", name="notes.txt").dblclick(timeout=60_000)
    editor = page.locator(".monaco-editor .view-lines").first
    editor.get_by_text("one").wait_for()
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("two")
    page.keyboard.press("Control+s")
    saved = "until grep -q two notes.txt; do sleep 0.1; done"
    assert sandbox.execute_command(saved, timeout=20).exit_code == 0
    assert sandbox.read_text("notes.txt") == "one\ntwo"
    # The agent server's extension and the image's settings: dark, and nobody asks for an account.
    page.wait_for_selector(".monaco-editor.vs-dark")
    assert page.get_by_text("Copilot").count() == 0


def test_vs_code_refuses_a_wrong_token_and_none(sandbox):
    address = sandbox.vscode_url("src")
    assert address.endswith("&folder=/workspace/project/src")
    assert httpx.get(address).status_code == httpx.codes.FOUND
    wrong = re.sub("tkn=[^&]+", "tkn=wrong", address)
    none = f"http://127.0.0.1:{sandbox.vscode_port}/"
    for refused in (wrong, none, f"{none}?folder=/workspace/project"):
        assert httpx.get(refused).status_code == httpx.codes.FORBIDDEN


def test_the_desktop_refuses_a_wrong_token_and_none(sandbox):
    address = f"ws://127.0.0.1:{sandbox.vnc_port}/websockify"
    key = sandbox.session_key.get_secret_value()
    assert greeting(f"{address}?token={key}")[:3] == b"RFB"
    for query in ("", "?token=", "?token=wrong", f"?token={key[:-1]}", f"?token={key}x"):
        with pytest.raises((WebSocketException, OSError)):
            greeting(address + query)


def test_the_key_is_in_no_command_line(sandbox):
    lines = sandbox.execute_command("ps -eo args").stdout
    assert "websockify" in lines
    assert "--connection-token-file" in lines
    assert sandbox.session_key.get_secret_value() not in lines
    # Nor in a file that anybody but the agent's user may read.
    key_files = (
        "grep -rlsF --include='*' \"$1\" /tmp /openhands/.openvscode-server/data 2>/dev/null"
    )
    found = sandbox.execute_command(
        f"set -- '{sandbox.session_key.get_secret_value()}'; {key_files} | xargs -r stat -c '%a %n'"
    ).stdout.splitlines()
    assert found, "the tokens' files were not found"
    assert all(line.startswith("600 ") for line in found), found


def test_the_agents_browser_shows_on_the_desktop(sandbox, site, page):
    script = Script(
        [
            tool("browser_navigate", url=site),
            tool("browser_get_content"),
            say("The magic word is xylophone."),
        ]
    )
    lane = sandbox.gateway.open_lane(script, name="browser")
    llm = LLM(**sandbox.gateway.llm_fields(lane, "openai/gpt-4o-mini"))
    page.goto(sandbox.browser_view_url())
    page.wait_for_function("document.querySelector('#noVNC_container canvas')?.width > 0")
    assert not has_colour(page)
    with RemoteConversation(sandbox, default_agent(llm, cli_mode=False)) as conversation:
        conversation.send_message("What is the magic word?")
        conversation.run(timeout=180)
        (content,) = conversation.events.tool_calls("browser_get_content")
        assert "The magic word is xylophone" in content.result
        page.wait_for_timeout(1000)
        assert has_colour(page)
        # Whoever only watches can do no harm.
        page.mouse.click(640, 400)
        page.keyboard.press("Control+w")
        page.wait_for_timeout(1000)
        assert has_colour(page)


def test_two_at_once_have_ports_of_their_own(sandbox, engine, full_image, free_ports):
    with DockerWorkspace(
        server_image=full_image, engine=engine, extra_ports=True, host_port=free_ports
    ) as second:
        assert (second.host_port, second.vscode_port, second.vnc_port) == (
            free_ports,
            free_ports + 1,
            free_ports + 2,
        )
        second.write_text("second.txt", "")
        assert f":{free_ports + 1}/?tkn=" in second.vscode_url()
        assert f":{free_ports + 2}/vnc.html?" in second.vnc_url()
        states = [*second.services().values(), *sandbox.services().values()]
        assert {service.state for service in states} == {"running"}
        assert sandbox.execute_command("ls second.txt").exit_code != 0
        other = sandbox.session_key.get_secret_value()
        with pytest.raises((WebSocketException, OSError)):
            greeting(f"ws://127.0.0.1:{second.vnc_port}/websockify?token={other}")
        # An end of one service is seen, and said.
        second.execute_command("pkill websockify; pkill -f server-main")
        assert second.services()["desktop"].state == "down"
        with pytest.raises(ServiceUnavailable, match=r"desktop of .* did not answer within 0\.2 s"):
            second.vnc_url(timeout=0.2)
        with pytest.raises(ServiceUnavailable, match=r"VS Code of .* did not answer within 0\.2 s"):
            second.vscode_url(timeout=0.2)


def test_nothing_of_it_runs_unless_it_is_asked_for(engine, full_image):
    with DockerWorkspace(server_image=full_image, engine=engine) as workspace:
        running = workspace.execute_command("ps -eo args").stdout
        for program in ("Xvnc", "websockify", "xfce4", "server-main"):
            assert program not in running
        assert {service.state for service in workspace.services().values()} == {"running", "off"}
        assert workspace.vscode_port is None
        for address in (workspace.vscode_url, workspace.vnc_url, workspace.browser_view_url):
            with pytest.raises(
                ServiceUnavailable, match=r"start the sandbox with extra_ports=True"
            ):
                address()


def test_an_image_without_them_says_so(engine, agent_server_image):
    with DockerWorkspace(
        server_image=agent_server_image, engine=engine, extra_ports=True
    ) as workspace:
        if workspace.services()["vscode"].state == "running":
            pytest.skip(f"{agent_server_image} has VS Code")
        assert {name: service.state for name, service in workspace.services().items()} == {
            "server": "running",
            "vscode": "missing",
            "desktop": "missing",
        }
        advice = r"agent-sandbox build --target source"
        with pytest.raises(ServiceUnavailable, match=rf"There is no VS Code in .*{advice}"):
            workspace.vscode_url()
        with pytest.raises(ServiceUnavailable, match=rf"There is no desktop in .*{advice}"):
            workspace.vnc_url()
        assert "will be disabled" not in workspace.container.log_tail(200)


def test_only_programs_that_make_addresses_by_hand_are_told_of_the_links(full_image, caplog):
    """Those are told in tests/interop/test_programs.py."""
    with DockerWorkspace(server_image=full_image, extra_ports=True) as workspace:
        answer = httpx.get(f"{workspace.host}/api/vscode/url", trust_env=False)
        assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert not [record for record in caplog.records if "workspace.vscode_url()" in record.message]


@pytest.fixture
def free_ports():
    """The first of three ports in a row that nobody listens at."""
    return ports.free_ports(3)
