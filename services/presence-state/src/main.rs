//! The process `presence-state`.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(
        "presence-state",
        env!("CARGO_PKG_VERSION"),
        include_str!("../default.toml"),
        presence_state::Config::load,
        presence_state::run,
    )
}
