//! HTTP: health pages, CORS and Socket.IO on one listener.

pub(crate) mod connections;
pub(crate) mod gate;
mod slim;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn_with_state, map_request},
};
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use service::Health;
use socketioxide::layer::SocketIoLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use self::gate::Gate;

/// Everything that the listener serves.
pub(crate) fn app(
    health: Health,
    socket_io: SocketIoLayer,
    gate: Arc<Gate>,
    origins: Option<Vec<HeaderValue>>,
) -> Router {
    let origins = origins.map_or_else(AllowOrigin::any, AllowOrigin::list);
    let cors =
        CorsLayer::new().allow_origin(origins).allow_methods([Method::GET, Method::POST]).allow_headers([CONTENT_TYPE]);
    let pages: Router = health.router();
    pages
        .layer(socket_io)
        .layer(map_request(slim::slim))
        .layer(from_fn_with_state(gate, gate::pass))
        .layer(cors)
        .layer(DefaultBodyLimit::max(128 * 1024))
}
