//! The process `presence-gateway`.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(
        "presence-gateway",
        env!("CARGO_PKG_VERSION"),
        include_str!("../default.toml"),
        gateway::Config::load,
        gateway::run,
    )
}
