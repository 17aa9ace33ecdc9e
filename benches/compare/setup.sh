#!/usr/bin/env bash
# Sets up peers of `cargo bench --bench compare`, as far as something is missing.
# Usage: setup.sh WORK PEER…    (WORK: where to build; the old servers are in WORK/seed, if at all)
set -euo pipefail
work=$1
shift
peers=$(cd "$(dirname "$0")/peers" && pwd)
mkdir -p "$work"

missing=()
need() { command -v "$1" > /dev/null || missing+=("$2"); }
inets() { erl -noshell -eval 'halt(case code:lib_dir(inets) of {error, _} -> 1; _ -> 0 end).'; }
for peer in "$@"; do
  case $peer in
    go) need go golang-go ;;
    node) need node nodejs ;;
    asyncio) python3 -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3-venv) ;;
    erlang)
      need erlc erlang-base
      { command -v erl && inets; } > /dev/null 2>&1 || missing+=(erlang-inets)
      ;;
  esac
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "missing; install Debian's packages or their like: ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# Makes a file that is absent or older than its source: makes TARGET SOURCE COMMAND…
makes() {
  local target=$1 source=$2
  shift 2
  [ "$target" -nt "$source" ] || "$@"
}
build_erlang() { mkdir -p "$work/erlang" && erlc -o "$work/erlang" "$peers/erlang/server.erl"; }
build_go() { mkdir -p "$work/go" && go build -o "$work/go/server" "$peers/go/main.go"; }
for peer in "$@"; do
  case $peer in
    # Cargo itself knows what is new.
    axum) cargo build -q --release --locked --manifest-path "$peers/axum/Cargo.toml" --target-dir "$work/axum" ;;
    go) makes "$work/go/server" "$peers/go/main.go" build_go ;;
    erlang) makes "$work/erlang/server.beam" "$peers/erlang/server.erl" build_erlang ;;
    asyncio)
      if ! "$work/asyncio/bin/python" -c 'import aiohttp' 2> /dev/null; then
        python3 -m venv "$work/asyncio"
        "$work/asyncio/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.3
      fi
      ;;
    seed-*)
      if ! "$work/seed-venv/bin/python" -c 'import tornado, gevent, concurrent.futures' 2> /dev/null; then
        "$work/seed/setup.sh" "$work/seed-venv"
      fi
      ;;
  esac
done
