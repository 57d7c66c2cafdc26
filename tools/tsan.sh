#!/bin/bash
# Runs what has threads under ThreadSanitizer: the units of io and api, the contract suite of the FFI with the sanitizer
# preloaded into Python, processes that end without dispose, and a server of two loops under official clients. Closing line
# "N passed, N failed"; a report counts as a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=build-tsan/reports
rm -rf "$logs" && mkdir -p "$logs"
# A process that ends with rooms open leaves threads behind: that is allowed, and tested elsewhere.
options="suppressions=$PWD/tests/support/tsan.supp report_thread_leaks=0 halt_on_error=0"
passed=0 failed=0
step() { # name command...
    local name=$1 status=0 reports
    shift
    "$@" >"$logs/$name.out" 2>&1 || status=$?
    reports=$(cat "$logs/$name".tsan* 2>/dev/null | grep -c '^SUMMARY: ThreadSanitizer' || true)
    if [ "$status" = 0 ] && [ "$reports" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    echo "$name: exit $status, $reports reports"
    [ "$status" = 0 ] || tail -n 20 "$logs/$name.out"
    [ "$reports" = 0 ] || cat "$logs/$name".tsan* | head -n 200
}
for unit in io api; do
    step "unit-$unit" env TSAN_OPTIONS="$options exitcode=0 log_path=$logs/unit-$unit.tsan" build-tsan/tests/unit/unit_$unit
done
for suite in requests audio video life rooms faults; do
    step "ffi-$suite" env TSAN_OPTIONS="$options exitcode=0 log_path=$PWD/$logs/ffi-$suite.tsan" \
        LD_PRELOAD="$(gcc -print-file-name=libtsan.so)" LK_INTEROP_LIBRARY="$PWD/build-tsan/src/ffi/liblivekit_ffi.so" \
        .peers/venv/bin/python -m pytest -q "tests/ffi/test_$suite.py" -k "not stock"
done
# The ends of a process with rooms open and handshakes under way; each is a fork of one that has threads.
step exits env TSAN_OPTIONS="$options die_after_fork=0 log_path=$PWD/$logs/exits.tsan" LD_PRELOAD="$(gcc -print-file-name=libtsan.so)" \
    LK_INTEROP_LIBRARY="$PWD/build-tsan/src/ffi/liblivekit_ffi.so" .peers/venv/bin/python tests/ffi/abuse.py --library ours --rows exit --share 0.2
step server-loops env TSAN_OPTIONS="$options exitcode=0 log_path=$PWD/$logs/server-loops.tsan" LK_INTEROP_LKC="$PWD/build-tsan/apps/cli/lkc" \
    .peers/venv/bin/python -m pytest -q tests/server/test_loops.py
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
