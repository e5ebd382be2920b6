"""Translates template.yaml into plain CloudFormation, as AWS does on deployment, without asking AWS anything.

    translate.py TEMPLATE OUTPUT
"""

import json
import logging
import os
import sys

# The translator asks for a region and, without these, for an account.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

logging.getLogger("samtranslator").setLevel(logging.ERROR)

LOCAL_PATHS = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def uploaded(template):
    """The template as it is after `sam package`: local folders have become objects of a bucket."""
    for name, resource in template["Resources"].items():
        path = LOCAL_PATHS.get(resource["Type"])
        if path and isinstance(resource["Properties"].get(path), str):
            resource["Properties"][path] = f"s3://packaged/{name}"
    return template


def translate(template):
    """Plain CloudFormation. What the translator does not accept is raised."""
    session = boto3.session.Session(region_name=os.environ["AWS_DEFAULT_REGION"])
    # Managed policies are looked up by name in AWS. There are none here, so there is nothing to look up.
    translator = Translator({}, Parser(), None, session)
    return translator.translate(uploaded(template), parameter_values={})


def main():
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        translated = translate(yaml_parse(file.read()))
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        json.dump(translated, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
