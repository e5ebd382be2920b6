#!/usr/bin/env bash
# Signs webhooks with the senders' own libraries and sends them to a server; and, where a collection of vectors is
# at hand, asks those libraries whether they judge as we do. Needs Node.js and npm; installs the libraries once.
#
#   tests/senders/run.sh [VECTORS]
#
# The last line says how many checks passed.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in node npm; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing: install Node.js 20 or newer" >&2
        exit 1
    fi
done
folder="${XDG_CACHE_HOME:-$HOME/.cache}/everhook/senders"
mkdir -p "$folder"
wanted="$(cat tests/senders/package.json tests/senders/package-lock.json)"
if [[ "$(cat "$folder/stamp" 2>/dev/null)" != "$wanted" ]]; then
    cp tests/senders/package.json tests/senders/package-lock.json "$folder/"
    (cd "$folder" && npm ci --silent --no-audit --no-fund)
    printf '%s' "$wanted" >"$folder/stamp"
fi
cp tests/senders/*.mjs tests/senders/everhook.toml "$folder/"

cargo build --locked --quiet --bin everhook
work="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
export GITHUB_SECRET='a secret of GitHub' STRIPE_SECRET='whsec_a-secret-of-stripe' TWILIO_TOKEN='0123456789abcdef' \
    BILLING_SECRET='whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
"${CARGO_TARGET_DIR:-target}/debug/everhook" serve --in-memory --data-dir "$work/data" --config "$folder/everhook.toml" \
    --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
    url="$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/out" || true)"
    [[ -n "$url" ]] && break
    sleep 0.1
done
if [[ -z "$url" ]]; then
    cat "$work/out" "$work/log" >&2
    exit 1
fi
vectors="${1:-../shared/webhooks/signature-vectors.json}"
node "$folder/senders.mjs" "$url" "$([[ -e "$vectors" ]] && realpath "$vectors" || true)"
