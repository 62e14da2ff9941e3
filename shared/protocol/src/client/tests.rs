mod fields;

use proptest::prelude::*;

use super::*;
use crate::{fault::Code, limits::MAX_SAFE_INTEGER};

fn refused(arguments: &str, word: &str) {
    let fault = parse(arguments).unwrap_err();
    assert!(fault.message.contains(word), "{arguments}: {fault}");
}

#[test]
fn a_join_keeps_its_state_to_the_letter() {
    let json =
        r#"["presence:join",{"roomId":"日本","userId":"u","extra":1,"state":{"b": 1e400, "a":9007199254740993}}]"#;
    let Ok(Request::Join { room, state, .. }) = parse(json) else { panic!("refused") };
    assert_eq!(room.as_str(), "日本");
    assert_eq!(state.get(), r#"{"b": 1e400, "a":9007199254740993}"#);
}

#[test]
fn a_state_of_null_is_none() {
    let json = r#"["presence:join",{"roomId":"r","userId":"u","state":null}]"#;
    assert!(matches!(parse(json), Ok(Request::Join { state, .. }) if state.get() == "{}"));
}

#[test]
fn bad_payloads_are_refused_by_field() {
    refused(r#"["presence:join"]"#, "payload");
    refused(r#"["presence:join",null]"#, "payload");
    refused(r#"["presence:join",[]]"#, "payload");
    refused(r#"["presence:join",{"userId":"u"}]"#, "roomId");
    refused(r#"["presence:join",{"roomId":7,"userId":"u"}]"#, "roomId");
    refused(r#"["presence:join",{"roomId":"r","userId":7}]"#, "userId");
    refused(r#"["presence:join",{"roomId":"r","userId":"u","state":[]}]"#, "state");
    refused(r#"["presence:join",{"roomId":"r","userId":"u"},1]"#, "arguments");
    refused(r#"["presence:heartbeat",{"epoch":-1}]"#, "epoch");
    refused(r#"["presence:heartbeat",{"epoch":1.5}]"#, "epoch");
    refused(r#"["presence:heartbeat",{"epoch":"1"}]"#, "epoch");
    refused(r#"["presence:heartbeat",{"patchState":NaN}]"#, "JSON");
    refused(r#"["presence:nothing",{}]"#, "event");
    refused(r#"["presence:leave",7]"#, "payload");
}

#[test]
fn heartbeats_and_leaves() {
    for payload in ["", ",null", ",{}", ",{ }", r#",{"epoch":null,"patchState":null}"#] {
        let plain = format!(r#"["presence:heartbeat"{payload}]"#);
        assert!(matches!(parse(&plain), Ok(Request::Heartbeat { epoch: None, patch: None })), "{plain}");
    }
    let float = r#"["presence:heartbeat",{"epoch":1.79570397037e12}]"#;
    assert!(matches!(parse(float), Ok(Request::Heartbeat { epoch: Some(1_795_703_970_370), .. })));
    let highest = format!(r#"["presence:heartbeat",{{"epoch":{MAX_SAFE_INTEGER}}}]"#);
    assert!(matches!(parse(&highest), Ok(Request::Heartbeat { epoch: Some(MAX_SAFE_INTEGER), .. })));
    for leave in [r#"["presence:leave"]"#, r#"["presence:leave",null]"#, r#"["presence:leave",{}]"#] {
        assert!(matches!(parse(leave), Ok(Request::Leave)), "{leave}");
    }
}

#[test]
fn what_is_not_written_compactly_is_read_too() {
    for text in [
        r#" [ "presence:heartbeat" , { "epoch" : 7 } ] "#,
        r#"["presence\u003aheartbeat",{"epoch":7}]"#,
        r#"["presence:heartbeat",{"\u0065poch":7} ]"#,
    ] {
        assert!(matches!(parse(text), Ok(Request::Heartbeat { epoch: Some(7), patch: None })), "{text}");
    }
    refused(r#"["presence:heartbeat",{}},{]"#, "JSON");
    refused(r#"["presence:heartbeat",{},{}]"#, "arguments");
    refused(r#"["presence:leave",{}},{]"#, "JSON");
    refused(r#"["presence:leave",{},{}]"#, "arguments");
    refused(r#"["presence:heartbeat",{"epoch":1,"epoch":1}]"#, "twice");
    refused(r#"["presence:heartbeat",{"\ud800":1}]"#, "Unicode");
}

proptest! {
    /// A payload that is parsed where it is may still not be less than JSON.
    #[test]
    fn what_is_accepted_is_json(
        event in "presence:(heartbeat|leave|join)|lock:get",
        fields in "(,?(\"(epoch|roomId|userId|channelName|channelType|state)\":)?([1-9]|null|\"x\"|\\{\\}|[\\[\\]{},:\"]))*",
    ) {
        let text = format!(r#"["{event}",{{{fields}}}]"#);
        if parse(&text).is_ok() {
            prop_assert!(serde_json::from_str::<(String, &RawValue)>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse(&text);
        let _ = parse(&format!(r#"["presence:join",{text}]"#));
        let _ = parse(&format!(r#"["presence:heartbeat",{{"patchState":{text}}}]"#));
        let _ = parse(&format!(r#"["metadata:setChannel",{{"channelName":"c","channelType":"t","data":{text}}}]"#));
        let _ = parse(&format!(r#"["lock:acquire",{{"channelName":"c","channelType":"t","lockName":{text}}}]"#));
        let _ = parse(&format!(
            r#"["metadata:removeChannel",{{"channelName":"c","channelType":"t","options":{text}}}]"#
        ));
    }

    #[test]
    fn a_refusal_is_the_clients_fault(text in "[\\[\\]{}\",:a-z0-9]*") {
        if let Err(fault) = parse(&text) {
            prop_assert!(matches!(fault.code, Code::InvalidPayload | Code::TooLarge));
        }
    }
}
