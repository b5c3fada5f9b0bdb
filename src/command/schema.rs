//! `nixdeploy schema`: the JSON schema of hosts.toml.

use crate::exit::Exit;
use crate::fleet::schema::schema;

/// Prints it.
pub fn run() -> Exit {
    crate::report::out(&format!("{:#}\n", schema()));
    Exit::Done
}
