//! The process `presence-reaper`.

use std::process::ExitCode;

use service::Program;

fn main() -> ExitCode {
    let program = Program {
        service: "presence-reaper",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ROLLCALL_COMMIT"),
        defaults: include_str!("../default.toml"),
        port: "admin_port",
    };
    service::main(program, reaper::Config::load, reaper::run)
}
