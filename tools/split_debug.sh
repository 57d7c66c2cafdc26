#!/bin/sh
# Puts the linked products at their fixed places (build/NAME), stripped, with debug info apart (build/NAME.debug), and
# the link by which programs find liblivekit.so when they run beside it.
set -e
dir=$1
for f in src/ffi/liblivekit_ffi.so src/api/liblivekit.so.0 apps/cli/lkc; do
    out=$dir/$(basename "$f" .0)
    if [ ! -f "$out" ] || [ "$dir/$f" -nt "$out" ]; then
        objcopy --only-keep-debug "$dir/$f" "$out.debug"
        cp "$dir/$f" "$out.tmp"
        strip --strip-unneeded "$out.tmp"
        objcopy --add-gnu-debuglink="$out.debug" "$out.tmp"
        mv "$out.tmp" "$out"
    fi
done
ln -sfn liblivekit.so "$dir/liblivekit.so.0"
