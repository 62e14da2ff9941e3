//! The process `presence-state`.

use std::process::ExitCode;

use rollcall_service::Program;

fn main() -> ExitCode {
    let program = Program {
        service: "presence-state",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ROLLCALL_COMMIT"),
        defaults: include_str!("../default.toml"),
        port: "admin_port",
    };
    rollcall_service::main(program, rollcall_presence_state::Config::load, rollcall_presence_state::run)
}
