//! The process `presence-reaper`.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(
        "presence-reaper",
        env!("CARGO_PKG_VERSION"),
        include_str!("../default.toml"),
        reaper::Config::load,
        reaper::run,
    )
}
