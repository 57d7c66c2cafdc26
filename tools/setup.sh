#!/bin/bash
# Installs everything the project needs on Debian 12 and builds its test peers. Idempotent and quiet when done.
#   tools/setup.sh demo     what `make demo` needs      tools/setup.sh check    that and the peers of the tests
#   tools/setup.sh nightly  that, clang for libFuzzer, valgrind and clang-tidy
# The peers of the tests need Go >= 1.26 and Node >= 18 from PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '%s\n' "setup: $*"; }
die() { printf '%s\n' "setup: $*" >&2; exit 1; }

packages="build-essential meson ninja-build pkg-config git curl ca-certificates
  libssl-dev libuv1-dev libc-ares-dev libwslay-dev libhttp-parser-dev
  libprotobuf-c-dev protobuf-c-compiler libprotobuf-dev protobuf-compiler libjansson-dev libyaml-dev zlib1g-dev
  libopus-dev libvpx-dev libsoxr-dev libyuv-dev libsrtp2-dev libusrsctp-dev
  python3 python3-venv espeak-ng sox iproute2 nftables procps binutils"

# The browser of the tests is a hundred megabytes that a demo does not need.
[ "${1:-check}" = demo ] || packages="$packages chromium"
# libFuzzer grows the corpora: the nightly, and who adds a parser.
[ "${1:-check}" != nightly ] || packages="$packages clang-14 libclang-rt-14-dev llvm-14 clang-tidy-14 clang-tidy valgrind"

version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
if [ "${1:-check}" != demo ]; then
    go_version=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
    [ -n "$go_version" ] && version_at_least 1.26 "$go_version" || die "Go >= 1.26 is missing from PATH (found: ${go_version:-none})"
    node_version=$(node --version 2>/dev/null | sed 's/^v//' || true)
    [ -n "$node_version" ] && version_at_least 18 "$node_version" || die "Node >= 18 is missing from PATH (found: ${node_version:-none})"
fi

missing=""
for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    say "installing packages:$missing"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# The peers live outside build/, keyed by what pins them, so that a clean build does not fetch them again.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/livekit-c
mkdir -p .peers "$cache"
if [ "${1:-check}" != demo ]; then
    key=$(sha256sum tests/peers/go.sum | cut -c1-16)
    server=$cache/livekit-server-$key
    if [ ! -x "$server" ]; then
        say "building livekit-server (a few minutes, once)"
        (cd tests/peers && GOFLAGS=-mod=readonly GOSUMDB=off go build -o "$server.tmp" github.com/livekit/livekit-server/cmd/server)
        mv "$server.tmp" "$server"
    fi
    ln -sfn "$server" .peers/livekit-server
fi

want=$(sha256sum tests/peers/requirements.txt | cut -c1-16)
if [ "$(cat .peers/venv/.made-from 2>/dev/null)" != "$want" ]; then
    say "making the Python environment"
    rm -rf .peers/venv
    python3 -m venv .peers/venv
    .peers/venv/bin/pip install -q --disable-pip-version-check -r tests/peers/requirements.txt
    printf '%s' "$want" >.peers/venv/.made-from
fi

if [ "${1:-check}" != demo ]; then
    want=$(cat tests/browser/package-lock.json tests/browser/.npmrc | sha256sum | cut -c1-16)
    if [ "$(cat .peers/browser/.made-from 2>/dev/null)" != "$want" ]; then
        say "installing what the browser's tests load"
        rm -rf .peers/browser
        mkdir -p .peers/browser
        cp tests/browser/package.json tests/browser/package-lock.json tests/browser/.npmrc .peers/browser/
        (cd .peers/browser && npm ci --ignore-scripts --loglevel=error)
        printf '%s' "$want" >.peers/browser/.made-from
    fi
fi
say "ready"
