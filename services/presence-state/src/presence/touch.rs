//! Touches: who was alive, many rooms at once.

use std::sync::Arc;

use futures_util::future;
use protocol::{
    Fault,
    command::{Outcome, Touch},
};
use tracing::Span;

use crate::store::Store;

pub(crate) async fn touch(store: &Arc<Store>, span: &Span, touch: &Touch) -> Result<Outcome, Fault> {
    let missing = store.touch(span, &touch.rooms).await?;
    let connections: usize = touch.rooms.iter().map(|room| room.alive.len()).sum();
    span.record("presence.rooms", touch.rooms.len() as i64)
        .record("presence.connections", connections as i64)
        .record("presence.missing", missing.len() as i64);
    future::join_all(touch.rooms.iter().map(|one| store.refresh(span, &one.room, &touch.node))).await;
    Ok(Outcome::Touched { missing })
}
