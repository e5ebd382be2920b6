"""Breaks the translated template in many ways; each must fail at least one assertion that held before.

    mutations.py TRANSLATED [ROOT]
"""

import copy
import json
import pathlib
import sys

from assertions import Template, problems


def at(path):
    """The place in a template that `Name/Property/0/…` names: what holds it, and its key."""

    def find(document):
        name, *keys = path.split("/")
        place = document["Resources"][name]["Properties"] if keys else document["Resources"]
        for key in keys[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        last = keys[-1] if keys else name
        return place, int(last) if isinstance(place, list) else last

    return find


def put(path, value):
    def mutate(document):
        place, key = at(path)(document)
        place[key] = value

    return mutate


def drop(path):
    def mutate(document):
        place, key = at(path)(document)
        del place[key]

    return mutate


def change(path, old, new):
    def mutate(document):
        place, key = at(path)(document)
        assert old in place[key], f"{path} has no {old}"
        place[key] = place[key].replace(old, new)

    return mutate


def statement(role, sid):
    """The statement of this name, as an item of a list."""

    def find(document):
        for policy in document["Resources"][role]["Properties"]["Policies"]:
            items = policy["PolicyDocument"]["Statement"]
            for index, item in enumerate(items):
                if item.get("Sid") == sid or sid in json.dumps(item.get("Fn::If", "")):
                    return items, index
        raise AssertionError(f"{role} has no statement {sid}")

    return find


def grant(role, sid, action):
    def mutate(document):
        items, index = statement(role, sid)(document)
        actions = items[index]["Action"]
        items[index]["Action"] = [*(actions if isinstance(actions, list) else [actions]), action]

    return mutate


def revoke(role, sid):
    def mutate(document):
        items, index = statement(role, sid)(document)
        del items[index]

    return mutate


def everywhere(role, sid):
    def mutate(document):
        items, index = statement(role, sid)(document)
        items[index]["Resource"] = "*"

    return mutate


def change_resource(role, sid, old, new):
    def mutate(document):
        items, index = statement(role, sid)(document)
        resource = items[index]["Resource"]
        resource["Fn::Sub"] = resource["Fn::Sub"].replace(old, new)

    return mutate


def unconditioned(role, sid):
    def mutate(document):
        items, index = statement(role, sid)(document)
        del items[index]["Condition"]

    return mutate


def reaching(role, sid, keys):
    def mutate(document):
        items, index = statement(role, sid)(document)
        items[index]["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"] = keys

    return mutate


def always(role, sid):
    def mutate(document):
        items, index = statement(role, sid)(document)
        items[index] = items[index]["Fn::If"][1]

    return mutate


def top(section, name, key, value):
    def mutate(document):
        document[section][name][key] = value

    return mutate


def attribute(name, key, value):
    def mutate(document):
        document["Resources"][name][key] = value

    return mutate


PROCESSOR, PROJECTOR = "ProcessorFunctionJournal", "ProjectorFunctionJournal"
FORMAT = "HttpApiStage/AccessLogSettings/Format"
MUTATIONS = {
    "a failed batch goes to the name of the bucket": put(f"{PROCESSOR}/DestinationConfig/OnFailure/Destination", {"Ref": "FailedBatchesBucket"}),
    "a failed batch goes nowhere": drop(f"{PROJECTOR}/DestinationConfig"),
    "a batch is tried for ever": drop(f"{PROCESSOR}/MaximumRetryAttempts"),
    "a record is tried until it expires": put(f"{PROCESSOR}/MaximumRecordAgeInSeconds", -1),
    "a batch fails as a whole": drop(f"{PROCESSOR}/FunctionResponseTypes"),
    "a batch is not halved": put(f"{PROJECTOR}/BisectBatchOnFunctionError", False),
    "records are missed while the mapping is made": put(f"{PROCESSOR}/StartingPosition", "LATEST"),
    "nobody counts what was dropped": drop(f"{PROCESSOR}/MetricsConfig"),
    "the filter is no JSON": put(f"{PROCESSOR}/FilterCriteria/Filters/0/Pattern", "{'eventName': ['INSERT']}"),
    "the filter holds back appends over expired items": put(f"{PROCESSOR}/FilterCriteria/Filters/0/Pattern", '{"eventName":["INSERT"]}'),
    "the filter lets expiry pass": put(f"{PROJECTOR}/FilterCriteria/Filters/0/Pattern", '{"eventName":["INSERT","MODIFY","REMOVE"]}'),
    "the processor is woken for every append": put(f"{PROCESSOR}/FilterCriteria/Filters/0/Pattern", '{"eventName":["INSERT","MODIFY"]}'),
    "views follow first appends only": put(f"{PROJECTOR}/FilterCriteria/Filters/0/Pattern", '{"eventName":["INSERT","MODIFY"],"dynamodb":{"Keys":{"sequence":{"N":["1"]}}}}'),
    "messages wake nobody": drop("ProcessorFunctionTimers"),
    "messages take all of the account's concurrency": drop("ProcessorFunctionTimers/ScalingConfig"),
    "messages come again while they are worked on": put("TimersQueue/VisibilityTimeout", 60),
    "messages go before they are due": put("TimersQueue/MessageRetentionPeriod", 600),
    "messages are not encrypted": drop("TimersQueue/SqsManagedSseEnabled"),
    "the sweep may append": grant("SweepRole", "Journal", "dynamodb:PutItem"),
    "the sweep may delete timers": grant("SweepRole", "Timers", "dynamodb:DeleteItem"),
    "the sweep may write rows without a change": grant("SweepRole", "Executions", "dynamodb:PutItem"),
    "the sweep may take messages": grant("SweepRole", "TimersQueue", "sqs:ReceiveMessage"),
    "the sweep may not read the index of received webhooks": revoke("SweepRole", "Indexes"),
    "ingest may delete timers": grant("IngestRole", "Timers", "dynamodb:DeleteItem"),
    "ingest may not wake the processor": revoke("IngestRole", "Processor"),
    "the processor may not send messages": revoke("ProcessorRole", "TimersQueue"),
    "the status function may append": grant("StatusRole", "Journal", "dynamodb:PutItem"),
    "the processor may change the journal": grant("ProcessorRole", "Journal", "dynamodb:UpdateItem"),
    "ingest may write without conditions": grant("IngestRole", "Executions", "dynamodb:BatchWriteItem"),
    "the projector may scan": grant("ProjectorRole", "Executions", "dynamodb:Scan"),
    "the processor may not read its stream": revoke("ProcessorRole", "Stream"),
    "the processor cannot tell missing from outage": revoke("ProcessorRole", "PayloadsMissing"),
    "ingest may read every secret": everywhere("IngestRole", "Secrets"),
    "ingest may delete rows of executions": unconditioned("IngestRole", "Quarantine"),
    "ingest may delete more than what is kept": reaching("IngestRole", "Quarantine", ["*"]),
    "the sweep may delete what is kept": grant("SweepRole", "Executions", "dynamodb:DeleteItem"),
    "the processor may write rows without a change": grant("ProcessorRole", "Executions", "dynamodb:PutItem"),
    "a key is allowed where there is none": always("IngestRole", "KmsKeyArn"),
    "steps may always invoke functions": always("ProcessorRole", "StepFunctionArns"),
    "steps may read every parameter": everywhere("ProcessorRole", "Parameters"),
    "steps may do more with a topic": lambda d: statement("ProcessorRole", "StepTopics")(d)[0][
        statement("ProcessorRole", "StepTopics")(d)[1]
    ]["Fn::If"][1].update(Action=["sns:Publish", "sns:Subscribe"]),
    "steps may put events without a list": top("Parameters", "StepBusArns", "Default", "arn:aws:events:eu-central-1:123456789012:event-bus/default"),
    "steps may put objects whatever is listed": lambda d: d["Conditions"].update(HasStepObjects={"Fn::Equals": ["a", "a"]}),
    "steps may read what ingest verifies with": change_resource("ProcessorRole", "Secrets", "/steps/*", "/*"),
    "a managed policy is attached": put("IngestRole/ManagedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"]),
    "anybody may take a role": put("StatusRole/AssumeRolePolicyDocument/Statement/0/Principal", "*"),
    "a second policy is attached to a role": lambda d: d["Resources"].update(More={"Type": "AWS::IAM::Policy", "Properties": {}}),
    "the journal can be changed": drop("JournalTable/ResourcePolicy"),
    "nobody can lift the journal's own policy": put("JournalTable/ResourcePolicy/PolicyDocument/Statement/0/Action", "dynamodb:*"),
    "an operators' route is open": put("ExecutionsRoute/AuthorizationType", "NONE"),
    "anybody may release what is kept": put("ReverifyRoute/AuthorizationType", "NONE"),
    "anybody may see what is kept": put("QuarantineRoute/AuthorizationType", "NONE"),
    "what is kept is released where the secrets are not": put("ReverifyRoute/Target", {"Fn::Sub": "integrations/${StatusIntegration}"}),
    "an operators' route says nothing of who may": drop("ExecutionRoute/AuthorizationType"),
    "webhooks need an AWS account": put("WebhookRoute/AuthorizationType", "AWS_IAM"),
    "a route leads to the other function": put("StatusRoute/Target", {"Fn::Sub": "integrations/${IngestIntegration}"}),
    "a route is gone": drop("CallbackRoute"),
    "events have the older format": put("IngestIntegration/PayloadFormatVersion", "1.0"),
    "the API gives up before the function": put("IngestIntegration/TimeoutInMillis", 9000),
    "any API may invoke ingest": drop("IngestPermission/SourceArn"),
    "the access log has paths": change(FORMAT, "$context.routeKey", "$context.path"),
    "the access log is no JSON": change(FORMAT, '"ip":', "ip:"),
    "the stage does not throttle": drop("HttpApiStage/DefaultRouteSettings"),
    "no origin can be refused": put("HttpApi/CorsConfiguration", {"AllowOrigins": ["*"]}),
    "pages may use a visitor's credentials": put("HttpApi/CorsConfiguration/Fn::If/1/AllowCredentials", True),
    "a function leaves no trace": put("SweepFunction/TracingConfig/Mode", "PassThrough"),
    "a function logs wherever": drop("IngestFunction/LoggingConfig"),
    "the processor's own records may stop it": drop("ProcessorFunction/RecursiveLoop"),
    "a function has another's role": put("StatusFunction/Role", {"Fn::GetAtt": ["ProcessorRole", "Arn"]}),
    "ingest cannot find its secrets": drop("IngestFunction/Environment/Variables/EVERHOOK_GENERATED_SECRETS"),
    "a secret stands in the environment": put("IngestFunction/Environment/Variables/WEBHOOK_SECRET", "hunter2"),
    "the tables are mixed up": put("ProjectorFunction/Environment/Variables/EVERHOOK_JOURNAL_TABLE", {"Ref": "ExecutionsTable"}),
    "the processor has no configuration": drop("ProcessorFunction/Layers"),
    "concurrency is always reserved": put("IngestFunction/ReservedConcurrentExecutions", 50),
    "concurrency is reserved by default": top("Parameters", "IngestConcurrency", "Default", 50),
    "others can keep the sweep from running": top("Parameters", "SweepConcurrency", "Default", -1),
    "missed minutes pile up": put("SweepSchedule/Target/RetryPolicy/MaximumRetryAttempts", 185),
    "missed minutes pile up in the function's queue": drop("SweepFunctionEventInvokeConfig"),
    "the sweep runs every hour": put("SweepSchedule/ScheduleExpression", "rate(1 hour)"),
    "the stream has images": put("JournalTable/StreamSpecification/StreamViewType", "NEW_IMAGE"),
    "nothing expires": drop("JournalTable/TimeToLiveSpecification"),
    "nothing can be restored": put("ExecutionsTable/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", False),
    "tables are deleted with the stack": attribute("JournalTable", "DeletionPolicy", "Delete"),
    "an index is called otherwise": put("ExecutionsTable/GlobalSecondaryIndexes/0/IndexName", "attention-index"),
    "an index has another key": put("JournalTable/GlobalSecondaryIndexes/0/KeySchema/1/AttributeName", "sequence"),
    "an index of an earlier version cannot be kept": drop("ExecutionsTable/GlobalSecondaryIndexes/1"),
    "two indexes go in one update": lambda d: d["Conditions"].update(HasRecentIndex={"Fn::Equals": [{"Ref": "EarlierIndexes"}, "due-and-recent"]}),
    "an attribute is defined that no key has": put("ExecutionsTable/AttributeDefinitions/1", {"AttributeName": "due_shard", "AttributeType": "N"}),
    "timers have no limit of units": drop("TimersTable/OnDemandThroughput"),
    "timers can be deleted with the stack": attribute("TimersTable", "DeletionPolicy", "Delete"),
    "a stack has fewer shards than one": top("Parameters", "Shards", "MinValue", 0),
    "a stack has more shards than the functions": top("Parameters", "Shards", "MaxValue", 512),
    "every webhook invokes the processor by default": top("Parameters", "WakeDirectly", "Default", "true"),
    "ingest never wakes directly": put("IngestFunction/Environment/Variables/EVERHOOK_WAKE", "stream"),
    "timers are written to another shard than they are read from": drop("IngestFunction/Environment/Variables/EVERHOOK_SHARDS"),
    "the sweep sends no messages": drop("SweepFunction/Environment/Variables/EVERHOOK_TIMERS_QUEUE"),
    "a bucket could be public": put("PayloadBucket/PublicAccessBlockConfiguration/BlockPublicPolicy", False),
    "a bucket answers without TLS": drop("PayloadBucketPolicy"),
    "payloads go before their histories": top("Mappings", "PayloadDays", "30", {"Days": 38}),
    "payloads stay for ever": drop("PayloadBucket/LifecycleConfiguration/Rules/0/ExpirationInDays"),
    "secrets are made anew": put("DefaultSecret/GenerateSecretString/PasswordLength", 32),
    "a log is kept for ever": drop("SweepLogs/RetentionInDays"),
    "a silent sweep is no news": put("SweepSilentAlarm/TreatMissingData", "notBreaching"),
    "a silent audit is no news": put("AuditBehindAlarm/TreatMissingData", "notBreaching"),
    "an audit may be an hour behind": put("AuditBehindAlarm/Threshold", 3600),
    "an alarm looks at a metric that nobody writes": put("StalledAlarm/MetricName", "StalledExecutions"),
    "an alarm looks at a value that never is": put("UnverifiedAlarm/Dimensions/1/Value", "forged"),
    "an alarm forgets a dimension": drop("FailedExecutionsAlarm/Dimensions/1"),
    "an alarm looks at another thing": put("ApiErrorsAlarm/Dimensions/0/Value", {"Ref": "IngestFunction"}),
    "an alarm tells nobody": drop("OverdueAlarm/AlarmActions"),
    "an alarm is gone": drop("BatchesGivenUpAlarm"),
    "an alarm does not say what to do": put("ApiErrorsAlarm/AlarmDescription", "Something is wrong."),
    "the dashboard is no JSON": change("Dashboard/DashboardBody/Fn::Sub", '"widgets": [', '"widgets": [,'),
    "the dashboard shows what nobody writes": change("Dashboard/DashboardBody/Fn::Sub", '"Accepted"', '"Received"'),
    "a parameter does nothing": lambda d: d["Parameters"].update(More={"Type": "String", "Default": "", "Description": "More"}),
    "an output is gone": lambda d: d["Outputs"].pop("ReadDefaultSecret"),
}


def main():
    root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
    document = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    before = dict(problems(Template(document, root)))
    unnoticed = []
    for name, mutate in MUTATIONS.items():
        broken = copy.deepcopy(document)
        mutate(broken)
        if dict(problems(Template(broken, root))) == before:
            unnoticed.append(name)
    for name in unnoticed:
        print(f"NOT NOTICED {name}")
    print(f"mutations: {len(MUTATIONS) - len(unnoticed)} noticed, {len(unnoticed)} not")
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()
