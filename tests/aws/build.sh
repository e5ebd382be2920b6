#!/usr/bin/env bash
# Builds the functions as they are deployed, with `sam build`, for the processor named, and translates the template:
#
#   tests/aws/build.sh            # x86_64, to run here: .aws-sam/build
#   tests/aws/build.sh arm64      # .aws-sam/build-arm64
#
# Needs Rust with that processor's target, and python3; installs the rest (tools.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."

architecture="${1:-x86_64}"
case "$architecture" in
    x86_64) target=x86_64-unknown-linux-gnu folder=.aws-sam/build ;;
    arm64) target=aarch64-unknown-linux-gnu folder=.aws-sam/build-arm64 ;;
    *) echo "$architecture is no processor of Lambda's: say x86_64 or arm64" >&2; exit 2 ;;
esac
if [[ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]]; then
    echo "Rust has no $target here: rustup target add $target" >&2
    exit 1
fi
tools="$(tests/aws/tools.sh tools)"
export PATH="$tools:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-eu-central-1}"
sam build --parameter-overrides "Architecture=$architecture" --build-dir "$folder" "${@:2}"
python tests/aws/translate.py template.yaml target/aws/template.json
