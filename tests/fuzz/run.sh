#!/usr/bin/env bash
# Feeds whatever the internet can reach, and whatever is read back, with whatever:
#
#   tests/fuzz/run.sh              # each target for 10 seconds
#   tests/fuzz/run.sh 3600         # each for an hour
#   tests/fuzz/run.sh 60 history   # one of them
#
# Needs a C++ compiler; installs cargo-fuzz if it is missing. Without a sanitizer, so that stable Rust will do:
# there is no unsafe code here. What crashes is kept in tests/fuzz/artifacts. The last line says how many held.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-10}"
if ! command -v cargo-fuzz >/dev/null; then
    echo 'cargo-fuzz is missing: it is installed now, which takes a minute' >&2
    cargo install cargo-fuzz --locked --version '^0.13'
fi
targets="${*:2}"
passed=0 failed=0
for target in ${targets:-$(cargo fuzz list --fuzz-dir .)}; do
    if output="$(cargo fuzz run --sanitizer none --fuzz-dir . "$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 2>&1)"; then
        passed=$((passed + 1))
        echo "ok      $target: $(grep -oE 'stat::number_of_executed_units: [0-9]+|Done [0-9]+ runs' <<<"$output" | tail -1)"
    else
        failed=$((failed + 1))
        echo "FAILED  $target"
        tail -30 <<<"$output"
    fi
done
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
