//! HTTP: health pages, CORS and Socket.IO on one listener.

pub(crate) mod connections;
mod slim;

use axum::{Router, extract::DefaultBodyLimit};
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use service::Health;
use socketioxide::layer::SocketIoLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Everything that the listener serves.
pub(crate) fn app(health: Health, socket_io: SocketIoLayer, origins: Option<Vec<HeaderValue>>) -> Router {
    let origins = origins.map_or_else(AllowOrigin::any, AllowOrigin::list);
    let cors =
        CorsLayer::new().allow_origin(origins).allow_methods([Method::GET, Method::POST]).allow_headers([CONTENT_TYPE]);
    let pages: Router = health.router();
    pages
        .layer(socket_io)
        .layer(axum::middleware::map_request(slim::slim))
        .layer(cors)
        .layer(DefaultBodyLimit::max(128 * 1024))
}
