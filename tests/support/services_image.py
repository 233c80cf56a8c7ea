"""The image of databases for tests: Debian's PostgreSQL and Redis, in an image for sandboxes."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.machine_lock import machine_lock
from pytest_agent_sandbox.containers.progress import show_progress

REPOSITORY = "pytest-agent-sandbox/tests-with-services"
#: As of the official image, with POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.
ENTRYPOINT = "/usr/local/bin/postgres-entrypoint"

_DOCKERFILE = f"""\
FROM {{base}}
USER root
RUN apt-get update \\
 && apt-get install -y --no-install-recommends postgresql redis-server \\
 && rm -rf /var/lib/apt/lists/* \\
 && ln -s /usr/lib/postgresql/*/bin /opt/postgresql \\
 && mkdir -p /var/lib/postgresql/data && chmod 1777 /var/lib/postgresql/data /var/run/postgresql
COPY postgres-entrypoint {ENTRYPOINT}
USER openhands
"""

# As the official image's, it starts the server twice: first without TCP, to make the database.
_SCRIPT = """\
#!/bin/sh
set -eu
export PATH="/opt/postgresql:$PATH"
PGDATA="${PGDATA:-/var/lib/postgresql/data/main}"
export PGDATA
if [ "$(id -u)" = 0 ]; then
    exec runuser -u postgres -- "$0" "$@"
fi
user="${POSTGRES_USER:-postgres}"
database="${POSTGRES_DB:-$user}"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "Error: POSTGRES_PASSWORD is not set" >&2
        exit 1
    fi
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --no-sync --username="$user" --pwfile=/tmp/password --auth-host=scram-sha-256 \\
        --auth-local=trust
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    if [ "$database" != postgres ]; then
        createdb --host=/tmp --username="$user" --maintenance-db=postgres "$database"
    fi
    pg_ctl -w stop
fi
if [ "${1:-postgres}" = postgres ]; then
    [ $# = 0 ] || shift
    set -- postgres -c listen_addresses='*' -c unix_socket_directories=/tmp,/var/run/postgresql \\
        -c fsync=off "$@"
fi
exec "$@"
"""


def build_services_image(engine: ContainerEngine, base: str) -> str:
    """Build the image where the engine lacks it, one process at a time; return its name.

    Args:
        engine: The engine.
        base: The name of an image for sandboxes.
    """
    api = engine.client.api
    dockerfile = _DOCKERFILE.format(base=engine.client.images.get(base).id)
    digest = hashlib.sha256((dockerfile + _SCRIPT).encode()).hexdigest()[:12]
    name = f"{REPOSITORY}:{digest}"
    with show_progress(sys.stderr) as progress, machine_lock(engine, REPOSITORY, progress):
        if not api.images(name):
            context = _context({"Dockerfile": dockerfile, "postgres-entrypoint": _SCRIPT})
            for event in api.build(
                fileobj=context, custom_context=True, tag=name, rm=True, decode=True
            ):
                assert "error" not in event, event["error"]
    return name


def build_redis_image(engine: ContainerEngine, base: str) -> str:
    """Return an image that starts Redis as the published one does, made of the other."""
    name = base.replace(REPOSITORY, f"{REPOSITORY}-redis")
    if not engine.client.api.images(name):
        start = '["redis-server", "--bind", "*", "--protected-mode", "no", "--dir", "/tmp"]'
        dockerfile = f"FROM {base}\nUSER redis\nENTRYPOINT {start}\nCMD []\n"
        engine.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=name, rm=True)
    return name


def _context(files: dict[str, str]) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o755, len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    packed.seek(0)
    return packed
