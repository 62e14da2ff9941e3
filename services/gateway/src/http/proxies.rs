//! The address of a client behind proxies. `X-Forwarded-For` is read only if the peer is in `TRUSTED_PROXIES`: anyone else can
//! write anything into it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
};

use ipnet::{IpNet, Ipv4Net};

use super::connections::Peer;

/// The header to which a proxy appends its peer's address.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The bits that come before an IPv4 address in its IPv6 form (`::ffff:0:0/96`).
const MAPPED_BITS: u8 = 96;

/// The trusted addresses.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Parses addresses and networks (`10.0.0.0/8`) separated by commas. An empty text trusts no one.
    ///
    /// # Errors
    /// What is wrong with the first entry that is neither, or that matches no peer.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is a trusted proxy's.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The last address that is not a trusted proxy's. Proxies append, so what the client itself wrote comes before that and is
    /// not read.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        // From the right, by bytes: what the client wrote itself may be no text.
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while self.trusts(client) {
            match hops.next().and_then(hop) {
                Some(hop) => client = hop.to_canonical(),
                None => break,
            }
        }
        client
    }
}

/// The address of one hop. Some proxies append the port.
fn hop(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Parses a network; a single address is a network of one. Peers are compared in their canonical form, so an IPv4 network in the form
/// that IPv6 has for it (`::ffff:10.0.0.0/104`) becomes what it stands for.
fn network(entry: &str) -> Result<IpNet, String> {
    let network: IpNet = entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        format!("has `{entry}`, which is neither an address nor a network like 10.0.0.0/8 (separated by commas)")
    })?;
    let IpNet::V6(v6) = network else { return Ok(network) };
    let Some(v4) = v6.addr().to_ipv4_mapped() else { return Ok(network) };
    let bits = v6.prefix_len().checked_sub(MAPPED_BITS).and_then(|bits| Ipv4Net::new(v4, bits).ok());
    bits.map(IpNet::V4).ok_or_else(|| {
        format!("has `{entry}`, which is more than the IPv4 addresses in IPv6; write 0.0.0.0/0 for all of them, or an IPv6 network")
    })
}

/// Replaces a trusted proxy's address by the client's.
pub(super) async fn resolve_client(State(proxies): State<Arc<Proxies>>, mut request: Request) -> Request {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0);
    if let Some(Peer { address, connection }) = peer.filter(|peer| proxies.trusts(peer.address.ip().to_canonical())) {
        let client = proxies.client(address.ip(), request.headers());
        let address = SocketAddr::new(client, address.port());
        request.extensions_mut().insert(ConnectInfo(Peer { address, connection }));
    }
    request
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &str, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Proxies::parse(trusted).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("", "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.0/8", "::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        for mapped in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:a00:1/128", "::ffff:0:0/96"] {
            assert_eq!(client(mapped, "10.0.0.1", &["1.2.3.4"]), "1.2.3.4", "{mapped}");
            assert_eq!(client(mapped, "::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4", "{mapped}");
        }
        assert_eq!(client("::ffff:10.0.0.0/104", "11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
        assert_eq!(client("10.0.0.7/8", "10.9.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("fd00::/8", "fd00::7", &["2001:db8::1"]), "2001:db8::1");
    }

    #[test]
    fn what_the_client_wrote_itself_is_not_read() {
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.0/24", "10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["\u{ff}, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["6.6.6.6, 1.2.3.4:80"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["[2001:db8::1]:99"]), "2001:db8::1");
    }

    #[test]
    fn an_unreadable_hop_leaves_the_last_readable_one() {
        assert_eq!(client("10.0.0.1", "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["1.2.3.4, unknown"]), "10.0.0.1");
        assert_eq!(client("0.0.0.0/0", "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
    }

    #[test]
    fn networks_are_addresses_with_or_without_bits() {
        for good in ["", "10.0.0.0/8", "10.0.0.1, ::1", "0.0.0.0/0", "fd00::/8"] {
            assert!(Proxies::parse(good).is_ok(), "{good}");
        }
        for bad in ["edge", "10.0.0.0/33", "10.0.0.0/x", "::/129", "10.0.0", "::ffff:10.0.0.0/8", "::ffff:0:0/95"] {
            let problem = Proxies::parse(&format!("10.0.0.1, {bad}")).unwrap_err();
            assert!(problem.contains(&format!("`{bad}`")), "{problem}");
        }
    }
}
