#!/usr/bin/env bash
# Runs workflows whose steps call AWS, in the server of one machine, against stand-ins for the services on loopback:
#
#   tests/aws/moto.sh            # builds target/debug/everhook
#   tests/aws/moto.sh BINARY     # takes this one
#
# Needs Rust and python3; installs moto (tools.sh). The last line says how many checks passed.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ $# == 0 ]]; then
    cargo build --locked --quiet --bin everhook
    set -- "${CARGO_TARGET_DIR:-target}/debug/everhook"
fi
PATH="$(tests/aws/tools.sh moto):$PATH" exec python tests/aws/moto.py "$@"
