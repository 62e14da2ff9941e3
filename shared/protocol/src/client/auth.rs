//! The payloads of `auth:*`, and a client's token.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Request, payload::fields};
use crate::fault::Fault;

/// A client's token. It is a secret: it is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Token(Box<str>);

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
}

pub(super) fn refresh(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("auth:refresh", payload)?;
    let token = fields.token.ok_or_else(|| Fault::invalid("token is missing"))?;
    serde_json::from_str(token.get()).map(Request::Refresh).map_err(|_| Fault::invalid("token must be a string"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::parse;

    #[test]
    fn a_token_is_read_and_never_printed() {
        let request = parse(r#"["auth:refresh",{"token":"a.b.c"}]"#).unwrap();
        assert_eq!(format!("{request:?}"), "Refresh(Token(…))");
        assert!(matches!(request, Request::Refresh(token) if token.as_str() == "a.b.c"));
        for (payload, sentence) in [
            ("{}", "token is missing"),
            (r#"{"token":null}"#, "token is missing"),
            (r#"{"token":7}"#, "token must be a string"),
            (r#""a.b.c""#, "the payload of auth:refresh must be an object"),
        ] {
            let fault = parse(&format!(r#"["auth:refresh",{payload}]"#)).unwrap_err();
            assert_eq!(fault.message, sentence);
        }
    }
}
