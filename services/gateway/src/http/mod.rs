//! HTTP: health pages, CORS and Socket.IO on one listener.

mod affinity;
pub(crate) mod connections;
mod flows;
mod frames;
pub(crate) mod gate;
pub(crate) mod proxies;
mod slim;
mod traffic;
pub(crate) mod transports;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state, map_request, map_request_with_state},
};
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use service::Health;
use socketioxide::layer::SocketIoLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use self::{gate::Gate, proxies::Proxies, transports::Transports};

/// Everything that the listener serves.
pub(crate) fn app(
    health: Health,
    socket_io: SocketIoLayer,
    gate: Arc<Gate>,
    transports: Arc<Transports>,
    origins: Option<Vec<HeaderValue>>,
    proxies: Proxies,
) -> Router {
    // Cookies, by which a load balancer keeps a client on its gateway, only for listed origins: browsers reject them for *.
    let are_named = origins.is_some();
    let origins = origins.map_or_else(AllowOrigin::any, AllowOrigin::list);
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(are_named)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE]);
    transports.set_engine(socket_io.clone());
    let pages: Router = health.router();
    pages
        .layer(socket_io)
        .layer(map_request(slim::slim))
        .layer(map_request_with_state(Arc::new(proxies), proxies::resolve_client))
        .layer(from_fn(affinity::add_session_header))
        .layer(from_fn_with_state(transports, transports::track))
        .layer(from_fn_with_state(gate, gate::pass))
        .layer(cors)
        .layer(DefaultBodyLimit::max(128 * 1024))
}
