#!/bin/bash
# Runs under AddressSanitizer and UBSan our library inside Python, the contract of the FFI and the calls with real peers, and
# our server under official clients. Closing line "N passed, N failed"; a report counts as a failure.
#   tools/asan.sh            all of it          tools/asan.sh ffi | interop | server [-k ...]   one suite, with pytest's words
set -euo pipefail
cd "$(dirname "$0")/.."
logs=$PWD/build-asan/reports
rm -rf "$logs" && mkdir -p "$logs"
# The interpreter keeps memory until it ends: leaks are looked for in units, where we can count, and in the server. The stock
# library loads beside ours, so link order is not ours to choose.
export ASAN_OPTIONS="detect_leaks=0 verify_asan_link_order=0 detect_stack_use_after_return=1 allocator_may_return_null=1 strict_string_checks=1 log_path=$logs/asan"
export UBSAN_OPTIONS="print_stacktrace=1 log_path=$logs/ubsan"
declare -A world=(
    [ffi]="LK_INTEROP_LIBRARY=$PWD/build-asan/src/ffi/liblivekit_ffi.so"
    [server]="LK_INTEROP_LKC=$PWD/build-asan/apps/cli/lkc"
)
world[interop]=${world[ffi]}
declare -A preload=([ffi]="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" [server]="")
preload[interop]=${preload[ffi]}
declare -A leaks=([ffi]=0 [interop]=0 [server]=1)
# Left out: what measures or searches memory, what measures sizes, seconds and the pace of pictures and data (it is not the
# product), and what starts programs that are built without the sanitizer (lkc, examples, the operations of the C API).
declare -A left_out=(
    [ffi]="not (stock or secret or sixty_calls or small or bounded or left_behind or loading_does_nothing or initialising_starts_nothing)"
    [interop]="not (stock or cli or example or ops or memory or 100000 or junk or pace or demo or loss or loses or statistics_of_both)"
    [server]="not (memory or little or flood)"
)
passed=0 failed=0
run() { # suite pytest-words...
    local suite=$1 out status=0
    shift
    [ $# -gt 0 ] || set -- -k "${left_out[$suite]}"
    out=$logs/$suite.out
    env "${world[$suite]}" LD_PRELOAD="${preload[$suite]}" ASAN_OPTIONS="$ASAN_OPTIONS detect_leaks=${leaks[$suite]}" \
        .peers/venv/bin/python -m pytest -q -p no:cacheprovider "tests/$suite" "$@" >"$out" 2>&1 || status=$?
    local ok bad
    ok=$(grep -oE '[0-9]+ passed' "$out" | tail -n 1 | cut -d' ' -f1 || true)
    bad=$(grep -oE '[0-9]+ (failed|error)' "$out" | awk '{n += $1} END {if (n) print n}' || true)
    passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0}))
    [ "$status" = 0 ] || [ -n "$bad" ] || failed=$((failed + 1))
    [ "$status" = 0 ] || tail -n 60 "$out"
}
if [ $# -gt 0 ]; then run "$@"; else run ffi && run interop && run server; fi
for report in "$logs"/asan.* "$logs"/ubsan.*; do
    [ -e "$report" ] || continue
    failed=$((failed + 1))
    head -n 60 "$report"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
