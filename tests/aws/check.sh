#!/usr/bin/env bash
# Checks the deployment without an AWS account: form, translation, security rules, and what tests/aws/assertions.py
# knows of this stack. The last line says how many checks passed. Needs python3; installs the rest (tools.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."

tools="$(tests/aws/tools.sh tools)"
export PATH="$tools:$PATH"
# Nothing here asks AWS; the tools want to know a region all the same.
export AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-eu-central-1}" AWS_EC2_METADATA_DISABLED=true
export SAM_CLI_TELEMETRY=0 BC_SKIP_MAPPING=TRUE

translated=target/aws/template.json
mkdir -p target/aws
rm -f "$translated"
passed=0 failed=0

check() {
    local name="$1" output
    shift
    if output="$("$@" 2>&1)"; then
        passed=$((passed + 1))
        echo "ok      $name"
        # The assertions tell how many they are.
        grep -E '^(assertions|mutations): ' <<<"$output" | sed 's/^/        /' || true
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' <<<"$output"
    fi
}

check 'sam validate --lint' sam validate --lint --template template.yaml
check 'cfn-lint, the source' cfn-lint template.yaml
check 'translation' python tests/aws/translate.py template.yaml "$translated"
# cfn-lint does not look into AWS::Serverless resources; here they are plain ones.
check 'cfn-lint, the translation' cfn-lint "$translated"
for file in template.yaml "$translated"; do
    check "checkov, $file" checkov --file "$file" --framework cloudformation --config-file tests/aws/checkov.yaml --compact --quiet
done
check 'assertions' python tests/aws/assertions.py "$translated" .
check 'the assertions notice what is broken' python tests/aws/mutations.py "$translated" .

echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
