//! The process `presence-gateway`.

use std::process::ExitCode;

use rollcall_service::Program;
use tikv_jemallocator::Jemalloc;

/// glibc's allocator keeps what thousands of clients took after they are gone.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let program = Program {
        service: "presence-gateway",
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ROLLCALL_COMMIT"),
        defaults: include_str!("../default.toml"),
        port: "port",
    };
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("revoke") {
        return rollcall_gateway::revoke::main(program.defaults, args);
    }
    rollcall_service::main(program, rollcall_gateway::Config::load, rollcall_gateway::run)
}
