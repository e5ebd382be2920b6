//! Whatever is sent to us and whatever answers us: what must never happen, tried.
//!
//! `cargo test -p everhook --test everhook hostile -- --nocapture` prints how much is tried.

mod accounts;
mod addresses;
mod canaries;
mod clients;
mod raw;
mod targets;
mod terminal;

/// How much all of this is.
#[test]
fn what_is_tried_is_counted() {
    println!(
        "{} address forms, {} hostile targets, {} hostile clients, {} canary places",
        addresses::count(),
        targets::count(),
        clients::count(),
        canaries::count(),
    );
}
