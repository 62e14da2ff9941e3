//! Every optional field and every number that a client may send. A field that is added belongs into these tables.

use super::super::parse;
use crate::limits::{MAX_GIVEN_REVISION, MAX_LOCK_TTL_MS, MAX_LOCK_WAIT_MS, MAX_SAFE_INTEGER, MIN_LOCK_TTL_MS};

/// Arguments of an event, where the field stands as `@`.
type Template = &'static str;

/// Each optional field, and what says the same as no field.
const OPTIONAL: [(Template, &str, &[&str]); 20] = [
    (r#"["presence:join",{"roomId":"r","userId":"u"@}]"#, "state", &["null", "{}"]),
    (r#"["presence:heartbeat",{"patchState":{"a":1}@}]"#, "epoch", &["null"]),
    (r#"["presence:heartbeat",{"epoch":1@}]"#, "patchState", &["null", "{}"]),
    (r#"["metadata:setChannel",{"channelName":"c","channelType":"t"@}]"#, "data", &["null", "[]"]),
    (r#"["metadata:setChannel",{"channelName":"c","channelType":"t"@}]"#, "options", &["null", "{}"]),
    // No `data` removes everything; an empty list removes nothing, and a value of `null` is a value.
    (r#"["metadata:removeChannel",{"channelName":"c","channelType":"t"@}]"#, "data", &["null"]),
    (r#"["metadata:removeChannel",{"channelName":"c","channelType":"t"@}]"#, "options", &["null", "{}"]),
    (
        r#"["metadata:updateChannel",{"channelName":"c","channelType":"t","data":[{"key":"k"}]@}]"#,
        "options",
        &["null", "{}"],
    ),
    (r#"["metadata:setChannel",{"channelName":"c","channelType":"t","data":[{"key":"k"@}]}]"#, "revision", &["null"]),
    (
        r#"["metadata:updateChannel",{"channelName":"c","channelType":"t","data":[{"key":"k"@}]}]"#,
        "revision",
        &["null"],
    ),
    (
        r#"["metadata:removeChannel",{"channelName":"c","channelType":"t","data":[{"key":"k"@}]}]"#,
        "revision",
        &["null"],
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"addUserId":true@}}]"#,
        "majorRevision",
        &["null"],
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"addUserId":true@}}]"#,
        "lockName",
        &["null"],
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"lockName":"l"@}}]"#,
        "fence",
        &["null"],
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"lockName":"l"@}}]"#,
        "addTimestamp",
        &["null", "false"],
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"lockName":"l"@}}]"#,
        "addUserId",
        &["null", "false"],
    ),
    (r#"["lock:acquire",{"channelName":"c","channelType":"t","lockName":"l"@}]"#, "ttlMs", &["null", "10000"]),
    (r#"["lock:acquire",{"channelName":"c","channelType":"t","lockName":"l"@}]"#, "waitMs", &["null", "0"]),
    (r#"["lock:renew",{"channelName":"c","channelType":"t","lockName":"l","fence":1@}]"#, "ttlMs", &["null", "10000"]),
    (r#"["lock:get",{"channelName":"c","channelType":"t"@}]"#, "lockName", &["null"]),
];

/// Each number, with its bounds.
const NUMBERS: [(Template, &str, u64, u64); 12] = [
    (r#"["presence:heartbeat",{"epoch":@}]"#, "epoch", 0, MAX_SAFE_INTEGER),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","data":[{"key":"k","revision":@}]}]"#,
        "data[0].revision",
        0,
        MAX_GIVEN_REVISION,
    ),
    (
        r#"["metadata:updateChannel",{"channelName":"c","channelType":"t","data":[{"key":"k","revision":@}]}]"#,
        "data[0].revision",
        0,
        MAX_SAFE_INTEGER,
    ),
    (
        r#"["metadata:removeChannel",{"channelName":"c","channelType":"t","data":[{"key":"k","revision":@}]}]"#,
        "data[0].revision",
        0,
        MAX_SAFE_INTEGER,
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"majorRevision":@}}]"#,
        "options.majorRevision",
        0,
        MAX_SAFE_INTEGER,
    ),
    (
        r#"["metadata:removeChannel",{"channelName":"c","channelType":"t","options":{"majorRevision":@}}]"#,
        "options.majorRevision",
        0,
        MAX_SAFE_INTEGER,
    ),
    (
        r#"["metadata:setChannel",{"channelName":"c","channelType":"t","options":{"lockName":"l","fence":@}}]"#,
        "options.fence",
        0,
        MAX_SAFE_INTEGER,
    ),
    (
        r#"["lock:acquire",{"channelName":"c","channelType":"t","lockName":"l","ttlMs":@}]"#,
        "ttlMs",
        MIN_LOCK_TTL_MS,
        MAX_LOCK_TTL_MS,
    ),
    (
        r#"["lock:acquire",{"channelName":"c","channelType":"t","lockName":"l","waitMs":@}]"#,
        "waitMs",
        0,
        MAX_LOCK_WAIT_MS,
    ),
    (
        r#"["lock:renew",{"channelName":"c","channelType":"t","lockName":"l","fence":1,"ttlMs":@}]"#,
        "ttlMs",
        MIN_LOCK_TTL_MS,
        MAX_LOCK_TTL_MS,
    ),
    (r#"["lock:renew",{"channelName":"c","channelType":"t","lockName":"l","fence":@}]"#, "fence", 0, MAX_SAFE_INTEGER),
    (
        r#"["lock:release",{"channelName":"c","channelType":"t","lockName":"l","fence":@}]"#,
        "fence",
        0,
        MAX_SAFE_INTEGER,
    ),
];

fn read(template: &str, field: &str) -> String {
    let text = template.replace('@', field);
    format!("{:?}", parse(&text).unwrap_or_else(|fault| panic!("{text}: {fault}")))
}

#[test]
fn an_optional_field_may_be_absent_null_or_empty() {
    for (template, field, same) in OPTIONAL {
        let absent = read(template, "");
        for value in same {
            assert_eq!(read(template, &format!(r#","{field}":{value}"#)), absent, "{template} {field} {value}");
        }
    }
    for event in ["presence:heartbeat", "presence:leave"] {
        let template = format!(r#"["{event}"@]"#);
        for payload in [",null", ",{}", ",{ }"] {
            assert_eq!(read(&template, payload), read(&template, ""), "{event}{payload}");
        }
    }
}

#[test]
fn a_number_is_accepted_up_to_its_bounds_however_it_is_written() {
    for (template, field, least, most) in NUMBERS {
        for number in [least, most - 1, most] {
            let plain = read(template, &number.to_string());
            assert!(plain.contains(&number.to_string()), "{plain}");
            let (head, last) = (number / 10, number % 10);
            for form in [
                format!("{number}.0"),
                format!("{number}e0"),
                format!("{number}.00E-0"),
                format!("{head}.{last}e1"),
                format!("{head}.{last}00e+1"),
            ] {
                assert_eq!(read(template, &form), plain, "{template} {form}");
            }
        }
        for form in [(most + 1).to_string(), format!("{}.0", most + 1), format!("{least}.5"), format!("\"{least}\"")] {
            let fault = parse(&template.replace('@', &form)).unwrap_err();
            assert!(fault.message.contains(field), "{template} {form}: {fault}");
        }
    }
}
