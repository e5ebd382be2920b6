"""Deploys template.yaml into MiniStack, a stand-in for AWS on this machine, and sends webhooks through it.

    ministack.py [BINARIES]

It runs the functions' real x86-64 binaries under their roles, and refuses what a role does not allow:
so this shows that the template can be deployed, that its parts find one another, and that each role has enough.
That no role has too much is shown by assertions.py.

BINARIES has FUNCTION/bootstrap for each function, as `sam build` makes them (the default is .aws-sam/build),
or the five binaries themselves (target/debug). The last line says how many checks passed.

What MiniStack does not do as AWS does, and this therefore does not show: retries, bisecting, partial failures
and destinations of the event source mapping; expiry, encryption, recovery and policies of tables; throttling.
It has no /opt for such functions, so that they read the configuration where it stands, and no alarms over
several metrics, so that these are left out, and the dashboard that shows them.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from translate import uploaded

REGION = "eu-central-1"
STACK = "everhook"
BINARIES = {
    "IngestFunction": "ingest",
    "ProcessorFunction": "processor",
    "ProjectorFunction": "projector",
    "StatusFunction": "status",
    "SweepFunction": "sweep",
}
ROOT = pathlib.Path(__file__).resolve().parents[2]

passed, failed = 0, 0


def check(name, holds, otherwise=""):
    global passed, failed
    if holds:
        passed += 1
        print(f"ok      {name}", flush=True)
    else:
        failed += 1
        print(f"FAILED  {name}: {otherwise}", flush=True)
    return holds


def until(seconds, look):
    """What `look` gives as soon as it is something, or what it gave last."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.2)


# ---------------------------------------------------------------------------------------------------------------
# The stand-in for AWS.


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def ministack(folder):
    """Its address. It ends with whatever it started, however this ends."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "EVERHOOK_"))}
    environment |= {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "LAMBDA_EXECUTOR": "local",
        # Policies are enforced.
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        # The functions inherit these two: without the first they would ask the real AWS,
        # and the client for S3 refuses plain HTTP without the second.
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "TMPDIR": str(folder),
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
    }
    with open(folder / "ministack.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            if not until(30, lambda: server.poll() is not None or answers(port)) or server.poll() is not None:
                raise SystemExit(f"MiniStack did not start:\n{(folder / 'ministack.log').read_text()[-2000:]}")
            yield url, port
        finally:
            for ending in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, ending)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(5)


def answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def client(url, service, key="test", secret="test"):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )


# ---------------------------------------------------------------------------------------------------------------
# The deployment.


def binary(folder, function):
    name = BINARIES[function]
    for candidate in (folder / function / "bootstrap", folder / name / "bootstrap", folder / name):
        if candidate.is_file():
            return candidate
    raise SystemExit(f"{folder} has no {name}: build it first")


def packaged(path, folder):
    """The binary as the zip of a function."""
    stripped = folder / "bootstrap"
    shutil.copyfile(path, stripped)
    if shutil.which("strip"):
        # A debug build has ten times the size without.
        subprocess.run(["strip", stripped], check=False)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, stripped.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return file.getvalue()


def configuration():
    """The folder config/ as the zip of a layer."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted((ROOT / "config").rglob("*")):
            archive.write(path, path.relative_to(ROOT / "config"))
    return file.getvalue()


def deploy(url, folder, binaries):
    """Creates the stack; gives its outputs and its resources' names."""
    s3 = client(url, "s3")
    # The bucket that translate.uploaded names, with an object for each folder that the template names.
    s3.create_bucket(Bucket="packaged", CreateBucketConfiguration={"LocationConstraint": REGION})
    for function in BINARIES:
        s3.put_object(Bucket="packaged", Key=function, Body=packaged(binary(binaries, function), folder))
    s3.put_object(Bucket="packaged", Key="ConfigLayer", Body=configuration())

    template = uploaded(yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8")))
    for function in BINARIES:
        variables = template["Resources"][function]["Properties"]["Environment"]["Variables"]
        if "EVERHOOK_CONFIG" in variables:
            variables["EVERHOOK_CONFIG"] = str(ROOT / "config/everhook.toml")
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] == "AWS::CloudWatch::Dashboard" or "Metrics" in resource["Properties"]:
            del template["Resources"][name]

    cloudformation = client(url, "cloudformation")
    s3.put_object(Bucket="packaged", Key="template", Body=json.dumps(template))
    cloudformation.create_stack(
        StackName=STACK,
        TemplateURL=f"{url}/packaged/template",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": "Architecture", "ParameterValue": "x86_64"}],
    )

    def settled():
        stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    stack = until(60, settled) or {"StackStatus": "in progress"}
    events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
    reasons = [e.get("ResourceStatusReason") for e in events if "FAILED" in e["ResourceStatus"]]
    if not check("the template can be deployed", stack["StackStatus"] == "CREATE_COMPLETE", f"{stack['StackStatus']} {reasons}"):
        raise SystemExit(1)
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    resources = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    return outputs, {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}


# ---------------------------------------------------------------------------------------------------------------
# Whoever calls.


class Api:
    """The HTTP API, as a sender or an operator sees it."""

    def __init__(self, port, api, secret):
        self.port = port
        self.host = f"{api}.execute-api.localhost:{port}"
        self.secret = secret

    def call(self, method, path, body=None, headers=None, signer=None):
        """Status and body of an answer; with `signer`, (key, secret), the request is signed for AWS."""
        headers = {"Host": self.host, **(headers or {})}
        if signer:
            request = AWSRequest(method, f"http://{self.host}{path}", data=body, headers=dict(headers))
            SigV4Auth(Credentials(*signer), "execute-api", REGION).add_auth(request)
            headers = dict(request.headers.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def webhook(self, body, secret=None):
        signature = hmac.new((secret or self.secret).encode(), body, hashlib.sha256).hexdigest()
        return self.call("POST", "/webhook", body, {"Content-Type": "application/json", "X-Webhook-Signature": signature})

    def status(self, token):
        status, body = self.call("GET", f"/status/{token}")
        return json.loads(body).get("status") if status == 200 else f"HTTP {status}"

    def completed(self, token, seconds):
        until(seconds, lambda: self.status(token) == "completed")
        return self.status(token)


def user(url, name, actions, resource):
    """A user who may do only this; gives its (key, secret)."""
    iam = client(url, "iam")
    iam.create_user(UserName=name)
    if actions:
        statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@contextlib.contextmanager
def without(url, role, sid):
    """While this lasts, the role lacks the statement of this name."""
    iam = client(url, "iam")
    name = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    rest = [statement for statement in whole["Statement"] if statement["Sid"] != sid]
    assert len(rest) == len(whole["Statement"]) - 1, f"{role} has no statement {sid}"
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps({**whole, "Statement": rest}))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))


# ---------------------------------------------------------------------------------------------------------------
# The checks.


def webhooks_come_to_an_end(api):
    body = json.dumps({"type": "push", "source": "test", "n": secrets.token_hex(8)}).encode()
    status, answer = api.call("POST", "/webhook", body, {"Content-Type": "application/json"})
    check("a webhook without signature is refused", status == 401, f"{status} {answer!r}")
    status, answer = api.webhook(body, "not the secret")
    check("a webhook with another signature is refused", status == 401, f"{status} {answer!r}")

    status, answer = api.webhook(body)
    if not check("a signed webhook is accepted", status == 202, f"{status} {answer!r}"):
        raise SystemExit(1)
    token = json.loads(answer)["executionToken"]
    end = api.completed(token, 20)
    check("it comes to its end", end == "completed", end)
    status, answer = api.webhook(body)
    again = json.loads(answer)
    check("a redelivery is known", (again["executionToken"], again["duplicate"]) == (token, True), answer)
    return token


def noise():
    """A webhook that is too large for an event and does not compress."""
    return json.dumps({"noise": base64.b64encode(secrets.token_bytes(60_000)).decode()}).encode()


def large_bodies_are_kept_exactly(url, api, names, operator):
    status, answer = api.webhook(noise())
    check("the bucket refuses what comes without TLS, and so ingest does", status == 503, f"{status} {answer!r}")
    # There is no TLS here.
    client(url, "s3").delete_bucket_policy(Bucket=names["PayloadBucket"])
    body = noise()
    status, answer = api.webhook(body)
    token = json.loads(answer).get("executionToken")
    end = api.completed(token, 20)
    check("a body that goes into the bucket comes to its end", end == "completed", f"{status} {end}")
    status, answer = api.call("GET", f"/executions/{token}/body", signer=operator)
    check("and comes out of it byte for byte", (status, answer) == (200, body), f"{status} {len(answer)} bytes")


def operators_alone_see_executions(api, token, operator, stranger):
    status, _ = api.call("GET", "/executions")
    check("a stranger without a name may not list executions", status == 403, status)
    status, _ = api.call("GET", "/executions", signer=stranger)
    check("a user without the permission may not either", status == 403, status)
    status, answer = api.call("GET", "/executions", signer=operator)
    check("an operator may", status == 200 and token in answer.decode(), f"{status} {answer[:200]!r}")
    status, answer = api.call("GET", f"/executions/{token}/events", signer=operator)
    check("an operator sees the events", status == 200 and b"WebhookReceived" in answer, f"{status} {answer[:200]!r}")
    status, _ = api.call("GET", f"/executions/{token}/events")
    check("a stranger does not", status == 403, status)


def the_sweep_brings_back_what_was_lost(url, api, names):
    """Without the processor's mapping nothing wakes it but the sweep's audit, which its schedule starts."""
    functions = client(url, "lambda")
    mapping = names["ProcessorFunctionJournal"]
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    time.sleep(2)
    status, answer = api.webhook(json.dumps({"lost": secrets.token_hex(8)}).encode())
    token = json.loads(answer)["executionToken"]
    time.sleep(3)
    before = api.status(token)
    check("without its record an execution waits", before not in ("completed", "failed"), before)
    # The audit looks at it after 20 seconds, in the next minute, and sets a timer that fires at once.
    end = api.completed(token, 150)
    check("the sweep brings it to its end", end == "completed", end)
    functions.update_event_source_mapping(UUID=mapping, Enabled=True)


def every_role_is_enforced(url, api, names, token):
    with without(url, names["IngestRole"], "Journal"):
        body = json.dumps({"refused": secrets.token_hex(8)}).encode()
        status, answer = api.webhook(body)
        check("ingest without its permission on the journal records nothing", status == 503, f"{status} {answer!r}")
    status, answer = api.webhook(body)
    end = api.completed(json.loads(answer).get("executionToken"), 20)
    check("with it again, the same webhook comes to its end", (status, end) == (202, "completed"), f"{status} {end}")
    with without(url, names["IngestRole"], "Executions"):
        status, answer = api.webhook(json.dumps({"refused": secrets.token_hex(8)}).encode())
        # A body without an id is known by itself: nothing beside event 1 is written for it.
        check("a webhook without an id needs nothing of the executions table", status == 202, f"{status} {answer!r}")
    with without(url, names["IngestRole"], "Payloads"):
        status, answer = api.webhook(noise())
        check("ingest without its permission on the bucket records nothing", status == 503, f"{status} {answer!r}")
    with without(url, names["StatusRole"], "Executions"):
        end = api.status(token)
        check("the status function without its permission shows nothing", end == "HTTP 503", end)
    with without(url, names["ProcessorRole"], "Journal"), without(url, names["ProjectorRole"], "Journal"):
        status, answer = api.webhook(json.dumps({"stuck": secrets.token_hex(8)}).encode())
        stuck = json.loads(answer)["executionToken"]
        end = api.completed(stuck, 5)
        check("without the processor's permission an execution waits", status == 202 and end != "completed", end)


def main():
    binaries = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".aws-sam/build").resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="everhook-ministack-"))
    try:
        with ministack(folder) as (url, port):
            outputs, names = deploy(url, folder, binaries)
            # As the output ReadDefaultSecret says.
            secret = client(url, "secretsmanager").get_secret_value(SecretId=f"{STACK}/default")["SecretString"]
            check("the stack made a secret", len(secret) == 64, len(secret))
            api = Api(port, names["HttpApi"], secret)
            operator = user(url, "operator", "execute-api:Invoke", outputs["OperatorResource"])
            stranger = user(url, "stranger", [], "")

            token = webhooks_come_to_an_end(api)
            operators_alone_see_executions(api, token, operator, stranger)
            large_bodies_are_kept_exactly(url, api, names, operator)
            every_role_is_enforced(url, api, names, token)
            the_sweep_brings_back_what_was_lost(url, api, names)
    finally:
        if failed and (folder / "ministack.log").exists():
            shutil.copyfile(folder / "ministack.log", ROOT / "target/ministack.log")
            print("MiniStack's log, and the functions', is target/ministack.log")
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
