//! Rooms against a world of one room without sockets, Redis or time of its own.

mod client;
mod clock;
mod metadata;
mod property;
mod unit;
mod world;
