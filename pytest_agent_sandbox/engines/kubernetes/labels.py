"""The labels and annotations of all that is made in a cluster."""

from __future__ import annotations

#: The label that all has, and its value.
MANAGED, MANAGER = "app.kubernetes.io/managed-by", "pytest-agent-sandbox"
#: The label that holds the id of the run.
RUN = "pytest-agent-sandbox/run"
#: The label that holds the id of the process, which has a keeper of its own.
PROCESS = "pytest-agent-sandbox/process"
#: The label of pods that hold a sandbox, or look into its image.
SANDBOX = "pytest-agent-sandbox/sandbox"
#: The label of pods that a network policy isolates.
ISOLATED_LABEL = "pytest-agent-sandbox/isolated"
#: The label of pods that stay after their run.
KEPT = "pytest-agent-sandbox/kept"
#: The annotation that holds the id of the test that a pod is for.
TEST_ANNOTATION = "pytest-agent-sandbox/test"
