#!/usr/bin/env bash
# Does with curl and openssl what the README says, on a server of its own, and checks every answer.
# The last line says how many checks passed and failed.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --quiet --bin everhook
everhook="${CARGO_TARGET_DIR:-target}/debug/everhook"

data="$(mktemp -d)"
server=''
trap 'if [[ -n "$server" ]]; then kill -9 "$server" 2>/dev/null || true; fi; rm -rf "$data"' EXIT

passed=0
failed=0

# check NAME COMMAND…: counts whether the command succeeds.
check() {
    local name="$1"
    shift
    if "$@" >/dev/null 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name"
        echo "      HTTP ${code:-?}: ${answer:-nothing}" | head -c 2000
        echo
    fi
}

has() { grep -qF -- "$1" <<<"$answer"; }
lacks() { ! has "$1"; }
is() { [[ "$1" == "$2" ]]; }

# start [OPTION…]: starts a server on a free port; sets `server` and `url`.
start() {
    : >"$data/out"
    "$everhook" serve --listen 127.0.0.1:0 --data-dir "$data/.everhook" "$@" >"$data/out" 2>&1 &
    server=$!
    url=''
    for _ in $(seq 100); do
        url="$(sed -n 's|^everhook listens on \(http://[0-9.:]*\).*|\1|p' "$data/out")"
        if [[ -n "$url" ]]; then return; fi
        sleep 0.1
    done
    echo 'the server did not start:'
    cat "$data/out"
    exit 1
}

# request CURL-ARGUMENT…: sets `code` and `answer`.
request() {
    code="$(curl --silent --max-time 30 --output "$data/answer" --write-out '%{http_code}' "$@" || true)"
    answer="$(cat "$data/answer")"
}

# run everhook's command line: sets `answer` and `code`, its exit status.
command_line() {
    code=0
    answer="$("$everhook" "$@" 2>&1)" || code=$?
}

# sign FILE: the signature of its bytes.
sign() { openssl dgst -sha256 -hmac "$(cat "$data/.everhook/secrets/default")" -hex <"$1" | sed 's/^.* //'; }

# push FILE SIGNATURE DELIVERY: posts it as GitHub would.
push() {
    request "$url/webhook" \
        -H 'Content-Type: application/json' \
        -H 'X-GitHub-Event: push' \
        -H "X-GitHub-Delivery: $3" \
        -H "X-Hub-Signature-256: sha256=$2" \
        --data-binary "@$1"
}

token() { sed -n 's/.*"executionToken": *"\([A-Z2-7]*\)".*/\1/p' <<<"$answer" | head -1; }

# wait_for STATUS TOKEN: asks until it is reached, for ten seconds at most.
wait_for() {
    for _ in $(seq 100); do
        request "$url/status/$2"
        if has "\"status\":\"$1\",\"currentStep\""; then return; fi
        sleep 0.1
    done
}

echo '== the first webhook'
start
check 'the secret was made at the first start' test -s "$data/.everhook/secrets/default"
check 'nobody else can read the secret' is "$(ls -l "$data/.everhook/secrets/default" | cut -c1-10)" '-rw-------'

delivery='f0a1c2d4-c911-11f0-8de9-0242ac120002'
push examples/push.json "$(sign examples/push.json)" "$delivery"
check 'a signed push is accepted' is "$code" 202
check 'it is no duplicate' has '"duplicate":false'
token="$(token)"
check 'its token has 26 characters' is "${#token}" 26
check 'the answer says where its status is' has "\"statusUrl\":\"/status/$token\""

request "$url/status/$token"
check 'its status is there at once' is "$code" 200
wait_for completed "$token"
check 'it completes' has '"status":"completed","currentStep":null'
check 'the status names the type' has '"type":"push"'
check 'the status names the source' has '"source":"default"'
check 'the status shows the step finalize' has '"name":"finalize","status":"completed","attempts":1'
completed="$answer"

command_line replay --server "$url" "$token"
check 'replay succeeds' is "$code" 0
check 'replay begins with the webhook' has 'WebhookReceived'
check 'replay tells what was received' has "push from default, delivery $delivery"
check 'replay tells what process gave' has '"keysProcessed":14'
check 'replay ends with the completion' has 'ExecutionCompleted'

request "$url/executions/$token/body"
check 'the body is kept byte for byte' cmp "$data/answer" examples/push.json

echo '== what comes again'
push examples/push.json "$(sign examples/push.json)" "$delivery"
check 'a redelivery is accepted' is "$code" 202
check 'it is a duplicate' has '"duplicate":true'
check 'it has the same token' is "$(token)" "$token"
request "$url/executions/$token/events"
check 'it added no event' lacks '"sequence":6'

echo '== what is refused'
push examples/push.json "$(printf '%064d' 0)" 'wrong-signature'
check 'a wrong signature is a 401' is "$code" 401
request "$url/webhook" -H 'Content-Type: application/json' --data-binary @examples/push.json
check 'a missing signature is a 401' is "$code" 401
printf '{"amount": 99.99}' >"$data/other.json"
push "$data/other.json" "$(sign examples/push.json)" 'other-body'
check 'the signature of another body is a 401' is "$code" 401
request "$url/webhook/nobody" -H "X-Hub-Signature-256: sha256=$(sign examples/push.json)" \
    --data-binary @examples/push.json
check 'an unknown source is a 401 too' is "$code" 401
printf 'no json' >"$data/text"
push "$data/text" "$(sign "$data/text")" 'no-json'
check 'what is not JSON is a 400' is "$code" 400
head -c 1048577 /dev/zero >"$data/large"
push "$data/large" "$(sign "$data/large")" 'too-large'
check 'what is too large is a 413' is "$code" 413
request "$url/status/AAAAAAAAAAAAAAAAAAAAAAAAAA"
check 'an unknown token is a 404' is "$code" 404
request "$url/executions" -H 'Host: everhook.example'
check 'operators’ queries need this machine’s own name' is "$code" 403
command_line list --server "$url"
check 'nothing that was refused is listed' is "$(wc -l <<<"$answer")" 1

echo '== kill -9'
printf '{"type": "order.paid", "amount": 99.99}' >"$data/order.json"
push "$data/order.json" "$(sign "$data/order.json")" 'order-1'
order="$(token)"
kill -9 "$server"
wait "$server" 2>/dev/null || true
check 'a webhook was accepted just before' is "$code" 202
start
request "$url/status/$token"
check 'the status is the same after a restart' is "$answer" "$completed"
wait_for completed "$order"
check 'the webhook accepted just before completes' has '"status":"completed","currentStep":null'
push "$data/order.json" "$(sign "$data/order.json")" 'order-1'
check 'its redelivery is known after a restart' has '"duplicate":true'

echo '== the rest of the command line'
command_line send --server "$url" --data-dir "$data/.everhook" --event push examples/push.json
check 'send signs and posts' has '"duplicate": false'
sent="$(token)"
command_line status --wait --server "$url" "$sent"
check 'status waits for the end' has '"status": "completed"'
command_line list --server "$url" --status completed
check 'list finds all three' is "$(wc -l <<<"$answer")" 3
command_line sources --server "$url"
check 'sources says which secret was used, and when' has 'generated:default  last used 20'
sed 's/^#\([^ :]\)/\1/' config/everhook.toml >"$data/everything.toml"
export GITHUB_WEBHOOK_SECRET='an example, not a secret'
export BILLING_WEBHOOK_SECRET='whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
command_line check --config "$data/everything.toml"
check 'every commented example of everhook.toml is right' is "$code" 0
kill -TERM "$server"
code=0
wait "$server" || code=$?
server=''
check 'it stops when it is told to' is "$code" 0

echo
echo "$passed passed, $failed failed"
[[ "$failed" == 0 ]]
