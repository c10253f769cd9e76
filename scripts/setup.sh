#!/usr/bin/env bash
# Sets up what `make` targets need, once: Debian packages, .venv, pinned dependencies, editable install.
# Usage: scripts/setup.sh runtime|dev     (dev adds training, tests and linters)
# A second call with nothing changed returns at once. Details of a failed step: .venv/setup.log
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-}
case $kind in runtime | dev) ;; *) echo "usage: scripts/setup.sh runtime|dev" >&2; exit 2 ;; esac
venv=$PWD/.venv
log=$venv/setup.log

stamp_of() { # what the set-up of this kind depends on; a moved checkout has to be installed again
    cat scripts/setup.sh apt-packages.txt pyproject.toml "requirements/$1.lock" | sha256sum
    pwd
}
is_done() { [ -f "$venv/.setup-$1" ] && [ "$(cat "$venv/.setup-$1")" = "$(stamp_of "$1")" ]; }
if is_done "$kind"; then exit 0; fi

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

mkdir -p "$venv"
: >"$log"
if command -v apt-get >/dev/null; then
    missing=()
    while read -r package; do
        case $package in '' | '#'*) continue ;; esac
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done <apt-packages.txt
    if [ "${#missing[@]}" -gt 0 ]; then
        root=(env DEBIAN_FRONTEND=noninteractive)
        if [ "$(id -u)" != 0 ]; then
            if ! command -v sudo >/dev/null; then
                echo "setup: Debian packages are missing, and to install them takes root. As root, run" >&2
                echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
                echo "and then this again." >&2
                exit 1
            fi
            root=(sudo "${root[@]}")
        fi
        step "Debian's package lists" "${root[@]}" apt-get update -qq
        step "${#missing[@]} Debian packages" "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
else
    echo "setup: no apt-get here; install what apt-packages.txt names with your own package manager" >&2
fi

if [ ! -x "$venv/bin/pip" ]; then
    # The system's own first: the packages above bring its headers. A pyenv shim may be there and not run.
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11 ''; do
        if [ -z "$python" ]; then
            echo "setup: no Python of 3.11 or newer was found; swinstream needs one" >&2
            exit 1
        fi
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
    done
    step "virtual environment" "$python" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip install --disable-pip-version-check -q)
step "pinned Python packages ($kind)" "${pip[@]}" -r "requirements/$kind.lock"
step "swinstream itself" "${pip[@]}" --no-deps -e .
stamp_of "$kind" >"$venv/.setup-$kind"
if [ "$kind" = dev ]; then # whose packages are those of the runtime and more
    stamp_of runtime >"$venv/.setup-runtime"
fi
