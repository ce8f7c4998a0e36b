//! `Limits` of sandbox/limits.ts as the runner gets them: complete and checked there.
use serde::Deserialize;

/// A place that a deployment may send requests to: `OutgoingPlace` of sandbox/outgoing.ts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OutgoingPlace {
    /// "http" or "https"
    pub scheme: String,
    /// Lower case; an IPv6 address is in brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    pub memory_bytes_max: u64,
    pub fuel_per_call_max: u64,
    pub cpu_time_ms_max: u64,
    pub wall_time_ms_max: u64,
    pub table_elements_max: u64,
    pub instances_max: u64,
    pub resource_handles_max: u64,
    pub request_body_bytes_max: u64,
    pub response_body_bytes_max: u64,
    pub header_count_max: u64,
    pub header_bytes_max: u64,
    pub log_bytes_per_second_max: u64,
    pub queue_length_max: u64,
    pub queue_wait_ms_max: u64,
    pub outgoing_connections_max: u64,
    pub outgoing_request_bytes_max: u64,
    pub outgoing_response_bytes_max: u64,
    pub outgoing_time_ms_max: u64,
}
