//! The process `presence-state`.

use std::process::ExitCode;

use service::Program;

fn main() -> ExitCode {
    let program = Program {
        service: "presence-state",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ROLLCALL_COMMIT"),
        defaults: include_str!("../default.toml"),
        port: "admin_port",
    };
    service::main(program, presence_state::Config::load, presence_state::run)
}
