#!/usr/bin/env bash
# Sets up what `make` targets need, once: Debian packages, .venv, pinned dependencies, editable install.
# Usage: scripts/setup.sh runtime|dev     (dev adds training, tests and linters)
# A second call with nothing changed returns at once. Details of a failed step: .venv/setup.log
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:?runtime or dev}
case $kind in runtime | dev) ;; *) echo "setup: unknown kind '$kind': runtime or dev" >&2; exit 2 ;; esac
venv=$PWD/.venv
log=$venv/setup.log
stamp=$venv/.setup-$kind
inputs=(scripts/setup.sh apt-packages.txt pyproject.toml "requirements/$kind.lock")
want=$(cat "${inputs[@]}" | sha256sum; pwd)

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi

step() { # step TEXT COMMAND...: one line on success, the log's end on failure
    printf 'setup: %s ... ' "$1" >&2
    shift
    local start=$SECONDS
    if "$@" >>"$log" 2>&1; then
        echo "$((SECONDS - start)) s" >&2
    else
        echo "FAILED" >&2
        tail -n 25 "$log" >&2
        echo "setup: the whole log is in $log" >&2
        exit 1
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else echo "needs root, or sudo, to install Debian packages" >&2; return 1; fi
}

python=$(command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: Python 3.11 or newer is needed; found ${python:-none}" >&2
    exit 1
fi

mkdir -p "$venv"
: >"$log"
if command -v apt-get >/dev/null; then
    missing=()
    while read -r package; do
        case $package in '' | '#'*) continue ;; esac
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done <apt-packages.txt
    if [ "${#missing[@]}" -gt 0 ]; then
        step "package lists" as_root apt-get update -qq
        step "${#missing[@]} Debian packages" as_root apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
else
    echo "setup: no apt-get here; install what apt-packages.txt names with your own package manager" >&2
fi

[ -x "$venv/bin/pip" ] || step "virtual environment" "$python" -m venv "$venv"
step "pinned Python packages ($kind)" "$venv/bin/python" -m pip install --disable-pip-version-check -q -r "requirements/$kind.lock"
step "swinstream itself" "$venv/bin/python" -m pip install --disable-pip-version-check -q --no-deps -e .
printf '%s' "$want" >"$stamp"
