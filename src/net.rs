//! HTTP beyond this process: one place for proxies, certificates and timeouts.
//!
//! ```
//! # fn main() -> Result<(), infill::engine::EngineError> {
//! let net = infill::net::Net::new(std::time::Duration::from_secs(30))?;
//! let url: reqwest::Url = "http://127.0.0.1:8080/v1/models".parse().unwrap();
//! let request = net.client(&url).get(url); // straight there, whatever HTTP_PROXY says
//! # let _ = request; Ok(()) }
//! ```
//! The system's proxy (`HTTPS_PROXY`, `NO_PROXY`, the system's settings) serves remote hosts, never this machine's own:
//! a proxy elsewhere cannot know what listens here. Certificates are checked against the system's store, so that a
//! company's own root works. Redirects are left to who asks, because a token must not travel with them.
use crate::engine::EngineError;
use reqwest::{Client, Url, redirect::Policy};
use std::net::IpAddr;
use std::time::Duration;

/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Two clients: for this machine, and for the others.
#[derive(Clone, Debug)]
pub struct Net {
    direct: Client,
    system: Client,
}

impl Net {
    /// `silence`: longest time without a byte.
    ///
    /// # Errors
    /// A proxy's address in the environment that is none, or a store of certificates that cannot be read.
    pub fn new(silence: Duration) -> Result<Net, EngineError> {
        let builder = || {
            let agent = concat!("infill/", env!("CARGO_PKG_VERSION"));
            Client::builder().user_agent(agent).connect_timeout(CONNECT).read_timeout(silence).redirect(Policy::none())
        };
        let problem = |error: reqwest::Error| EngineError {
            title: format!("No HTTP client ({})", reason(&error)),
            hint: "correct HTTP_PROXY, HTTPS_PROXY and SSL_CERT_FILE, or unset them".into(),
        };
        let direct = builder().no_proxy().build().map_err(problem)?;
        Ok(Net { direct, system: builder().build().map_err(problem)? })
    }

    /// The client for an address.
    pub fn client(&self, url: &Url) -> &Client {
        if is_loopback(url) { &self.direct } else { &self.system }
    }
}

/// Whether an address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// What to do about a certificate that is not trusted; `None`: the reason is another.
pub fn certificate(reason: &str) -> Option<&'static str> {
    let (unknown, other) = (
        "this system does not trust who signed it: install the authority's certificate, or name it in SSL_CERT_FILE",
        "the certificate is for another host: use the address that it names",
    );
    let named = reason.contains("not valid for name");
    reason.contains("certificate").then_some(if named { other } else { unknown })
}

/// Whether the connection was closed before a byte of the answer: a server ends those that it has kept long enough, and
/// may do so just as the next request is on its way.
pub fn hung_up(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
            || cause.downcast_ref::<std::io::Error>().is_some_and(|e| [BrokenPipe, ConnectionAborted, ConnectionReset].contains(&e.kind()))
    };
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    error.is_request() && !error.is_connect() && !error.is_timeout() && causes.any(closed)
}

/// Why a request failed: the innermost reason, without the address (it may hold a signature) and without numbers.
pub fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        let here = |text: &str| is_loopback(&text.parse().unwrap());
        for url in ["http://localhost:1", "http://127.0.0.1", "http://127.8.9.1:80/x", "http://[::1]:8080", "http://a.localhost"] {
            assert!(here(url), "{url}");
        }
        for url in ["http://localhost.example.com", "http://10.0.0.1", "https://huggingface.co", "http://[fe80::1]"] {
            assert!(!here(url), "{url}");
        }
    }
}
