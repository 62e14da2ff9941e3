//! How much waits, for a session and for all.

use std::{sync::Barrier, thread};

use axum::body::Bytes;

use super::*;
use crate::flow::outward::{Answer, Buffer, MOST_WAITING};

#[test]
fn one_packet_may_be_larger_than_the_budget_of_a_socket() {
    let flow = Flow::new(&Backlog::new(100 * MIB));
    assert!(flow.has_room_for(MOST_WAITING) && flow.has_room_for(8 * MIB));
    flow.sends(MOST_WAITING - 10);
    assert!(flow.has_room_for(10) && !flow.has_room_for(11) && flow.has_room_for(8 * MIB) && !flow.is_blocked());
    flow.sends(8 * MIB);
    assert!(!flow.has_room_for(1) && !flow.has_room_for(8 * MIB) && flow.is_blocked());
    flow.took(8 * MIB);
    assert!(flow.has_room_for(10) && !flow.is_blocked());
}

#[test]
fn all_bytes_are_counted_once_in_the_process_and_none_are_left() {
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    flow.sends(100);
    flow.did_not_send(100);
    flow.sends(1_000);
    flow.keeps(300);
    flow.keeps(200);
    assert_eq!((backlog.waiting(), flow.owed()), (1_500, 1_500));
    flow.keeps_less(300);
    assert!(flow.is_blocked());
    assert_eq!((backlog.waiting(), flow.owed()), (1_200, 1_200));
    flow.keeps_less(200);
    assert!(!flow.is_blocked());
    let answer = Answer::counted(Bytes::from(vec![0; 900]), Arc::clone(&flow));
    let rest = answer.slice(890..);
    drop(answer);
    assert_eq!(backlog.waiting(), 1_000, "hyper still has a part of it");
    drop(rest);
    assert_eq!(backlog.waiting(), 100);
    // Pings were written too.
    flow.took(150);
    assert_eq!(backlog.waiting(), 0);
    flow.has_buffer(Buffer::Write, 100);
    assert_eq!(backlog.waiting(), 0, "a small buffer is a part of any connection");
    flow.has_buffer(Buffer::Write, 8 * MIB);
    flow.has_buffer(Buffer::Write, MIB);
    flow.has_buffer(Buffer::Read, 64 * KIB);
    assert_eq!(backlog.waiting(), 8 * MIB + 64 * KIB);
    drop(flow);
    assert_eq!(backlog.waiting(), 0);
}

#[test]
fn the_bytes_of_all_sessions_are_never_below_0() {
    const TIMES: usize = 1_000_000;
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        // Packets are sent while the connection writes those before them, with heads of frames that no one counted.
        scope.spawn(|| {
            begin.wait();
            (0..TIMES).for_each(|_| flow.sends(10));
        });
        scope.spawn(|| {
            begin.wait();
            (0..TIMES).for_each(|_| flow.took(11));
        });
        for _ in 0..TIMES {
            assert!(backlog.waiting() <= TIMES * 10, "the count went below 0");
        }
    });
    assert_eq!(backlog.waiting(), flow.owed());
}
