# What the scripts share; read by them, not run by itself.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

#: Where the engine is noted that scripts/setup started, until it is stopped.
ENGINE_PID=.venv/agent-sandbox-dockerd.pid
ENGINE_LOG=.venv/agent-sandbox-dockerd.log

#: The linter of the pages' scripts and styles; biome.json has its settings.
BIOME=.venv/biome/node_modules/.bin/biome

say() { echo "$(basename "$0"): $*"; }

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Runs a command as root: as it is, or through a sudo that asks for no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

install_packages() {
    say "installing with apt-get: $*"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

install_engine() {
    if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
        install_packages docker.io iptables
    fi
}
