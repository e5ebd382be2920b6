"""What must be true of the translated template and no linter knows.

    assertions.py TRANSLATED [ROOT]

Each function that begins with `check_` is one assertion: it yields what is wrong in words.
"""

import json
import pathlib
import re
import sys

# ---------------------------------------------------------------------------------------------------------------
# What is meant to be: written a second time here, so that one slip of the pen is not enough.

# Role -> every (resource, actions, condition) it may have. A permission that is not here is a failure,
# and so is one that is here and not in the template.
TRACES = ("*", "xray:PutTelemetryRecords xray:PutTraceSegments", "")
OWN = "s3:ResourceAccount=AWS::AccountId"
KEPT = "keys quarantine#*"
PERMISSIONS = {
    "IngestRole": [
        ("JournalTable.Arn", "dynamodb:GetItem dynamodb:PutItem dynamodb:Query", ""),
        ("ExecutionsTable.Arn", "dynamodb:GetItem dynamodb:PutItem dynamodb:UpdateItem", ""),
        ("ExecutionsTable.Arn", "dynamodb:BatchGetItem dynamodb:DeleteItem", KEPT),
        ("TimersTable.Arn", "dynamodb:PutItem", ""),
        ("ProcessorFunction.Arn", "lambda:InvokeFunction", ""),
        ("${PayloadBucket.Arn}/payloads/*", "s3:PutObject", ""),
        (
            "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${AWS::StackName}/*",
            "secretsmanager:GetSecretValue",
            "",
        ),
        (
            "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${AWS::StackName}/*",
            "ssm:GetParameter",
            "",
        ),
        ("KmsKeyArn", "kms:Decrypt kms:GenerateDataKey", "via dynamodb s3 secretsmanager ssm"),
        ("IngestLogs.Arn", "logs:CreateLogStream logs:PutLogEvents", ""),
        TRACES,
    ],
    "ProcessorRole": [
        ("JournalTable.StreamArn", "dynamodb:DescribeStream dynamodb:GetRecords dynamodb:GetShardIterator", ""),
        ("${JournalTable.Arn}/stream/*", "dynamodb:ListStreams", ""),
        ("JournalTable.Arn", "dynamodb:GetItem dynamodb:PutItem dynamodb:Query", ""),
        ("ExecutionsTable.Arn", "dynamodb:GetItem dynamodb:UpdateItem", ""),
        ("TimersTable.Arn", "dynamodb:DeleteItem dynamodb:GetItem dynamodb:PutItem dynamodb:UpdateItem", ""),
        ("TimersQueue.Arn", "sqs:DeleteMessage sqs:GetQueueAttributes sqs:ReceiveMessage sqs:SendMessage", ""),
        ("${PayloadBucket.Arn}/payloads/*", "s3:GetObject s3:PutObject", ""),
        ("PayloadBucket.Arn", "s3:ListBucket", ""),
        ("${FailedBatchesBucket.Arn}/aws/lambda/*", "s3:PutObject", OWN),
        ("FailedBatchesBucket.Arn", "s3:ListBucket", OWN),
        (
            "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${AWS::StackName}/steps/*",
            "secretsmanager:GetSecretValue",
            "",
        ),
        (
            "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${AWS::StackName}/steps/*",
            "ssm:GetParameter",
            "",
        ),
        (
            "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-ProcessorFunction-*",
            "lambda:InvokeFunction",
            "",
        ),
        ("StepFunctionArns", "lambda:InvokeFunction", ""),
        ("StepQueueArns", "sqs:GetQueueUrl sqs:SendMessage", ""),
        ("StepTopicArns", "sns:Publish", ""),
        ("StepBusArns", "events:PutEvents", ""),
        ("StepObjectArns", "s3:PutObject", ""),
        ("KmsKeyArn", "kms:Decrypt kms:GenerateDataKey", "via dynamodb s3 secretsmanager ssm"),
        ("ProcessorLogs.Arn", "logs:CreateLogStream logs:PutLogEvents", ""),
        TRACES,
    ],
    "ProjectorRole": [
        ("JournalTable.StreamArn", "dynamodb:DescribeStream dynamodb:GetRecords dynamodb:GetShardIterator", ""),
        ("${JournalTable.Arn}/stream/*", "dynamodb:ListStreams", ""),
        ("JournalTable.Arn", "dynamodb:Query", ""),
        ("ExecutionsTable.Arn", "dynamodb:BatchGetItem dynamodb:UpdateItem", ""),
        ("${FailedBatchesBucket.Arn}/aws/lambda/*", "s3:PutObject", OWN),
        ("FailedBatchesBucket.Arn", "s3:ListBucket", OWN),
        ("KmsKeyArn", "kms:Decrypt kms:GenerateDataKey", "via dynamodb s3"),
        ("ProjectorLogs.Arn", "logs:CreateLogStream logs:PutLogEvents", ""),
        TRACES,
    ],
    "StatusRole": [
        ("JournalTable.Arn", "dynamodb:GetItem dynamodb:Query", ""),
        ("ExecutionsTable.Arn", "dynamodb:BatchGetItem dynamodb:GetItem", ""),
        ("${JournalTable.Arn}/index/received", "dynamodb:Query", ""),
        ("${ExecutionsTable.Arn}/index/recent", "dynamodb:Query", ""),
        ("${ExecutionsTable.Arn}/index/attention", "dynamodb:Query", ""),
        ("TimersTable.Arn", "dynamodb:Query", ""),
        ("${PayloadBucket.Arn}/payloads/*", "s3:GetObject", ""),
        ("PayloadBucket.Arn", "s3:ListBucket", ""),
        ("KmsKeyArn", "kms:Decrypt", "via dynamodb s3"),
        ("StatusLogs.Arn", "logs:CreateLogStream logs:PutLogEvents", ""),
        TRACES,
    ],
    "SweepRole": [
        ("TimersTable.Arn", "dynamodb:GetItem dynamodb:PutItem dynamodb:Query dynamodb:UpdateItem", ""),
        ("JournalTable.Arn", "dynamodb:GetItem dynamodb:Query", ""),
        ("${JournalTable.Arn}/index/received", "dynamodb:Query", ""),
        ("${ExecutionsTable.Arn}/index/due", "dynamodb:Query", ""),
        ("ExecutionsTable.Arn", "dynamodb:BatchGetItem dynamodb:GetItem dynamodb:UpdateItem", ""),
        ("TimersQueue.Arn", "sqs:SendMessage", ""),
        ("ProcessorFunction.Arn", "lambda:InvokeFunction", ""),
        ("KmsKeyArn", "kms:Decrypt", "via dynamodb"),
        ("SweepLogs.Arn", "logs:CreateLogStream logs:PutLogEvents", ""),
        TRACES,
    ],
    "SweepScheduleRole": [("SweepFunction.Arn", "lambda:InvokeFunction", "")],
}
# What a user lists -> the condition without which there is no permission.
LISTED = {
    "KmsKeyArn": "HasKey",
    "StepFunctionArns": "HasStepFunctions",
    "StepQueueArns": "HasStepQueues",
    "StepTopicArns": "HasStepTopics",
    "StepBusArns": "HasStepBuses",
    "StepObjectArns": "HasStepObjects",
}
TRUSTED = {role: "lambda.amazonaws.com" for role in PERMISSIONS} | {"SweepScheduleRole": "scheduler.amazonaws.com"}

TABLES = {
    "EVERHOOK_JOURNAL_TABLE": "JournalTable",
    "EVERHOOK_EXECUTIONS_TABLE": "ExecutionsTable",
    "EVERHOOK_SHARDS": "Shards",
}
TIMERS = {"EVERHOOK_TIMERS_TABLE": "TimersTable"}
QUEUE = {"EVERHOOK_TIMERS_QUEUE": "TimersQueue"}
PROCESSOR = {"EVERHOOK_PROCESSOR_FUNCTION": "ProcessorFunction"}
USUAL = {"EVERHOOK_DEPLOYMENT": "AWS::StackName", "RUST_LOG": "LogLevel"}
CONFIG = {"EVERHOOK_CONFIG": "/opt/everhook.toml"}
PAYLOADS = {"EVERHOOK_PAYLOADS": "s3://${PayloadBucket}"}
# Function -> its binary, its environment, whether it reads the configuration.
FUNCTIONS = {
    "IngestFunction": (
        "ingest",
        USUAL
        | TABLES
        | CONFIG
        | PAYLOADS
        | TIMERS
        | PROCESSOR
        | {
            "EVERHOOK_WAKE": {"Fn::If": ["WakesDirectly", "invoke", "stream"]},
            "EVERHOOK_GENERATED_SECRETS": "secretsmanager:${AWS::StackName}",
            "EVERHOOK_RETENTION": "${RetentionDays}d",
        },
        True,
    ),
    "ProcessorFunction": (
        "processor",
        USUAL
        | TABLES
        | CONFIG
        | PAYLOADS
        | TIMERS
        | QUEUE
        | {
            "EVERHOOK_GENERATED_SECRETS": "secretsmanager:${AWS::StackName}/steps",
            "EVERHOOK_PUBLIC_URL": "https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}",
        },
        True,
    ),
    "ProjectorFunction": ("projector", USUAL | TABLES, False),
    "StatusFunction": ("status", USUAL | TABLES | TIMERS | CONFIG | PAYLOADS, True),
    "SweepFunction": ("sweep", USUAL | TABLES | TIMERS | QUEUE | PROCESSOR, False),
}

ROUTES = {
    "POST /webhook": ("NONE", "IngestFunction"),
    "POST /webhook/{source}": ("NONE", "IngestFunction"),
    "GET /webhook/{source}": ("NONE", "IngestFunction"),
    "HEAD /webhook/{source}": ("NONE", "IngestFunction"),
    "OPTIONS /webhook/{source}": ("NONE", "IngestFunction"),
    "POST /callbacks/{token}": ("NONE", "IngestFunction"),
    "POST /callbacks/{token}/{action}": ("NONE", "IngestFunction"),
    "GET /status/{executionToken}": ("NONE", "StatusFunction"),
    "GET /executions": ("AWS_IAM", "StatusFunction"),
    "GET /executions/{id}": ("AWS_IAM", "StatusFunction"),
    "GET /executions/{id}/{part}": ("AWS_IAM", "StatusFunction"),
    "POST /executions/{id}/{action}": ("AWS_IAM", "IngestFunction"),
    "GET /workflows": ("AWS_IAM", "StatusFunction"),
    "GET /sources/{source}/quarantine": ("AWS_IAM", "IngestFunction"),
    "POST /sources/{source}/quarantine/clear": ("AWS_IAM", "IngestFunction"),
    "POST /sources/{source}/reverify": ("AWS_IAM", "IngestFunction"),
}

# Mapping of the stream -> (batch, window, at most so many batches of a shard at once).
MAPPINGS = {"ProcessorFunction": (25, 0, 10), "ProjectorFunction": (100, 1, 2)}
# Mapping of the stream -> what its filter lets pass: every append, or the first ones.
APPENDS = {"eventName": ["INSERT", "MODIFY"]}
FILTERS = {
    "ProcessorFunction": APPENDS | {"dynamodb": {"Keys": {"sequence": {"N": ["1"]}}}},
    "ProjectorFunction": APPENDS,
}

# Names that an access log may have. Paths, queries and headers hold tokens or what a sender chose.
LOGGABLE = {
    "$context.requestId",
    "$context.requestTime",
    "$context.routeKey",
    "$context.status",
    "$context.responseLatency",
    "$context.integrationLatency",
    "$context.identity.sourceIp",
    "$context.error.responseType",
    "$context.integrationErrorMessage",
}

# Metric -> its further dimension and that one's values. journal/src/telemetry.rs writes these.
OURS = {
    "Accepted": {},
    "Duplicate": {},
    "DuplicateBodies": {},
    "MismatchedBodies": {},
    "RepeatedBodies": {},
    "Rejected": {
        "Reason": {"unverified", "malformed", "too_large", "encoded", "not_found", "method", "unavailable"}
    },
    "Quarantined": {"Outcome": {"kept", "too_large", "too_fast", "full", "unavailable"}},
    "Released": {},
    "StepDuration": {"Outcome": {"completed", "retried", "failed"}},
    "ExecutionDuration": {"Outcome": {"completed", "failed"}},
    "Stalled": {},
    "DueAge": {},
    "Due": {},
    "ShardsFailed": {},
    "AuditAge": {},
    "AuditTimers": {},
    "AuditViews": {},
    "Unreadable": {},
}
# Namespace -> metric -> the sets of dimensions that AWS publishes it with, as far as they are used here.
BY_FUNCTION, BY_MAPPING, BY_API = {"FunctionName"}, {"EventSourceMappingUUID"}, {"ApiId"}
BY_TABLE, BY_INDEX = {"TableName"}, {"TableName", "GlobalSecondaryIndexName"}
AWS_METRICS = {
    "AWS/Lambda": {
        **{
            name: [BY_FUNCTION]
            for name in ("Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions", "IteratorAge")
        },
        **{
            name: [BY_MAPPING]
            for name in (
                "PolledEventCount",
                "FilteredOutEventCount",
                "InvokedEventCount",
                "FailedInvokeEventCount",
                "DroppedEventCount",
                "OnFailureDestinationDeliveredEventCount",
            )
        },
    },
    "AWS/ApiGateway": {name: [BY_API] for name in ("Count", "Latency", "IntegrationLatency", "4xx", "5xx")},
    "AWS/DynamoDB": {
        name: [BY_TABLE, BY_INDEX]
        for name in (
            "ReadThrottleEvents",
            "WriteThrottleEvents",
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
        )
    },
    "AWS/Logs": {"IncomingBytes": [{"LogGroupName"}]},
}
# What a dimension's value must be the name of.
DIMENSION_OF = {
    "FunctionName": "AWS::Lambda::Function",
    "EventSourceMappingUUID": "AWS::Lambda::EventSourceMapping",
    "ApiId": "AWS::ApiGatewayV2::Api",
    "TableName": "AWS::DynamoDB::Table",
    "LogGroupName": "AWS::Logs::LogGroup",
}
# What must raise an alarm: each of these metrics, with these dimensions.
ALARMED = [
    ("DueAge", {}, "breaching"),
    ("DueAge", {}, "notBreaching"),
    ("AuditAge", {}, "breaching"),
    ("Stalled", {}, "notBreaching"),
    ("Unreadable", {}, "notBreaching"),
    ("ExecutionDuration", {"Outcome": "failed"}, "notBreaching"),
    ("Rejected", {"Reason": "unverified"}, "notBreaching"),
    ("Rejected", {"Reason": "unavailable"}, "notBreaching"),
    ("5xx", {"ApiId": "HttpApi"}, "notBreaching"),
    *[("IteratorAge", {"FunctionName": name}, "notBreaching") for name in MAPPINGS],
    *[
        (metric, {"EventSourceMappingUUID": f"{name}Journal"}, "notBreaching")
        for metric in ("DroppedEventCount", "FailedInvokeEventCount", "OnFailureDestinationDeliveredEventCount")
        for name in MAPPINGS
    ],
    *[(metric, {"FunctionName": name}, "notBreaching") for metric in ("Errors", "Throttles") for name in FUNCTIONS],
    *[
        (metric, {"TableName": table}, "notBreaching")
        for metric in ("ReadThrottleEvents", "WriteThrottleEvents")
        for table in ("JournalTable", "ExecutionsTable", "TimersTable")
    ],
    *[
        ("WriteThrottleEvents", {"TableName": table, "GlobalSecondaryIndexName": index}, "notBreaching")
        for table, index in (("JournalTable", "received"), ("ExecutionsTable", "attention"))
    ],
    ("ReadThrottleEvents", {"TableName": "JournalTable", "GlobalSecondaryIndexName": "received"}, "notBreaching"),
]

# ---------------------------------------------------------------------------------------------------------------
# Reading a template.


class Template:
    """A translated template, and the repository it belongs to."""

    def __init__(self, document, root):
        self.document = document
        self.root = root

    def of(self, kind):
        """The properties of all resources of one kind, by name."""
        resources = self.document["Resources"].items()
        return {name: r.get("Properties", {}) for name, r in resources if r["Type"] == kind}

    def resource(self, name):
        return self.document["Resources"].get(name, {})


def plain(value):
    """References as text: `X` for !Ref X, `X.Arn` for !GetAtt X.Arn, and the text of a !Sub."""
    match value:
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::GetAtt": text} | {"Fn::Sub": text}:
            return text
    return value


def listed(value):
    return value if isinstance(value, list) else [value]


def told(condition):
    """A statement's condition in one line."""
    match condition:
        case None:
            return ""
        case {"StringEquals": {"kms:ViaService": services}} if len(condition) == 1:
            names = [re.fullmatch(r"(\w+)\.\$\{AWS::Region\}\.\$\{AWS::URLSuffix\}", plain(s)) for s in listed(services)]
            return "via " + " ".join(name[1] for name in names) if all(names) else json.dumps(condition)
        case {"StringEquals": {"s3:ResourceAccount": account}} if len(condition) == 1:
            return f"s3:ResourceAccount={plain(account)}"
        case {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys}} if len(condition) == 1:
            return "keys " + " ".join(listed(keys))
    return json.dumps(condition)


def statements(role):
    """Every statement of a role, and the name of the condition it hangs on, if any."""
    for policy in role.get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            if "Fn::If" in statement:
                condition, then, _ = statement["Fn::If"]
                yield then, condition
            else:
                yield statement, None


def metrics_of(alarm):
    """(namespace, metric, dimensions) of everything an alarm looks at."""
    singles = [alarm] if "MetricName" in alarm else [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
    for metric in singles:
        dimensions = {d["Name"]: plain(d["Value"]) for d in metric.get("Dimensions", [])}
        yield metric["Namespace"], metric["MetricName"], dimensions


def unknown_metric(t, namespace, name, dimensions):
    """Why no such metric is ever written, or None."""
    if namespace == "Everhook":
        if name not in OURS:
            return f"no function writes {name}"
        further = {key: value for key, value in dimensions.items() if key != "Deployment"}
        if dimensions.get("Deployment") != "AWS::StackName":
            return f"{name} has the dimension Deployment"
        if set(further) != set(OURS[name]):
            return f"{name} has the dimensions {set(OURS[name]) | {'Deployment'}}, not {set(dimensions)}"
        wrong = [value for key, value in further.items() if value not in OURS[name][key]]
        return f"{name} is never {wrong[0]}" if wrong else None
    if set(dimensions) not in AWS_METRICS.get(namespace, {}).get(name, []):
        return f"{namespace} has no {name} by {sorted(dimensions)}"
    for key, value in dimensions.items():
        if key in DIMENSION_OF and t.resource(value).get("Type") != DIMENSION_OF[key]:
            return f"{name}: {value} is no {DIMENSION_OF[key]}"
    return None


# ---------------------------------------------------------------------------------------------------------------
# The assertions.


def of_stream(t):
    """The mappings of the journal's stream, by name."""
    mappings = t.of("AWS::Lambda::EventSourceMapping")
    return {name: m for name, m in mappings.items() if plain(m["EventSourceArn"]) != "TimersQueue.Arn"}


def check_every_mapping_ends_retries_and_keeps_what_failed(t):
    mappings = of_stream(t)
    if sorted(plain(m["FunctionName"]) for m in mappings.values()) != sorted(MAPPINGS):
        yield f"the mappings are of {[plain(m['FunctionName']) for m in mappings.values()]}"
    for name, mapping in mappings.items():
        batch, window, parallel = MAPPINGS.get(plain(mapping["FunctionName"]), (0, 0, 0))
        wanted = {
            "EventSourceArn": "JournalTable.StreamArn",
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": batch,
            "MaximumBatchingWindowInSeconds": window,
            "ParallelizationFactor": parallel,
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": 4,
            "MaximumRecordAgeInSeconds": 3600,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "MetricsConfig": {"Metrics": ["EventCount"]},
        }
        for key, value in wanted.items():
            if plain(mapping.get(key)) != value:
                yield f"{name}: {key} is {mapping.get(key)}, not {value}"
        # A !Ref of a bucket is its name, which Lambda takes for an ARN only when it is deployed.
        destination = plain(mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        if destination != "FailedBatchesBucket.Arn":
            yield f"{name}: what failed goes to {destination}, which is not the ARN of the bucket"


def check_messages_for_timers_wake_the_processor(t):
    mappings = t.of("AWS::Lambda::EventSourceMapping")
    found = [m for m in mappings.values() if plain(m["EventSourceArn"]) == "TimersQueue.Arn"]
    wanted = {
        "EventSourceArn": {"Fn::GetAtt": ["TimersQueue", "Arn"]},
        "FunctionName": {"Ref": "ProcessorFunction"},
        "BatchSize": 10,
        "ScalingConfig": {"MaximumConcurrency": 50},
    }
    if found != [wanted]:
        yield f"the queue's mapping is {found}"
    if set(t.of("AWS::SQS::Queue")) != {"TimersQueue"}:
        yield f"the queues are {sorted(t.of('AWS::SQS::Queue'))}"
    queue = t.resource("TimersQueue").get("Properties", {})
    timeout = t.of("AWS::Lambda::Function")["ProcessorFunction"]["Timeout"]
    # Lambda asks for six times the function's timeout. A message may wait 900 seconds until it is due.
    if queue.get("VisibilityTimeout") != 6 * timeout or queue.get("MessageRetentionPeriod") != 3600:
        yield f"messages come again or go at the wrong time: {queue}"
    if queue.get("SqsManagedSseEnabled") is not True or "RedrivePolicy" in queue or "FifoQueue" in queue:
        yield f"the queue is {queue}"
    if t.of("AWS::SQS::QueuePolicy"):
        yield "the queue has a policy of its own"


def check_filters_are_patterns_that_let_every_append_pass(t):
    for name, mapping in of_stream(t).items():
        filters = mapping.get("FilterCriteria", {}).get("Filters", [])
        if len(filters) != 1:
            yield f"{name} has {len(filters)} filters"
        for each in filters:
            try:
                pattern = json.loads(each["Pattern"])
            except ValueError as error:
                yield f"{name}: the pattern is no JSON: {error}"
                continue
            if pattern != FILTERS.get(plain(mapping["FunctionName"])):
                yield f"{name}: the pattern is {pattern}"


def check_every_role_may_do_exactly_what_is_listed(t):
    roles = t.of("AWS::IAM::Role")
    if set(roles) != set(PERMISSIONS):
        yield f"the roles are {sorted(roles)}"
    for name, role in roles.items():
        found = set()
        for statement, condition in statements(role):
            if statement["Effect"] != "Allow" or not {"Effect", "Action", "Resource", "Sid"} >= set(statement) - {"Condition"}:
                yield f"{name}: {statement.get('Sid')} is no plain permission"
            actions = " ".join(sorted(listed(statement["Action"])))
            for resource in listed(statement["Resource"]):
                found.add((plain(resource), actions, told(statement.get("Condition"))))
            resource = plain(statement["Resource"])
            if condition != (LISTED.get(resource) if isinstance(resource, str) else None):
                yield f"{name}: {statement.get('Sid')} hangs on {condition}"
        wanted = set(PERMISSIONS.get(name, []))
        for extra in sorted(found - wanted):
            yield f"{name} may do what is not listed: {extra}"
        for missing in sorted(wanted - found):
            yield f"{name} lacks {missing}"


def check_steps_may_do_nothing_unless_it_is_listed(t):
    for parameter, condition in LISTED.items():
        if t.document["Parameters"].get(parameter, {}).get("Default") != "":
            yield f"{parameter} is not empty by default"
        if parameter != "KmsKeyArn":
            wanted = {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": parameter}]}, ""]}]}
            if t.document["Conditions"].get(condition) != wanted:
                yield f"{condition} does not ask whether {parameter} is empty"


def check_roles_are_the_only_permissions_and_trust_one_service(t):
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::RolePolicy"):
        for name in t.of(kind):
            yield f"{name} is an {kind}"
    for name, role in t.of("AWS::IAM::Role").items():
        if role.get("ManagedPolicyArns"):
            yield f"{name} has managed policies"
        trust = role["AssumeRolePolicyDocument"]["Statement"]
        if [s["Principal"] for s in trust] != [{"Service": TRUSTED.get(name)}] or trust[0]["Action"] != "sts:AssumeRole":
            yield f"{name} trusts {trust}"


def check_nothing_is_allowed_on_everything_but_traces(t):
    for name, role in t.of("AWS::IAM::Role").items():
        for statement, _ in statements(role):
            for action in listed(statement["Action"]):
                if "*" in action:
                    yield f"{name} may {action}"
                if "*" in listed(statement["Resource"]) and not action.startswith("xray:Put"):
                    yield f"{name} may {action} everywhere"


def check_the_journal_is_only_added_to(t):
    """Says again what the list of permissions says, for whoever changes that list."""
    forbidden = ("UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQL", "Scan", "TransactWriteItems")
    for name, role in t.of("AWS::IAM::Role").items():
        for statement, _ in statements(role):
            for action in listed(statement["Action"]):
                on_journal = any("JournalTable" in plain(r) for r in listed(statement["Resource"]))
                if on_journal and action.removeprefix("dynamodb:").startswith(forbidden):
                    yield f"{name} may {action} in the journal"
                if on_journal and action == "dynamodb:PutItem" and name not in ("IngestRole", "ProcessorRole"):
                    yield f"{name} may append"
                if action == "dynamodb:BatchWriteItem":
                    yield f"{name} may write without a condition"
    policy = t.resource("JournalTable")["Properties"].get("ResourcePolicy", {}).get("PolicyDocument", {})
    denied = [s for s in policy.get("Statement", []) if s["Effect"] == "Deny" and s["Principal"] == "*"]
    wanted = {f"dynamodb:{a}" for a in ("UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete")}
    if len(denied) != 1 or set(denied[0]["Action"]) != wanted or "Condition" in denied[0]:
        yield "the journal's own policy does not deny all that changes it"
    # A policy that denies these would lock out whoever has to lift it.
    for statement in policy.get("Statement", []):
        for action in listed(statement["Action"]):
            if "ResourcePolicy" in action or "*" in action or action.endswith("Table"):
                yield f"the journal's own policy speaks of {action}"


def check_every_function_is_complete(t):
    functions = t.of("AWS::Lambda::Function")
    if set(functions) != set(FUNCTIONS):
        yield f"the functions are {sorted(functions)}"
    for name, function in functions.items():
        binary, environment, configured = FUNCTIONS.get(name, ("", {}, False))
        short = name.removesuffix("Function")
        wanted = {
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Architectures": [{"Ref": "Architecture"}],
            "Role": {"Fn::GetAtt": [f"{short}Role", "Arn"]},
            "TracingConfig": {"Mode": "Active"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": {"Ref": f"{short}Logs"}},
        }
        for key, value in wanted.items():
            if function.get(key) != value:
                yield f"{name}: {key} is {function.get(key)}"
        metadata = t.resource(name).get("Metadata", {})
        if (metadata.get("BuildMethod"), metadata.get("BuildProperties")) != ("rust-cargolambda", {"Binary": binary}):
            yield f"{name} is not built from {binary}"
        variables = function.get("Environment", {}).get("Variables", {})
        found = {key: plain(value) for key, value in variables.items()}
        for key in sorted(set(found) | set(environment)):
            if found.get(key) != environment.get(key):
                yield f"{name}: {key} is {found.get(key)}, not {environment.get(key)}"
        layers = [plain(layer) for layer in function.get("Layers", [])]
        if len(layers) != int(configured) or not all(layer.startswith("ConfigLayer") for layer in layers):
            yield f"{name}: its layers are {layers}"
        if (function.get("RecursiveLoop") == "Allow") != (name == "ProcessorFunction"):
            yield f"{name}: RecursiveLoop is {function.get('RecursiveLoop')}"
        if "VpcConfig" in function or "DeadLetterConfig" in function:
            yield f"{name} has a VPC or a dead-letter queue"
        if f"{short}Logs" not in t.of("AWS::Logs::LogGroup"):
            yield f"{name} has no log group"


def check_timeouts_fit_into_one_another(t):
    functions = t.of("AWS::Lambda::Function")
    timeout = {name: function.get("Timeout", 3) for name, function in functions.items()}
    if timeout != {"IngestFunction": 10, "StatusFunction": 10, "ProcessorFunction": 60, "ProjectorFunction": 60, "SweepFunction": 60}:
        yield f"the timeouts are {timeout}"
    for name, integration in t.of("AWS::ApiGatewayV2::Integration").items():
        function = plain(integration["IntegrationUri"]).removesuffix(".Arn")
        if not timeout.get(function, 99) * 1000 < integration.get("TimeoutInMillis", 30000) <= 30000:
            yield f"{name} gives up before its function does"


def check_concurrency_is_reserved_for_the_sweep_and_else_on_request(t):
    usual = {"Ingest": -1, "Processor": -1, "Sweep": 2}
    for name, function in t.of("AWS::Lambda::Function").items():
        short = name.removesuffix("Function")
        wanted = {"Fn::If": [f"{short}IsReserved", {"Ref": f"{short}Concurrency"}, {"Ref": "AWS::NoValue"}]}
        if function.get("ReservedConcurrentExecutions") != (wanted if short in usual else None):
            yield f"{name} reserves {function.get('ReservedConcurrentExecutions')}"
        default = t.document["Parameters"].get(f"{short}Concurrency", {}).get("Default")
        if default != usual.get(short):
            yield f"{short}Concurrency is {default}, if nothing is said"


def check_what_runs_late_is_not_repeated(t):
    configs = {plain(c["FunctionName"]): c for c in t.of("AWS::Lambda::EventInvokeConfig").values()}
    for function in ("ProcessorFunction", "SweepFunction"):
        config = configs.get(function, {})
        if (config.get("MaximumRetryAttempts"), config.get("MaximumEventAgeInSeconds")) != (0, 60):
            yield f"{function}: asynchronous invocations are tried again or kept"
    schedules = list(t.of("AWS::Scheduler::Schedule").values())
    if len(schedules) != 1:
        yield f"there are {len(schedules)} schedules"
    for schedule in schedules:
        target = schedule["Target"]
        if schedule["ScheduleExpression"] != "rate(1 minute)" or schedule["FlexibleTimeWindow"] != {"Mode": "OFF"}:
            yield "the sweep is not started every minute"
        if schedule.get("State", "ENABLED") != "ENABLED":
            yield "the schedule is off"
        if (plain(target["Arn"]), plain(target["RoleArn"])) != ("SweepFunction.Arn", "SweepScheduleRole.Arn"):
            yield f"the schedule starts {target}"
        if target.get("RetryPolicy") != {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}:
            yield "a missed minute is made up for"


def check_routes_are_open_or_for_operators_as_listed(t):
    integrations = t.of("AWS::ApiGatewayV2::Integration")
    found = {}
    for name, route in t.of("AWS::ApiGatewayV2::Route").items():
        target = re.fullmatch(r"integrations/\$\{(\w+)\}", plain(route["Target"]))
        integration = integrations.get(target[1], {}) if target else {}
        function = plain(integration.get("IntegrationUri", "")).removesuffix(".Arn")
        found[route["RouteKey"]] = (route.get("AuthorizationType", "NONE"), function)
        if plain(route["ApiId"]) != "HttpApi":
            yield f"{name} is of another API"
    for key in sorted(set(found) | set(ROUTES)):
        if found.get(key) != ROUTES.get(key):
            yield f"{key} is {found.get(key)}, not {ROUTES.get(key)}"
    for name, integration in integrations.items():
        if (integration.get("PayloadFormatVersion"), integration.get("IntegrationType")) != ("2.0", "AWS_PROXY"):
            yield f"{name} does not hand over format 2.0"
    permissions = {}
    for name, permission in t.of("AWS::Lambda::Permission").items():
        permissions[plain(permission["FunctionName"])] = permission
        if not plain(permission.get("SourceArn", "")).endswith(":${HttpApi}/*") or permission["Principal"] != "apigateway.amazonaws.com":
            yield f"{name} lets others invoke the function"
    if set(permissions) != {"IngestFunction", "StatusFunction"}:
        yield f"the API may invoke {sorted(permissions)}"


def check_the_stage_throttles_and_logs_no_content(t):
    stages = list(t.of("AWS::ApiGatewayV2::Stage").values())
    if len(stages) != 1:
        yield f"there are {len(stages)} stages"
    for stage in stages:
        if stage["StageName"] != "$default" or stage.get("AutoDeploy") is not True:
            yield "the stage adds to the paths, or is not deployed"
        limits = stage.get("DefaultRouteSettings", {})
        if (plain(limits.get("ThrottlingRateLimit")), plain(limits.get("ThrottlingBurstLimit"))) != ("ThrottlingRate", "ThrottlingBurst"):
            yield "the stage does not throttle"
        log = stage.get("AccessLogSettings", {})
        if plain(log.get("DestinationArn")) != "HttpApiLogs.Arn":
            yield "there is no access log"
        try:
            line = json.loads(log.get("Format", ""))
        except ValueError as error:
            yield f"the access log's lines are no JSON: {error}"
            continue
        for key, value in line.items():
            if value not in LOGGABLE:
                yield f"the access log shows {value} as {key}"
    for api in t.of("AWS::ApiGatewayV2::Api").values():
        cors = api.get("CorsConfiguration", {}).get("Fn::If", [None, {}, None])
        wanted = {
            "AllowOrigins": [{"Ref": "AllowedOrigin"}],
            "AllowMethods": ["GET", "POST", "OPTIONS"],
            "AllowHeaders": ["authorization", "content-type", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"],
            "MaxAge": 600,
        }
        # With credentials, a page could use those of whoever looks at it.
        if cors[0] != "HasOrigin" or cors[1] != wanted or t.document["Parameters"]["AllowedOrigin"]["Default"] != "*":
            yield f"browsers may call in another way: {cors}"


def check_tables_expire_and_can_be_restored(t):
    tables = t.of("AWS::DynamoDB::Table")
    if set(tables) != {"JournalTable", "ExecutionsTable", "TimersTable"}:
        yield f"the tables are {sorted(tables)}"
    for name, table in tables.items():
        wanted = {
            "BillingMode": "PAY_PER_REQUEST",
            "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "DeletionProtectionEnabled": {"Ref": "DeletionProtection"},
            "OnDemandThroughput": {
                "Fn::If": [
                    "HasMaxRequestUnits",
                    {"MaxReadRequestUnits": {"Ref": "MaxRequestUnits"}, "MaxWriteRequestUnits": {"Ref": "MaxRequestUnits"}},
                    {"Ref": "AWS::NoValue"},
                ]
            },
            "SSESpecification": {
                "Fn::If": [
                    "HasKey",
                    {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "KmsKeyArn"}},
                    {"SSEEnabled": False},
                ]
            },
        }
        for key, value in wanted.items():
            if table.get(key) != value:
                yield f"{name}: {key} is {table.get(key)}"
        policies = (t.resource(name).get("DeletionPolicy"), t.resource(name).get("UpdateReplacePolicy"))
        # Not RetainExceptOnCreate: a protected table cannot be deleted when a first deployment is rolled back.
        if policies != ("Retain", "Retain"):
            yield f"{name} is deleted with the stack, or should be when its creation fails"
    streams = {name: table["StreamSpecification"] for name, table in tables.items() if "StreamSpecification" in table}
    if streams != {"JournalTable": {"StreamViewType": "KEYS_ONLY"}}:
        yield f"the streams are {streams}"
    for earlier, shapes in SHAPES.items():
        for name, wanted in shapes.items():
            table = chosen(tables.get(name, {}), {"HasDueIndex": earlier == "due-and-recent", "HasRecentIndex": earlier != "none"})
            found = {"": keys(table)}
            for index in table.get("GlobalSecondaryIndexes", []):
                found[index["IndexName"]] = keys(table, index["KeySchema"])
                if index["Projection"] != {"ProjectionType": "KEYS_ONLY"}:
                    yield f"the index {index['IndexName']} has more than keys"
            if found != wanted:
                yield f"{name} is {found} with {earlier}"
            # DynamoDB refuses an attribute that no key has.
            used = {part.split(":")[0] for shape in wanted.values() for part in shape.split()}
            defined = [a["AttributeName"] for a in table.get("AttributeDefinitions", [])]
            if sorted(defined) != sorted(used):
                yield f"{name} defines {defined} with {earlier}"
    parameter = t.document["Parameters"].get("EarlierIndexes", {})
    if (parameter.get("Default"), sorted(parameter.get("AllowedValues", []))) != ("none", sorted(SHAPES)):
        yield f"EarlierIndexes is {parameter}"
    conditions = {
        "HasDueIndex": {"Fn::Equals": [{"Ref": "EarlierIndexes"}, "due-and-recent"]},
        "HasRecentIndex": {"Fn::Not": [{"Fn::Equals": [{"Ref": "EarlierIndexes"}, "none"]}]},
    }
    for name, wanted in conditions.items():
        if t.document["Conditions"].get(name) != wanted:
            yield f"{name} is {t.document['Conditions'].get(name)}"


# EarlierIndexes -> table -> the keys of the table and of its indexes. Between two neighbours one index comes or goes:
# DynamoDB does one at a time.
JOURNAL = {"": "execution:S sequence:N", "received": "received:S at:S"}
EXECUTIONS = {"": "execution:S", "attention": "attention:S created_at:S"}
TIMER = {"": "shard:S due:S"}
RECENT, DUE = {"recent": "source:S created_at:S"}, {"due": "due_shard:N due_at:S"}
SHAPES = {
    "none": {"JournalTable": JOURNAL, "ExecutionsTable": EXECUTIONS, "TimersTable": TIMER},
    "recent": {"JournalTable": JOURNAL, "ExecutionsTable": EXECUTIONS | RECENT, "TimersTable": TIMER},
    "due-and-recent": {"JournalTable": JOURNAL, "ExecutionsTable": EXECUTIONS | RECENT | DUE, "TimersTable": TIMER},
}


def chosen(value, conditions):
    """A part of the template where each of these conditions holds or not."""
    if isinstance(value, dict):
        if list(value) == ["Fn::If"] and value["Fn::If"][0] in conditions:
            name, then, otherwise = value["Fn::If"]
            return chosen(then if conditions[name] else otherwise, conditions)
        return {key: chosen(item, conditions) for key, item in value.items()}
    if isinstance(value, list):
        items = [chosen(item, conditions) for item in value]
        return [item for item in items if item != {"Ref": "AWS::NoValue"}]
    return value


def keys(table, schema=None):
    types = {a["AttributeName"]: a["AttributeType"] for a in table.get("AttributeDefinitions", [])}
    names = [key["AttributeName"] for key in schema or table.get("KeySchema", [])]
    return " ".join(f"{name}:{types.get(name)}" for name in names)


def check_shards_and_wake_are_as_safe_as_they_can_be(t):
    shards = t.document["Parameters"].get("Shards", {})
    # journal/src/id.rs has the same bounds.
    if (shards.get("Default"), shards.get("MinValue"), shards.get("MaxValue")) != (8, 1, 256):
        yield f"Shards is {shards}"
    source = (t.root / "journal/src/id.rs").read_text(encoding="utf-8")
    if "MAX: u64 = 256" not in source or "Self(8)" not in source:
        yield "journal/src/id.rs has other bounds of shards"
    if t.document["Parameters"].get("WakeDirectly", {}).get("Default") != "false":
        yield "every webhook costs an invocation more, if nothing is said"
    if t.document["Conditions"].get("WakesDirectly") != {"Fn::Equals": [{"Ref": "WakeDirectly"}, "true"]}:
        yield "WakeDirectly does not say whether ingest invokes the processor"


def is_kept(resource):
    return (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")) == ("RetainExceptOnCreate", "Retain")


def check_buckets_are_private_encrypted_and_emptied(t):
    buckets = t.of("AWS::S3::Bucket")
    if set(buckets) != {"PayloadBucket", "FailedBatchesBucket"}:
        yield f"the buckets are {sorted(buckets)}"
    policies = {plain(p["Bucket"]): p["PolicyDocument"]["Statement"] for p in t.of("AWS::S3::BucketPolicy").values()}
    for name, bucket in buckets.items():
        public = bucket.get("PublicAccessBlockConfiguration", {})
        if public != dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True):
            yield f"{name} could be public"
        if bucket.get("OwnershipControls") != {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}:
            yield f"{name} has ACLs"
        rules = bucket.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Ref": "KmsKeyArn"}}
        wanted = {"Fn::If": ["HasKey", key, {"SSEAlgorithm": "AES256"}]}
        if [rule.get("ServerSideEncryptionByDefault") for rule in rules] != [wanted]:
            yield f"{name} is not encrypted as it should be"
        lifecycle = bucket.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule and rule["Status"] == "Enabled" for rule in lifecycle):
            yield f"{name} keeps incomplete uploads"
        if not any("ExpirationInDays" in rule and rule["Status"] == "Enabled" for rule in lifecycle):
            yield f"{name} keeps everything for ever"
        tls = [
            s
            for s in policies.get(name, [])
            if (s["Effect"], s["Principal"], s["Action"]) == ("Deny", "*", "s3:*")
            and str(s.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
            and [plain(r) for r in s["Resource"]] == [f"{name}.Arn", f"${{{name}.Arn}}/*"]
        ]
        if not tls or any(s["Effect"] == "Allow" for s in policies.get(name, [])):
            yield f"{name} does not insist on TLS, or lets others in"
        if not is_kept(t.resource(name)):
            yield f"{name} is deleted with the stack, which fails if it is not empty"
    if buckets["PayloadBucket"].get("VersioningConfiguration") != {"Status": "Enabled"}:
        yield "payloads have no versions"


def check_payloads_outlive_the_histories_that_name_them(t):
    days = t.document["Mappings"]["PayloadDays"]
    for allowed in t.document["Parameters"]["RetentionDays"]["AllowedValues"]:
        if days.get(str(allowed), {}).get("Days") != allowed + 31:
            yield f"with a retention of {allowed} days payloads are kept for {days.get(str(allowed))}"
    rules = t.resource("PayloadBucket")["Properties"]["LifecycleConfiguration"]["Rules"]
    if rules[0].get("ExpirationInDays") != {"Fn::FindInMap": ["PayloadDays", {"Ref": "RetentionDays"}, "Days"]}:
        yield "the bucket does not follow RetentionDays"


def check_generated_secrets_are_strong_and_kept(t):
    secrets = t.of("AWS::SecretsManager::Secret")
    names = {plain(secret["Name"]): name for name, secret in secrets.items()}
    if set(names) != {
        "${AWS::StackName}/execution-key",
        "${AWS::StackName}/steps/callback-key",
        "${AWS::StackName}/default",
    }:
        yield f"the secrets are {sorted(names)}"
    for name, secret in secrets.items():
        # A change here would make new values, so this is not only about their strength.
        if secret.get("GenerateSecretString") != {"PasswordLength": 64, "ExcludePunctuation": True} or "SecretString" in secret:
            yield f"{name} is not generated as it was"
        if not is_kept(t.resource(name)):
            yield f"{name} is deleted with the stack"


def check_logs_end(t):
    for name, group in t.of("AWS::Logs::LogGroup").items():
        if group.get("RetentionInDays") != {"Ref": "LogRetentionDays"}:
            yield f"{name} is kept for ever"


def check_alarms_look_at_metrics_that_exist(t):
    source = (t.root / "journal/src/telemetry.rs").read_text(encoding="utf-8")
    for name in OURS:
        if f'"{name}"' not in source:
            yield f"journal/src/telemetry.rs does not know {name}"
    for name, alarm in t.of("AWS::CloudWatch::Alarm").items():
        for metric in metrics_of(alarm):
            reason = unknown_metric(t, *metric)
            if reason:
                yield f"{name}: {reason}"


def check_what_should_alarm_does(t):
    found = []
    for name, alarm in t.of("AWS::CloudWatch::Alarm").items():
        for _, metric, dimensions in metrics_of(alarm):
            dimensions.pop("Deployment", None)
            found.append((metric, dimensions, alarm.get("TreatMissingData")))
        if [plain(action) for action in alarm.get("AlarmActions", [])] != ["AlarmTopic"]:
            yield f"{name} tells nobody"
        if alarm.get("ActionsEnabled") is False:
            yield f"{name} is off"
        returned = [m for m in alarm.get("Metrics", []) if m.get("ReturnData", True)]
        if "Metrics" in alarm and len(returned) != 1:
            yield f"{name} returns {len(returned)} series"
    for wanted in ALARMED:
        if wanted not in found:
            yield f"nothing alarms on {wanted}"
    silent = t.resource("SweepSilentAlarm").get("Properties", {})
    if (silent.get("Statistic"), silent.get("ComparisonOperator"), silent.get("Threshold")) != ("SampleCount", "LessThanThreshold", 1):
        yield "a silent sweep does not alarm"
    behind = t.resource("AuditBehindAlarm").get("Properties", {})
    if (behind.get("Statistic"), behind.get("ComparisonOperator"), behind.get("Threshold")) != ("Maximum", "GreaterThanThreshold", 300):
        yield "an audit that is behind does not alarm"


def anchors(t):
    """Alarm -> the section of docs/deploy.md it names."""
    named = {}
    for name, alarm in t.of("AWS::CloudWatch::Alarm").items():
        found = re.search(r" See docs/deploy\.md#([a-z0-9-]+)$", alarm.get("AlarmDescription", ""))
        named[name] = found[1] if found else None
    return named


def check_every_alarm_has_a_section_in_the_runbook(t):
    named = anchors(t)
    for name, anchor in named.items():
        if not anchor:
            yield f"{name} does not end with its section: See docs/deploy.md#..."
    guide = t.root / "docs/deploy.md"
    if not guide.exists():
        yield f"docs/deploy.md is missing; it needs the sections {sorted(set(filter(None, named.values())))}"
        return
    titles = re.findall(r"^#+ +(.+?) *#*$", guide.read_text(encoding="utf-8"), re.MULTILINE)
    # As GitHub makes them of headings.
    sections = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    for name, anchor in named.items():
        if anchor and anchor not in sections:
            yield f"{name} names a section that docs/deploy.md does not have: {anchor}"


def check_the_dashboard_is_json_and_shows_metrics_that_exist(t):
    for dashboard in t.of("AWS::CloudWatch::Dashboard").values():
        text = plain(dashboard["DashboardBody"])
        for name in re.findall(r"\$\{([^}]+)\}", text):
            base = name.split(".")[0]
            if not base.startswith("AWS::") and not t.resource(base):
                yield f"the dashboard names {name}, which is nothing"
        # Each reference becomes its own name, so that it reads like a dimension of an alarm.
        try:
            body = json.loads(re.sub(r"\$\{([^}]+)\}", r"\1", text))
        except ValueError as error:
            yield f"the dashboard is no JSON: {error}"
            continue
        shown = set()
        for widget in body["widgets"]:
            if widget["x"] + widget["width"] > 24:
                yield f"{widget['properties']['title']} is too wide"
            if widget["type"] == "alarm":
                shown |= {arn.removesuffix(".Arn") for arn in widget["properties"]["alarms"]}
            for line in widget["properties"].get("metrics", []):
                namespace, metric, *rest = [part for part in line if not isinstance(part, dict)]
                reason = unknown_metric(t, namespace, metric, dict(zip(rest[::2], rest[1::2], strict=True)))
                if reason:
                    yield f"{widget['properties']['title']}: {reason}"
        if shown != set(t.of("AWS::CloudWatch::Alarm")):
            yield f"the dashboard does not show {sorted(set(t.of('AWS::CloudWatch::Alarm')) ^ shown)}"
    if len(t.of("AWS::CloudWatch::Dashboard")) != 1:
        yield "there is no dashboard"


def check_parameters_are_explained_and_used(t):
    parameters = t.document["Parameters"]
    groups = t.document["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    if sorted(grouped) != sorted(parameters):
        yield f"the groups do not have each parameter once: {sorted(set(parameters) ^ set(grouped))}"
    rest = json.dumps({key: value for key, value in t.document.items() if key not in ("Parameters", "Metadata")})
    for name, parameter in parameters.items():
        if not parameter.get("Description"):
            yield f"{name} is not explained"
        if "Default" not in parameter:
            yield f"{name} has to be given"
        if f'{{"Ref": "{name}"}}' not in rest and f"${{{name}}}" not in rest:
            yield f"{name} does nothing"


def check_outputs_say_where_everything_is(t):
    wanted = {
        "WebhookUrl",
        "StatusUrl",
        "OperatorUrl",
        "OperatorResource",
        "QuarantineResource",
        "DomainTarget",
        "ReadDefaultSecret",
        "JournalTableName",
        "ExecutionsTableName",
        "TimersTableName",
        "PayloadBucketName",
        "FailedBatchesBucketName",
        "AlarmTopicArn",
        "DashboardUrl",
    }
    if set(t.document["Outputs"]) != wanted:
        yield f"the outputs differ: {sorted(set(t.document['Outputs']) ^ wanted)}"


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


def problems(t):
    """(assertion, what is wrong with it) of every assertion that does not hold."""
    for check in CHECKS:
        try:
            found = list(check(t))
        # A template that an assertion cannot even read does not hold either.
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            found = [f"the template has another shape: {error!r}"]
        if found:
            yield check.__name__.removeprefix("check_").replace("_", " "), found


def main():
    root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
    document = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    failed = dict(problems(Template(document, root)))
    for name, found in failed.items():
        print(f"FAILED {name}")
        for problem in found:
            print(f"       {problem}")
    print(f"assertions: {len(CHECKS) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
