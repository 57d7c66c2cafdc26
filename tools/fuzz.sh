#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libFuzzer (clang 14; tools/setup.sh nightly) on the entries of fuzz/, with AddressSanitizer and UBSan.
#   tools/fuzz.sh hunt SECONDS [--jobs N] [TARGET...]   looks for failures; the input at fault stays in build-fuzz/found/
#   tools/fuzz.sh grow SECONDS [--jobs N] [TARGET...]   the same, then what reaches new edges joins fuzz/corpus/, as little of it as will do
# No TARGET: all. Two at a time, or N. Another seed each time; the input says it all. Closing line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
verb=${1:?hunt or grow} seconds=${2:?seconds for each target}
shift 2
jobs=2
if [ "${1:-}" = --jobs ]; then
    jobs=$2
    shift 2
fi
tools/build.sh fuzz >/dev/null || { echo "the build for libFuzzer fails"; exit 1; }
[ $# -gt 0 ] || set -- $(ls fuzz/corpus)
mkdir -p build-fuzz/found build-fuzz/grown

one() { # target
    local t=$1 grown=build-fuzz/grown/$1 log=build-fuzz/grown/$1.log cover=build-fuzz/grown/$1.cover
    mkdir -p "$grown"
    if ! UBSAN_OPTIONS=halt_on_error=1 "build-fuzz/fuzz/fuzz_$t" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 -max_len=4096 \
        -artifact_prefix="build-fuzz/found/$t-" "$grown" "fuzz/corpus/$t" >"$log" 2>&1; then
        grep -a -m 3 'ERROR\|runtime error\|fuzz_.*\.c:[0-9]*: ' "$log"
        echo "FAIL $t: see $log and build-fuzz/found/$t-*"
        return 1
    fi
    if [ "$verb" = grow ]; then
        rm -rf "$cover" && mkdir -p "$cover"
        "build-fuzz/fuzz/fuzz_$t" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$cover" "fuzz/corpus/$t" "$grown" >>"$log" 2>&1 || return 1
        for file in "$cover"/*; do
            name=$(sha1sum "$file" | cut -c1-10)
            grep -q "^$name" <(sha1sum "fuzz/corpus/$t"/* | cut -c1-10) || cp "$file" "fuzz/corpus/$t/$name"
        done
    fi
    echo "ok   $t: $(grep -a 'number_of_executed_units\|^Done' "$log" | tail -n 1), corpus $(du -bs "fuzz/corpus/$t" | cut -f1) bytes"
}
export -f one
export verb seconds
printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'one {}' | tee build-fuzz/grown/results
passed=$(grep -c '^ok ' build-fuzz/grown/results) failed=$(grep -c '^FAIL ' build-fuzz/grown/results)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
