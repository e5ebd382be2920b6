//! `everhook schema`: what editors check `everhook.toml` against.

use super::print;
use crate::schema;

pub(super) fn run() {
    print(schema::text().trim_end());
}
