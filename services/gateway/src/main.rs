//! The process `presence-gateway`.

use std::process::ExitCode;

use service::Program;

fn main() -> ExitCode {
    let program = Program {
        service: "presence-gateway",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ROLLCALL_COMMIT"),
        defaults: include_str!("../default.toml"),
        port: "port",
    };
    service::main(program, gateway::Config::load, gateway::run)
}
