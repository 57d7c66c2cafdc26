#!/bin/sh
# Configures once and builds: product (no argument: build/), checks (build-checks/), asan (build-asan/), tsan (build-tsan/),
# coverage (build-coverage/: fuzz entries that count lines), canary (build-canary/: with bugs planted), fuzz (build-fuzz/: fuzz entries for libFuzzer, by clang).
set -e
# Under a sanitizer gcc warns of what the instrumentation made of our lines: the other builds judge those.
cd "$(dirname "$0")/.."
kind=${1:-product} targets=
case $kind in
product) dir=build; flags="-Dbuildtype=release -Ddebug=true" ;;
checks) dir=build-checks; flags="-Dbuildtype=debugoptimized -Dchecks=true" ;;
asan) dir=build-asan; flags="-Dbuildtype=debugoptimized -Dchecks=true -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=false" ;;
tsan) dir=build-tsan; flags="-Dbuildtype=debugoptimized -Dchecks=true -Db_sanitize=thread -Db_lundef=false -Dwerror=false" ;;
coverage) dir=build-coverage; flags="-Dbuildtype=debug -Dchecks=true -Db_coverage=true"; targets=fuzzers ;;
canary) dir=build-canary; flags="-Dbuildtype=debugoptimized -Dchecks=true -Dcanary=true -Db_sanitize=address,undefined -Db_lundef=false"; targets="fuzzers tests/sim/sim" ;;
fuzz)
    dir=build-fuzz targets=fuzzers CC=clang-14
    export CC
    flags="-Dbuildtype=debugoptimized -Dchecks=true -Dfuzzer=true -Dwerror=false -Db_sanitize=address,undefined -Db_lundef=false"
    ;;
*) echo "build.sh: unknown kind '$kind' (product, checks, asan, tsan, coverage, canary, fuzz)" >&2; exit 2 ;;
esac
# shellcheck disable=SC2086
[ -f "$dir/build.ninja" ] || meson setup "$dir" $flags >"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
rm -f "$dir.log"
# shellcheck disable=SC2086
ninja -C "$dir" $targets | grep -v '^ninja: ' | tail -n 3
# shellcheck disable=SC2086
ninja -C "$dir" -n $targets 2>/dev/null | grep -q 'no work to do'
if [ "$kind" = product ]; then tools/split_debug.sh "$dir"; fi
