//! Rooms against a world of one room without sockets, Redis or time of its own.

mod chain;
mod channels;
mod client;
mod clock;
mod property;
mod unit;
mod world;
