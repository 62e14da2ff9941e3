//! What a token says about its connection: a JSON object that members of its room are shown as `info`. Its client cannot
//! change it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::value::RawValue;

use crate::{
    fault::{Code, Fault},
    json::{check_depth, compact},
    limits::MAX_INFO_BYTES,
};

/// See the module. It has no line break, because records and events are lines of text. Its clones share one text.
#[derive(Clone)]
pub struct Info(Arc<RawValue>);

impl Info {
    /// Accepts the `info` of a token: a JSON object within the limits. White space between its tokens is removed.
    ///
    /// # Errors
    /// `INVALID_PAYLOAD` or `TOO_LARGE`.
    pub fn new(json: &RawValue) -> Result<Self, Fault> {
        let text = compact(json.get());
        if !text.starts_with('{') {
            return Err(Fault::invalid("info must be an object"));
        }
        if text.len() > MAX_INFO_BYTES {
            return Err(Fault::new(Code::TooLarge, format!("info must be at most {MAX_INFO_BYTES} bytes of JSON")));
        }
        check_depth("info", &text)?;
        let info = RawValue::from_string(text).ok().and_then(Self::from_line);
        info.ok_or_else(|| Fault::invalid("info is not valid JSON"))
    }

    /// Takes one that was accepted before, from a record or an event; `None` if it has a line break.
    pub fn from_line(json: Box<RawValue>) -> Option<Self> {
        (!json.get().contains('\n')).then(|| Self(json.into()))
    }

    /// The JSON.
    pub fn json(&self) -> &RawValue {
        &self.0
    }

    /// The text of the JSON.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Info {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for Info {}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Info {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_line(json).ok_or_else(|| D::Error::custom("an info has a line break"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Result<Info, Fault> {
        Info::new(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn it_is_one_line_and_keeps_every_other_letter() {
        let text = "{ \"name\" :\t\"A  b\\\"  \\\\\",\r\n \"n\": [ 1e400, {} ] }";
        assert_eq!(info(text).unwrap().as_str(), r#"{"name":"A  b\"  \\","n":[1e400,{}]}"#);
        let line = RawValue::from_string("{\"a\":\n1}".to_owned()).unwrap();
        assert!(Info::from_line(line).is_none());
        assert!(serde_json::from_str::<Info>("{\"a\":\n1}").is_err());
    }

    #[test]
    fn it_is_sent_as_it_is() {
        let text = r#"{"a":9007199254740993}"#;
        let sent: Info = serde_json::from_str(&serde_json::to_string(&info(text).unwrap()).unwrap()).unwrap();
        assert_eq!((sent.as_str(), &sent), (text, &info(text).unwrap()));
        assert_ne!(sent, info("{}").unwrap());
    }

    #[test]
    fn limits_are_named() {
        let code = |text: &str| info(text).map(|_| ()).unwrap_err().code;
        assert_eq!([code("[]"), code("null"), code("\"{}\"")], [Code::InvalidPayload; 3]);
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(code(&deep), Code::InvalidPayload);
        let object = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - r#"{"a":""}"#.len()));
        assert_eq!(code(&object(MAX_INFO_BYTES + 1)), Code::TooLarge);
        assert!(info(&format!(" {} ", object(MAX_INFO_BYTES))).is_ok(), "white space does not count");
    }
}
