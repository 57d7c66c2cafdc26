#!/bin/sh
# Configures once and builds: product (no argument: build/), checks (build-checks/), asan (build-asan/), tsan (build-tsan/).
set -e
cd "$(dirname "$0")/.."
kind=${1:-product}
case $kind in
product) dir=build; flags="-Dbuildtype=release -Ddebug=true" ;;
checks) dir=build-checks; flags="-Dbuildtype=debugoptimized -Dchecks=true" ;;
asan) dir=build-asan; flags="-Dbuildtype=debugoptimized -Dchecks=true -Db_sanitize=address,undefined -Db_lundef=false" ;;
tsan) dir=build-tsan; flags="-Dbuildtype=debugoptimized -Dchecks=true -Db_sanitize=thread -Db_lundef=false" ;;
*) echo "build.sh: unknown kind '$kind' (product, checks, asan, tsan)" >&2; exit 2 ;;
esac
# shellcheck disable=SC2086
[ -f "$dir/build.ninja" ] || meson setup "$dir" $flags >"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
rm -f "$dir.log"
ninja -C "$dir" | grep -v '^ninja: ' | tail -n 3
ninja -C "$dir" -n 2>/dev/null | grep -q 'no work to do'
if [ "$kind" = product ]; then tools/split_debug.sh "$dir"; fi
