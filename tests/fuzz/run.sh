#!/usr/bin/env bash
# Feeds whatever the internet can reach, and whatever is read back, with whatever:
#
#   tests/fuzz/run.sh              # each target for 10 seconds
#   tests/fuzz/run.sh 3600         # each for an hour
#   tests/fuzz/run.sh 60 history   # one of them
#   tests/fuzz/run.sh 5 public     # those that need no processor: what the public internet and storage can reach
#
# Needs a C++ compiler; installs cargo-fuzz if it is missing. Without a sanitizer, so that the pinned stable Rust
# will do: there is no unsafe code here. Begins with tests/fuzz/seeds and with what earlier runs left in
# tests/fuzz/corpus; what crashes is kept in tests/fuzz/artifacts. The last line says how many held.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-10}"
if ! command -v c++ >/dev/null && ! command -v clang++ >/dev/null; then
    echo 'a C++ compiler is missing, for libFuzzer: install g++ or clang' >&2
    exit 1
fi
if ! command -v cargo-fuzz >/dev/null; then
    echo 'cargo-fuzz is missing: it is installed now, which takes a minute' >&2
    cargo install cargo-fuzz --locked --version '^0.13' --profile dev
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi
targets="${*:2}"
features=()
if [[ "$targets" == public ]]; then
    features=(--no-default-features)
    targets="$(grep -L everhook_processor targets/*.rs | sed 's|targets/||; s|\.rs$||')"
fi
targets="${targets:-$(cargo fuzz list --fuzz-dir .)}"
# All at once: one by one they would wait for one another.
cargo fuzz build --sanitizer none --fuzz-dir . ${features[@]+"${features[@]}"} >&2
passed=0 failed=0
for target in $targets; do
    mkdir -p "corpus/$target"
    if output="$(cargo fuzz run --sanitizer none --fuzz-dir . ${features[@]+"${features[@]}"} "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 2>&1)"; then
        passed=$((passed + 1))
        runs="$(grep -oE 'Done [0-9]+ runs' <<<"$output" | tail -1)"
        coverage="$(grep -oE 'cov: [0-9]+' <<<"$output" | tail -1)"
        echo "ok      $target: $runs, $coverage"
    else
        failed=$((failed + 1))
        echo "FAILED  $target"
        tail -30 <<<"$output"
    fi
done
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
