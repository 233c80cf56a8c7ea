"""Changes all that the process that loads it holds; for the agent server, as a module of tools."""

import atexit
import builtins
import gc
import logging
import os
import resource
import signal
import socket
import string
import subprocess
import sys
import threading
import warnings

import litellm
import openhands.agent_server.llm_router as llms
import openhands.agent_server.mcp_router as mcps
import openhands.sdk.subagent.registry as agents
import openhands.sdk.tool.client_tool as client_tools
import openhands.sdk.tool.registry as tools
from openhands.sdk.context.prompts.prompt import _get_env
from openhands.sdk.secret import secrets
from openhands.sdk.tool import Action


class LeftAction(Action):
    """A kind of action that the server would offer from now on."""

    word: str


os.environ["LEFT"] = "here"
os.environ["PATH"] = "/left:" + os.environ["PATH"]
os.environ["OH_SESSION_API_KEYS_0"] = "left"
threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()
os.dup2(os.open("/tmp/left", os.O_CREAT | os.O_WRONLY), 57)
child = subprocess.Popen(["sleep", "600"])
logging.getLogger("openhands").setLevel(logging.CRITICAL)
logging.getLogger("left").addHandler(logging.NullHandler())
logging.disable(logging.INFO)
os.chdir("/tmp")
os.umask(0o77)
os.nice(3)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
sys.path.insert(0, "/tmp/left-path")
sys.setrecursionlimit(4321)
sys.setswitchinterval(0.02)
gc.disable()
gc.set_threshold(7)
builtins.left = True
warnings.simplefilter("ignore")
socket.setdefaulttimeout(77)
string.capwords = lambda *words: "left"
atexit.register(print, "left")
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
_get_env("/tmp")
tools._REG["left"] = tools._USABILITY_REG["left"] = lambda *_, **__: []
agents._agent_factories["left"] = next(iter(agents._agent_factories.values()))
client_tools._client_tool_names.add("left")
secrets._local_secret_resolvers.append(lambda *_: None)
mcps._oauth_probe_jobs["left"] = None
llms._IN_FLIGHT_OPENAI_DEVICE_LOGINS.add("left")
litellm.callbacks.append("left")
litellm.success_callback.append("left")
litellm.model_cost["left"] = {}
litellm.drop_params = False
