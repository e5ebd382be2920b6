# What one does here every day. `just` lists it.

default:
    @just --list

# Receive webhooks on http://127.0.0.1:8080
serve *options:
    cargo run --locked -- serve {{options}}

# A history, event by event
replay token *options:
    cargo run --locked -- replay {{token}} {{options}}

# Post the example push, signed
send *options:
    cargo run --locked -- send --event push examples/push.json {{options}}

# All tests
test *options:
    cargo test --locked {{options}}

# The README's first webhook, with curl
first-webhook:
    tests/first-webhook.sh

# Put the code in form
fmt:
    cargo fmt --all

# Form, lints, documentation, dependencies
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
    cargo deny check

# Measure this machine
bench *options:
    cargo run --profile server --locked --example bench -- {{options}}

# The functions' code over tables, stream and objects that fail: `just simulate --worlds 60000`, `--help` for more
simulate *options:
    cargo run --locked --release --example simulate -- {{options}}

# Each guard of the protocol, switched off in turn: the simulation must miss it
mutants *options:
    cargo run --locked --release --example simulate -- --mutants --worlds 4000 {{options}}

# The real server, killed again and again: `just crash --kills 2000`, `--help` for more
crash *options:
    cargo run --locked --release --example crash -- {{options}}

# The real server with more than it can do, and killed once at the peak
load *options:
    cargo run --locked --release --example crash -- --load {{options}}

# The real server with 1 GiB of address space, and bodies that size the work of its expressions
hostile-expressions:
    cargo test --locked --test everhook hostile_expressions -- --include-ignored

# All of the above: what must hold before a change goes in
ci:
    .ci/run

# The program for one machine, optimised: target/server/everhook
build:
    cargo build --profile server --locked

# The Lambda functions as they are deployed, x86_64 or arm64
lambda-build architecture='x86_64':
    tests/aws/build.sh {{architecture}}

# The template: form, rules, permissions, and a deployment into a stand-in for AWS
aws-check: lambda-build
    tests/aws/check.sh
    PATH="$(tests/aws/tools.sh ministack):$PATH" python tests/aws/ministack.py

# Steps that call AWS, against stand-ins for its services
aws-steps:
    tests/aws/moto.sh

# The functions' binaries under a Lambda Runtime API against DynamoDB Local, with deaths and outages
lambda-e2e: lambda-build
    cargo run --locked --bin on-aws -- e2e

# Ten thousand timers that are due at once, and the sweep function
drain *options: lambda-build
    cargo run --locked --bin on-aws -- drain {{options}}

# The in-place upgrade of docs/deploy.md over the tables of a version before the timers
upgrade *options: lambda-build
    cargo run --locked --bin on-aws -- upgrade {{options}}

# Sizes and starts of the functions, and what they add to the time of their calls
lambda-bench *options: lambda-build (lambda-build 'arm64')
    cargo run --locked --bin on-aws -- bench --arm64 .aws-sam/build-arm64 {{options}}

# What a webhook costs: compare docs/costs.md with a count, or renew it with --write
costs *options: lambda-build
    cargo run --locked --bin on-aws -- costs {{options}}

# The local event source over a stream whose shards end; needs faketime
shards *options:
    cargo run --locked --bin on-aws -- shards {{options}}

# A step of one's own, serving
example:
    cargo run --locked --example own_step -- serve --config examples/own-step.toml --data-dir .everhook/own-step

# Three cases from real life, serving; examples/showcase/README.md says how to try them
showcase:
    cargo run --locked --example showcase
