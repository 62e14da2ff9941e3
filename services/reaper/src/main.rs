//! The process `presence-reaper`.

use std::process::ExitCode;

use rollcall_service::Program;

fn main() -> ExitCode {
    let program = Program {
        service: "presence-reaper",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ROLLCALL_COMMIT"),
        defaults: include_str!("../default.toml"),
        port: "admin_port",
    };
    rollcall_service::main(program, rollcall_reaper::Config::load, rollcall_reaper::run)
}
