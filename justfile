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
    cargo run --release --locked --example bench -- {{options}}

# All of the above: what must hold before a change goes in
ci:
    .ci/run

# The program, and the Lambda functions' binaries, optimised
build:
    cargo build --workspace --release --locked

# A step of one's own, serving
example:
    cargo run --locked --example own_step -- serve --config examples/own-step.toml --data-dir .everhook/own-step
