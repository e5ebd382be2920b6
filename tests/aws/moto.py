"""Sends webhooks whose workflows call AWS, and looks whether the services got what they should.

    moto.py BINARY

BINARY is `everhook`. The services are moto's, which keeps what it is sent; and where a service has to fail
inside an answer of 200, or to throttle, a server of our own that speaks just that much of the protocol.
All listen on loopback. The last line says how many checks passed.
"""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import boto3

REGION = "eu-central-1"
ACCOUNT = "123456789012"
# The services that moto plays keep no credentials.
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}

passed, failed = 0, 0


def check(name, holds, otherwise=""):
    global passed, failed
    if holds:
        passed += 1
        print(f"ok      {name}", flush=True)
    else:
        failed += 1
        print(f"FAILED  {name}: {otherwise}", flush=True)


def until(seconds, look):
    """What `look` gives as soon as it is something, or what it gave last."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def environment(**more):
    """This environment without anybody's AWS, and with this."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "EVERHOOK_"))}
    nowhere = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    return ours | nowhere | {"AWS_EC2_METADATA_DISABLED": "true"} | more


@contextlib.contextmanager
def running(command, log, port, **variables):
    """A server, until this ends."""
    with open(log, "wb") as file:
        server = subprocess.Popen(command, env=environment(**variables), stdout=file, stderr=file, start_new_session=True)
        try:
            if not until(30, lambda: server.poll() is not None or answers(port)) or server.poll() is not None:
                raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
            yield
        finally:
            for ending in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, ending)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(5)


# ---------------------------------------------------------------------------------------------------------------
# The stub.


class Stub(http.server.BaseHTTPRequestHandler):
    """Lambda's and EventBridge's answers that moto does not give, and a receiver of webhooks."""

    protocol_version = "HTTP/1.1"
    calls = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = sum(path == self.path for path, _, _ in Stub.calls)
        Stub.calls.append((self.path, dict(self.headers.items()), body))
        if "PutEvents" in self.headers.get("X-Amz-Target", ""):
            failure = {"ErrorCode": "MalformedDetail", "ErrorMessage": "canary"}
            return self.answer(200, {"FailedEntryCount": 1, "Entries": [failure]})
        if "/functions/fails/" in self.path:
            error = {"errorType": "ValueError", "errorMessage": "canary"}
            return self.answer(200, error, {"X-Amz-Function-Error": "Unhandled"})
        if "/functions/throttled/" in self.path and seen == 0:
            return self.answer(429, {"Reason": "x"}, {"x-amzn-errortype": "TooManyRequestsException", "Retry-After": "1"})
        return self.answer(200, {"got": json.loads(body)})

    def answer(self, status, body, headers=None):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

    @classmethod
    def called(cls, part):
        return [call for call in cls.calls if part in call[0]]


# ---------------------------------------------------------------------------------------------------------------
# Everhook.


class Everhook:
    """A server, as a sender and an operator see it."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def run(self, source, body):
        """How the execution of such a webhook ended: its token, its status, and the last step's result or error."""
        request = urllib.request.Request(
            f"{self.url}/webhook/{source}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            token = json.load(answer)["executionToken"]
        ended = until(20, lambda: self.get(f"/status/{token}")["status"] in ("completed", "failed"))
        status = self.get(f"/status/{token}")
        return token, status["status"] if ended else "not ended", self.events(token)

    def events(self, token):
        """As text: numbers stay as they are written."""
        with urllib.request.urlopen(f"{self.url}/executions/{token}/events", timeout=10) as answer:
            return answer.read().decode()


def configuration(folder, steps, more=""):
    """A configuration with a source, and a workflow of one step, for each of these."""
    text = ['[settings]\nprivate_hosts = ["127.0.0.1"]\n', more]
    for name, step in steps.items():
        text.append(f'[sources.{name}]\nverify = "none"\nworkflow = "{name}"\n')
        text.append(f'[[workflows.{name}.steps]]\nname = "act"\ntimeout = "10s"\n{step}\n')
    path = folder / "everhook.toml"
    path.write_text("\n".join(text))
    return path


@contextlib.contextmanager
def everhook(binary, folder, steps, *options, **variables):
    port = free_port()
    path = configuration(folder, steps)
    command = [binary, "serve", "--in-memory", "--listen", f"127.0.0.1:{port}", "--config", path]
    command += ["--data-dir", folder / "data", *options]
    with running(command, folder / "everhook.log", port, **variables):
        yield Everhook(port)


# ---------------------------------------------------------------------------------------------------------------
# The checks.


def client(url, service):
    return boto3.client(
        service, endpoint_url=url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )


def services(url):
    """Makes what the steps call; gives the URLs of the queues."""
    sqs, sns, events = client(url, "sqs"), client(url, "sns"), client(url, "events")
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("plain", "topic", "bus")}
    queues["a.fifo"] = sqs.create_queue(QueueName="a.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = "arn:aws:sqs:{}:{}:{}".format
    topic = sns.create_topic(Name="orders")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn(REGION, ACCOUNT, "topic"))
    events.create_event_bus(Name="shop")
    events.put_rule(Name="orders", EventBusName="shop", EventPattern=json.dumps({"source": ["everhook.shop"]}))
    events.put_targets(Rule="orders", EventBusName="shop", Targets=[{"Id": "1", "Arn": arn(REGION, ACCOUNT, "bus")}])
    client(url, "s3").create_bucket(Bucket="archive", CreateBucketConfiguration={"LocationConstraint": REGION})
    client(url, "secretsmanager").create_secret(Name="everhook/steps/ci", SecretString=f"whsec_{SIGNING_KEY}")
    configure = urllib.request.Request(
        f"{url}/moto-api/config", b'{"lambda": {"use_docker": false}}', {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(configure, timeout=10).close()
    result = urllib.request.Request(
        f"{url}/moto-api/static/lambda-simple/response",
        json.dumps({"results": ['{"resized": 1.10}'], "region": REGION}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(result, timeout=10).close()
    role = client(url, "iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    client(url, "lambda").create_function(
        FunctionName="resize", Role=role, Runtime="python3.13", Handler="a.b", Code={"ZipFile": b"zip"}
    )
    return queues, topic


SIGNING_KEY = base64.b64encode(secrets.token_bytes(24)).decode()


def messages(url, queue):
    sqs = client(url, "sqs")

    def look():
        return sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages", [])

    return until(3, look)


def what_is_sent_arrives(binary, folder, url, stub):
    queues, topic = services(url)
    steps = {
        "sqs": f'run = "sqs"\nqueue = "{queues["plain"]}"',
        "named": 'run = "sqs"\nqueue = "plain"\njq = ".who"',
        "fifo": 'run = "sqs"\nqueue = "a.fifo"\ngroup = \'order-\\(.order)\'',
        "once": 'run = "sqs"\nqueue = "a.fifo"\ngroup = "all"\ndeduplication = \'order-\\(.order)\'',
        "gone": 'run = "sqs"\nqueue = "nowhere"',
        "sns": f'run = "sns"\ntopic = "{topic}"\nsubject = \'Order \\(.order)\'',
        "bus": 'run = "eventbridge"\nbus = "shop"\nsource = "everhook.shop"\ndetail_type = "order"\njq = "{order}"',
        "s3": 'run = "s3"\nbucket = "archive"\nkey = \'orders/\\(.order).json\'',
        "nobucket": 'run = "s3"\nbucket = "nowhere"',
        "lambda": 'run = "lambda"\nfunction = "resize"',
        "sign": f'run = "http"\nurl = "{stub}/signed"\nsign = {{ secrets = ["secretsmanager:everhook/steps/ci"] }}',
    }
    with everhook(binary, folder, steps, AWS_ENDPOINT_URL=url, **AWS) as server:
        body = {"order": 7, "who": "Ann", "n": secrets.token_hex(4)}
        token, status, events = server.run("sqs", body)
        found = messages(url, queues["plain"])
        check("sqs: a message arrives", (status, len(found)) == ("completed", 1), f"{status} {found} {events}")
        if found:
            check("sqs: it is the body", json.loads(found[0]["Body"]) == body, found)
            key = found[0].get("MessageAttributes", {}).get("idempotency-key", {}).get("StringValue")
            check("sqs: with the idempotency key beside it", key == f"{token}:act", found)
            check("sqs: its id is the result", found[0]["MessageId"] in events, events)
            client(url, "sqs").delete_message(QueueUrl=queues["plain"], ReceiptHandle=found[0]["ReceiptHandle"])
        _, status, events = server.run("named", body)
        found = messages(url, queues["plain"])
        check("sqs: a queue may be named, and a text is sent as it is", [m["Body"] for m in found] == ["Ann"], f"{found} {events}")

        token, status, events = server.run("fifo", {**body, "a": 1})
        found = messages(url, queues["a.fifo"])
        place = [(m["Attributes"]["MessageGroupId"], m["Attributes"]["MessageDeduplicationId"]) for m in found]
        check("sqs: a FIFO queue gets group and deduplication", place == [("order-7", f"{token}:act")], f"{place} {events}")
        for message in found:
            client(url, "sqs").delete_message(QueueUrl=queues["a.fifo"], ReceiptHandle=message["ReceiptHandle"])
        statuses = [server.run("once", {**body, "b": n})[1] for n in range(2)]
        found = messages(url, queues["a.fifo"])
        check("sqs: of two messages with one deduplication the first counts", (statuses, len(found)) == (["completed"] * 2, 1), f"{statuses} {found}")
        _, status, events = server.run("gone", body)
        check("sqs: a queue that is not there fails for good", status == "failed" and "aws_missing" in events, events)

        token, status, events = server.run("sns", body)
        found = [json.loads(m["Body"]) for m in messages(url, queues["topic"])]
        check("sns: a message arrives at a subscription", (status, len(found)) == ("completed", 1), f"{status} {events}")
        if found:
            check("sns: it is the body", (json.loads(found[0]["Message"]), found[0]["Subject"]) == (body, "Order 7"), found)
            key = found[0]["MessageAttributes"]["idempotency-key"]["Value"]
            check("sns: with the idempotency key beside it", key == f"{token}:act", found)

        _, status, events = server.run("bus", body)
        found = [json.loads(m["Body"]) for m in messages(url, queues["bus"])]
        told = [(e["source"], e["detail-type"], e["detail"]) for e in found]
        check("eventbridge: a rule finds the event", told == [("everhook.shop", "order", {"order": 7})], f"{status} {found} {events}")

        token, status, events = server.run("s3", body)
        check("s3: the step completes", status == "completed" and "orders/7.json" in events, events)
        with contextlib.suppress(client(url, "s3").exceptions.NoSuchKey):
            found = client(url, "s3").get_object(Bucket="archive", Key="orders/7.json")
            check("s3: the object is the body", json.loads(found["Body"].read()) == body, found)
            told = (found["Metadata"].get("idempotency-key"), found["ContentType"])
            check("s3: with the idempotency key beside it", told == (f"{token}:act", "application/json"), told)
            check("s3: its etag is in the result", found["ETag"].strip('"') in events, events)
        _, status, events = server.run("nobucket", body)
        check("s3: a bucket that is not there fails for good", status == "failed" and "aws_missing" in events, events)

        _, status, events = server.run("lambda", body)
        check("lambda: the function's result is the step's", status == "completed" and "1.10" in events, f"{status} {events}")

        _, status, events = server.run("sign", body)
        calls = Stub.called("/signed")
        check("http: a secret that AWS keeps signs", (status, len(calls)) == ("completed", 1), f"{status} {events}")
        if calls:
            _, headers, sent = calls[0]
            headers = {name.lower(): value for name, value in headers.items()}
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + sent
            digest = hmac.new(base64.b64decode(SIGNING_KEY), signed, hashlib.sha256).digest()
            wanted = f"v1,{base64.b64encode(digest).decode()}"
            check("http: the signature is Standard Webhooks'", headers["webhook-signature"] == wanted, headers)


def what_fails_inside_a_success_fails(binary, folder, stub):
    retry = 'retry = { attempts = 2, backoff = "fixed", first = "10ms" }'
    steps = {
        "fails": f'run = "lambda"\nfunction = "fails"\n{retry}',
        "throttled": f'run = "lambda"\nfunction = "throttled"\n{retry}',
        "bus": 'run = "eventbridge"\nsource = "everhook"\ndetail_type = "order"',
    }
    endpoints = ("--endpoint-lambda", stub, "--endpoint-eventbridge", stub)
    with everhook(binary, folder, steps, *endpoints, **AWS) as server:
        token, status, events = server.run("fails", {"a": 1})
        calls = Stub.called("/functions/fails/")
        check("lambda: an error of the function is tried again", (status, len(calls)) == ("failed", 2), f"{status} {events}")
        check("lambda: and told without its message", "lambda_error" in events and "canary" not in events, events)
        headers = {name.lower(): value for name, value in calls[0][1].items()}
        context = json.loads(base64.b64decode(headers["x-amz-client-context"]))
        check("lambda: the function is told the idempotency key", context["custom"]["idempotency-key"] == f"{token}:act", context)

        began = time.monotonic()
        _, status, events = server.run("throttled", {"a": 1})
        waited = time.monotonic() - began
        calls = Stub.called("/functions/throttled/")
        check("lambda: a throttled call is made again", (status, len(calls)) == ("completed", 2) and "aws_throttled" in events, f"{status} {events}")
        check("lambda: as late as it asks for", waited >= 1, waited)

        _, status, events = server.run("bus", {"a": 1})
        told = "eventbridge_MalformedDetail" in events and "canary" not in events
        check("eventbridge: a failed entry in an answer of 200 is a failure", status == "failed" and told, f"{status} {events}")


def without_a_region_nothing_starts(binary, folder):
    path = configuration(folder, {"sqs": 'run = "sqs"\nqueue = "orders"'})
    began = time.monotonic()
    command = [binary, "serve", "--in-memory", "--listen", "127.0.0.1:0", "--config", path, "--data-dir", folder / "data"]
    # With the metadata service allowed: it must not be waited for.
    variables = environment()
    del variables["AWS_EC2_METADATA_DISABLED"]
    try:
        ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=10)
        told = ended.returncode != 0 and "set AWS_REGION" in ended.stderr
        check("without a region the server does not start, and says why", told, ended.stderr)
    except subprocess.TimeoutExpired:
        check("without a region the server does not start, and says why", False, f"{time.monotonic() - began} s")
    checked = subprocess.run([binary, "check", "--config", path], env=variables, capture_output=True, text=True, timeout=10)
    check("its configuration is right all the same", checked.returncode == 0, checked.stderr)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    stub.daemon_threads = True
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    stub_url = f"http://127.0.0.1:{stub.server_port}"
    with tempfile.TemporaryDirectory(prefix="everhook-moto-") as name:
        folder = pathlib.Path(name)
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        try:
            without_a_region_nothing_starts(binary, folder)
            what_fails_inside_a_success_fails(binary, folder, stub_url)
            with running(command, folder / "moto.log", port, AWS_DEFAULT_REGION=REGION):
                what_is_sent_arrives(binary, folder, f"http://127.0.0.1:{port}", stub_url)
        finally:
            if failed:
                for log in folder.glob("*.log"):
                    print(f"--- the end of {log.name}\n{log.read_text()[-3000:]}")
            print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
