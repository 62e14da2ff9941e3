//! HTTP: pages, CORS and Socket.IO on one listener, and what may reach them. Each of these modules uses only earlier ones:
//!
//! - `address`: addresses as limits count them. `connections`: the list of TCP connections. `timed`,
//!   `linger`: time limits of one.
//! - `refusals`: counts, logs and answers what is refused.
//! - `gate`, `requests`, `origins`: which requests pass. `path`: where Socket.IO is. `proxies`: whose they are.
//! - `asset`: files that are part of the program. `bundle`: the client for browsers. `playground`: a page to try it.
//! - `frames`, `traffic`, `connection`, `flows`: what a WebSocket reads and writes, and whose bytes a long poll carries.
//! - `transports`: ends single sessions. `slot`, `sessions`: how many sessions there may be.
//! - `affinity`, `slim`: what a load balancer learns, what engineioxide keeps.
//! - `overflow`, `server`: accepts connections and serves them.

mod address;
mod affinity;
mod asset;
mod bundle;
mod connection;
pub(crate) mod connections;
mod flows;
mod frames;
pub(crate) mod gate;
mod linger;
pub(crate) mod origins;
pub(crate) mod overflow;
pub(crate) mod path;
pub(crate) mod playground;
pub(crate) mod proxies;
mod refusals;
mod requests;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod slim;
pub(crate) mod slot;
mod timed;
mod traffic;
pub(crate) mod transports;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state, map_request, map_request_with_state},
};
use http::Method;
use socketioxide::layer::SocketIoLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use self::{
    gate::Gate, origins::Origins, path::SocketIoPath, playground::Page, proxies::Proxies, sessions::Sessions,
    transports::Transports,
};

/// What a request passes on its way to Socket.IO.
pub(crate) struct Checks {
    pub(crate) gate: Arc<Gate>,
    pub(crate) path: SocketIoPath,
    pub(crate) proxies: Proxies,
    pub(crate) origins: Origins,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) transports: Arc<Transports>,
}

/// Everything that the listener serves. The last layer is the first that a request passes.
pub(crate) fn app(health: Router, page: Option<&Page>, socket_io: SocketIoLayer, checks: Checks) -> Router {
    let Checks { gate, path, proxies, origins, sessions, transports } = checks;
    let cors = cors(&origins);
    transports.set_engine(socket_io.clone());
    health
        .merge(playground::router(page))
        .layer(socket_io)
        .layer(map_request(slim::slim))
        .layer(from_fn(affinity::add_session_header))
        .layer(from_fn_with_state(transports, transports::track))
        .layer(from_fn_with_state(sessions, sessions::admit))
        .layer(from_fn_with_state(bundle::asset(), bundle::serve))
        .layer(from_fn_with_state(Arc::new(origins), origins::check))
        .layer(from_fn(requests::limit))
        .layer(map_request_with_state(Arc::new(proxies), proxies::resolve_client))
        .layer(from_fn_with_state(gate, gate::pass))
        .layer(from_fn_with_state(path, path::resolve))
        .layer(cors)
        .layer(DefaultBodyLimit::max(128 * 1024))
}

fn cors(origins: &Origins) -> CorsLayer {
    // Cookies, by which a load balancer keeps a client on its gateway, only for listed origins: browsers reject them for *.
    let (origins, are_named) = match origins {
        Origins::Any => (AllowOrigin::any(), false),
        Origins::Named(named) => (AllowOrigin::list(named.clone()), true),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(are_named)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
}
