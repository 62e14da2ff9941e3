//! The process `presence-state`.

use std::process::ExitCode;

use rollcall_service::Program;
use tikv_jemallocator::Jemalloc;

/// glibc's allocator keeps what answers of megabytes took after they are gone.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
