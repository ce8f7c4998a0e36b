//! What stays where it is: a cookie with the host that set it, what two neighbours tell each other with those two.
use crate::plane::REQUEST_ID;
use hyper::{
    HeaderMap,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SET_COOKIE, TE},
};

/// What we say ourselves, and what says where a request ends and whose it is: nobody takes that out by naming it.
const STAYS: [HeaderName; 4] = [HOST, CONTENT_LENGTH, HeaderName::from_static("x-forwarded-for"), REQUEST_ID];

/// Takes out what was meant for us and not for the guest: what `Connection` names (RFC 9110, section 7.6.1), and `TE`. The other
/// headers of one hop no guest is shown anyway.
pub fn leave_at_hop(headers: &mut HeaderMap) {
    headers.remove(TE);
    let named: Vec<HeaderName> = match headers.get_all(CONNECTION).iter().next() {
        None => return,
        Some(_) => headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect(),
    };
    for name in named.iter().filter(|name| !STAYS.contains(name)) {
        headers.remove(name);
    }
}

/// Takes `Domain` out of every cookie; without it a browser sends a cookie to its own host only (RFC 6265, section 5.3). Tenants
/// share a zone, and a cookie for the zone would go to all of them.
pub fn keep_to_host(headers: &mut HeaderMap) {
    if !headers.contains_key(SET_COOKIE) {
        return;
    }
    let kept: Vec<Vec<u8>> = headers.get_all(SET_COOKIE).iter().map(|value| without_domain(value.as_bytes())).collect();
    headers.remove(SET_COOKIE);
    // Parts of what was a value are one.
    for value in kept.iter().filter_map(|text| HeaderValue::from_bytes(text).ok()) {
        headers.append(SET_COOKIE, value);
    }
}

fn without_domain(cookie: &[u8]) -> Vec<u8> {
    let is_domain = |part: &&[u8]| part.split(|byte| *byte == b'=').next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"domain"));
    let mut parts = cookie.split(|byte| *byte == b';');
    let pair = parts.next().unwrap_or_default();
    parts.filter(|part| !is_domain(part)).fold(pair.to_vec(), |mut kept, part| {
        kept.push(b';');
        kept.extend_from_slice(part);
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_but_not_what_we_say() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine, Host, X-Forwarded-For"),
            ("connection", "content-length,x-request-id"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("host", "a.example"),
            ("x-forwarded-for", "192.0.2.1"),
            ("content-length", "3"),
            ("x-request-id", "0"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        leave_at_hop(&mut headers);
        assert!(!headers.contains_key("x-mine") && !headers.contains_key("te"));
        assert!(STAYS.iter().all(|name| headers.contains_key(name)));
    }

    #[test]
    fn a_cookie_loses_its_domain_and_nothing_else() {
        for (cookie, kept) in [
            ("a=1", "a=1"),
            ("a=1; Path=/; Domain=example; Secure", "a=1; Path=/; Secure"),
            ("a=1;DOMAIN = .example;domain;Domain=", "a=1"),
            ("domain=1; Domain=x", "domain=1"),
            ("a=b=c; Path=/domain", "a=b=c; Path=/domain"),
        ] {
            assert_eq!(without_domain(cookie.as_bytes()), kept.as_bytes(), "{cookie}");
        }
        let mut headers = HeaderMap::new();
        for cookie in ["a=1; Domain=x", "b=2", "c=3; domain=y; Secure"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        keep_to_host(&mut headers);
        assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=1", "b=2", "c=3; Secure"]);
    }
}
