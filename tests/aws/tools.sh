#!/usr/bin/env bash
# Prints the folder of the Python tools of one list in requirements/, and installs them first where they are missing:
#
#   export PATH="$(tests/aws/tools.sh tools):$PATH"      # sam, cfn-lint, checkov, cargo-lambda, zig
#   export PATH="$(tests/aws/tools.sh ministack):$PATH"  # ministack
#   export PATH="$(tests/aws/tools.sh moto):$PATH"       # moto
#
# They stand in ${XDG_CACHE_HOME:-~/.cache}/everhook/aws-tools and are made anew when their list changes.
# PYTHON names another interpreter than python3. EVERHOOK_AWS_TOOLS_TOOLS and its like
# name environments that are there already.
set -euo pipefail

name="$1"
given="EVERHOOK_AWS_TOOLS_${name^^}"
if [[ -n "${!given:-}" ]]; then
    echo "${!given}/bin"
    exit
fi

lists="$(cd "$(dirname "$0")/requirements" && pwd)"
folder="${XDG_CACHE_HOME:-$HOME/.cache}/everhook/aws-tools/$name"
python="${PYTHON:-python3}"
wanted="$("$python" --version; cat "$lists/$name.txt" "$lists/$name.lock")"

# The stamp is written last: what was interrupted is made anew.
if [[ "$(cat "$folder/everhook-stamp" 2>/dev/null)" != "$wanted" ]]; then
    echo "installing the tools of tests/aws/requirements/$name.txt; this takes a few minutes, once" >&2
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    "$python" -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$lists/$name.txt" --constraint "$lists/$name.lock" >&2
    echo "$wanted" >"$folder/everhook-stamp"
fi
echo "$folder/bin"
