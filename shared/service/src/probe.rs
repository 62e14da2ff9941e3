//! `--health`: requests `/readyz` from the service in the same container and exits with 0 if it is ready, 1 if not. The image
//! has no shell or HTTP client that could do it.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

/// Longer than any check takes, shorter than an orchestrator waits.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Larger than any health page.
const PAGE_BYTES: u64 = 16 * 1024;

/// Asks the service on `host` and `port` whether it is ready, and prints its answer.
pub(crate) fn check(service: &str, host: IpAddr, port: u16) -> ExitCode {
    match ready(reachable(host), port) {
        Ok((true, page)) => {
            println!("{page}");
            ExitCode::SUCCESS
        }
        Ok((false, page)) => {
            println!("{page}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{service}: no answer on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The address on which to reach a service that is bound to `host`: loopback if it listens on all addresses.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        one => one,
    }
}

fn ready(host: IpAddr, port: u16) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, port), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(PAGE_BYTES).read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.split(' ').nth(1) == Some("200"), page.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, net::TcpListener, thread};

    use super::*;

    fn answered(answer: &'static str) -> io::Result<(bool, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = io::BufReader::new(&stream).lines().next().unwrap().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            asked
        });
        let result = ready(Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(server.join().unwrap(), "GET /readyz HTTP/1.0");
        result
    }

    #[test]
    fn only_a_200_is_ready_and_the_page_is_returned() {
        assert_eq!(answered("HTTP/1.0 200 OK\r\nx: y\r\n\r\n{}").unwrap(), (true, "{}".to_owned()));
        assert_eq!(answered("HTTP/1.0 503 No\r\n\r\nwhy").unwrap(), (false, "why".to_owned()));
        assert_eq!(answered("200").unwrap(), (false, String::new()));
    }

    #[test]
    fn a_closed_port_is_an_error_and_unspecified_addresses_mean_loopback() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(ready(Ipv4Addr::LOCALHOST.into(), port).is_err());
        let reachable = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(["0.0.0.0", "::", "10.0.0.7"].map(reachable), ["127.0.0.1", "::1", "10.0.0.7"]);
    }
}
