#!/usr/bin/env bash
# Prints the folder of AWS's DynamoDB Local, and fetches it first where it is missing:
#
#   java -Djava.library.path=FOLDER/DynamoDBLocal_lib -jar FOLDER/DynamoDBLocal.jar -inMemory -disableTelemetry
#
# It comes with the npm package amplify-dynamodb-simulator, under AWS's own licence: it may be used for development
# and tests by whoever has an AWS account, and is not part of Everhook. Needs npm, and Java 17 to run.
# EVERHOOK_DYNAMODB_LOCAL names a folder that has it already.
set -euo pipefail

version=2.9.30
if [[ -n "${EVERHOOK_DYNAMODB_LOCAL:-}" ]]; then
    echo "$EVERHOOK_DYNAMODB_LOCAL"
    exit
fi
for program in npm java; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing: install Node.js and a Java runtime of version 17 (Debian: npm, openjdk-17-jre-headless)" >&2
        exit 1
    fi
done

folder="${XDG_CACHE_HOME:-$HOME/.cache}/everhook/dynamodb-local-$version"
if [[ ! -e "$folder/DynamoDBLocal.jar" ]]; then
    echo 'fetching DynamoDB Local, once' >&2
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && npm pack --silent "amplify-dynamodb-simulator@$version" >/dev/null && tar xzf ./*.tgz)
    mkdir -p "$(dirname "$folder")"
    rm -rf "$folder"
    # Moved as a whole: what was interrupted is fetched again.
    mv "$work/package/emulator" "$folder"
fi
echo "$folder"
