#!/usr/bin/env bash
# All tests, in two processes side by side: most of them wait more than they compute.
# With arguments: one pytest with these.
set -uo pipefail
cd "$(dirname "$0")/.."
pytest=.venv/bin/pytest
if [ $# -gt 0 ]; then
    exec "$pytest" "$@"
fi
second=(tests/calibration tests/engine tests/train tests/faults tests/test_end_to_end.py)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$pytest" -o cache_dir=.pytest_cache/second "${second[@]}" >"$log" 2>&1 &
other=$!
"$pytest" "${second[@]/#/--ignore=}"
code=$?
wait "$other" || code=$?
echo "== ${second[*]}"
cat "$log"
exit "$code"
