#!/bin/bash
# Runs the tests of the page in Debian's Chromium; last line `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.."
log=$(mktemp)
node --test --test-reporter=tap tests/browser/*.test.mjs 2>&1 | tee "$log"
passed=$(sed -n 's/^# pass \([0-9]*\)$/\1/p' "$log" | tail -n 1)
failed=$(sed -n 's/^# fail \([0-9]*\)$/\1/p' "$log" | tail -n 1)
rm -f "$log"
echo "${passed:-0} passed, ${failed:-1} failed"
[ "${failed:-1}" = 0 ] && [ "${passed:-0}" -gt 0 ]
