//! A request on its way to somebody else: what it is made of each time that it is sent.
use crate::{
    cause::Cause,
    headers::leave_at_hop,
    plane::REQUEST_ID,
    replay::{Given, Replay, Source},
};
use hyper::{
    HeaderMap, Method, Request, Uri, Version,
    body::Body,
    header::{CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE},
};

/// By which the other machine knows the revision that is meant; it is shown to no guest.
pub const HOP_TO: HeaderName = HeaderName::from_static("godwit-hop-to");
/// What it answers beside: how many requests of this deployment it has under way, and that it did not begin this one.
pub const HOP_LOAD: HeaderName = HeaderName::from_static("godwit-hop-load");
pub const HOP_MISSED: HeaderName = HeaderName::from_static("godwit-hop-missed");
/// What is meant for the next machine on the way only.
const OF_THIS_HOP: [HeaderName; 6] =
    [CONNECTION, EXPECT, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

pub struct Onward {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    pub source: Source,
    /// May be begun twice: it has no body, and asking it again changes nothing more.
    pub is_repeatable: bool,
}

impl Onward {
    pub fn new(request: Request<Given>, host: &str, request_id: &str) -> Result<Onward, Cause> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Cause::MethodRefused);
        }
        let (mut parts, body) = request.into_parts();
        leave_at_hop(&mut parts.headers);
        for name in OF_THIS_HOP.into_iter().chain([HOP_TO, HOP_LOAD, HOP_MISSED]) {
            parts.headers.remove(name);
        }
        // One that came with its host in the target is sent with it where HTTP/1.1 has it.
        if !parts.headers.contains_key(HOST) {
            let host = parts.uri.authority().map_or(host, |authority| authority.as_str());
            parts.headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| Cause::HostMissing)?);
        }
        parts.headers.insert(REQUEST_ID, HeaderValue::from_str(request_id).map_err(|_| Cause::HostMissing)?);
        let uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| Cause::HostMissing)?;
        let source = Source::new(body);
        let is_repeatable = source.is_empty() && parts.method.is_idempotent();
        Ok(Onward { method: parts.method, uri, headers: parts.headers, source, is_repeatable })
    }

    /// For this machine itself.
    pub fn whole(self, body: Given) -> Request<Given> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }

    pub fn request(&self, body: Replay, to: Option<&str>) -> Request<Replay> {
        // hyper sends a GET's body only where its framing is asked for.
        let is_chunked = !body.is_end_stream() && body.size_hint().exact().is_none();
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers.clone();
        if is_chunked {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if let Some(to) = to.and_then(|to| HeaderValue::from_str(to).ok()) {
            request.headers_mut().insert(HOP_TO, to);
        }
        request
    }
}
