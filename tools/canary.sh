#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Do the machines find bugs? Builds with bugs planted (src/base/canary.h), wakes one at a time and runs the machine that has
# to find it: it must fail, and must pass while every bug sleeps. The floor of the coverage is tried with a corpus that is
# not there. Closing line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
tools/build.sh canary >/dev/null || { echo "the build with planted bugs fails"; exit 1; }
export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1 ASAN_OPTIONS=abort_on_error=1
passed=0 failed=0 out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
root=$PWD

expect() { # found|clean name seconds-at-most command...
    local want=$1 name=$2 most=$3 status=0 began=$SECONDS
    shift 3
    (cd "$out" && timeout "$most" "$@" >"$out/log" 2>&1) || status=$?
    local is=clean
    [ "$status" = 0 ] || is=found
    [ "$status" = 124 ] && is="out of time"
    if [ "$is" = "$want" ]; then passed=$((passed + 1)); echo "ok   $name: $is after $((SECONDS - began)) s"; else
        failed=$((failed + 1)); echo "FAIL $name: $is"; tail -n 5 "$out/log"
    fi
}
hunt() { # bug command...: asleep it is not found, awake it is
    local bug=$1
    shift
    expect clean "$bug asleep" 600 env LK_CANARY=none "$@"
    expect found "$bug awake" 600 env LK_CANARY="$bug" "$@"
}

sim=$root/build-canary/tests/sim/sim fuzz=$root/build-canary/fuzz
hunt leak "$sim" --scenario ladder --seeds 10 --quiet
hunt replay "$sim" --scenario storm --seeds 100 --quiet
hunt auth "$fuzz/fuzz_agent" --seconds 10 "$root/fuzz/corpus/agent"
hunt overread "$fuzz/fuzz_rtp" --seconds 10 "$root/fuzz/corpus/rtp"
hunt overflow "$fuzz/fuzz_rtp" --seconds 10 "$root/fuzz/corpus/rtp"
expect clean "coverage with every corpus" 600 "$root/tools/coverage.py"
expect found "coverage without a corpus" 600 "$root/tools/coverage.py" --leave-out rtp
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
