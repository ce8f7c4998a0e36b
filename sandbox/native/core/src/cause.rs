//! Why a request or a task did not end well, as a stable code.
use crate::guest::Refusal;
use hyper::StatusCode;
use wasmtime::{Error, Trap};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cause {
    HostUnknown,
    HostMissing,
    MethodRefused,
    BodyMalformed,
    HeaderTooLarge,
    BodyTooLarge,
    BodyTooSlow,
    AnswerTooLarge,
    QueueFull,
    WaitedTooLong,
    Overloaded,
    /// The runner of a deployment that has its own.
    RunnerGone,
    /// No machine that has a replica could take it, for as long as a request waits.
    NoReplica,
    /// The machine that had begun with it went away.
    HopBroken,
    MemoryShared,
    MemoryLimit,
    TableLimit,
    FuelLimit,
    CpuTimeLimit,
    WallTimeLimit,
    Trap,
    NoAnswer,
    GuestError,
}

impl Cause {
    pub fn code(self) -> &'static str {
        match self {
            Cause::HostUnknown => "host_unknown",
            Cause::HostMissing => "host_missing",
            Cause::MethodRefused => "method_refused",
            Cause::BodyMalformed => "body_malformed",
            Cause::HeaderTooLarge => "header_too_large",
            Cause::BodyTooLarge => "body_too_large",
            Cause::BodyTooSlow => "body_too_slow",
            Cause::AnswerTooLarge => "answer_too_large",
            Cause::QueueFull => "queue_full",
            Cause::WaitedTooLong => "queue_timeout",
            Cause::Overloaded => "overloaded",
            Cause::RunnerGone => "runner_gone",
            Cause::NoReplica => "no_replica",
            Cause::HopBroken => "hop_broken",
            Cause::MemoryShared => "memory_full",
            Cause::MemoryLimit => "memory_limit",
            Cause::TableLimit => "table_limit",
            Cause::FuelLimit => "fuel_limit",
            Cause::CpuTimeLimit => "cpu_time_limit",
            Cause::WallTimeLimit => "wall_time_limit",
            Cause::Trap => "trap",
            Cause::NoAnswer => "no_answer",
            Cause::GuestError => "guest_error",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Cause::HostUnknown => StatusCode::NOT_FOUND,
            Cause::HostMissing | Cause::BodyMalformed => StatusCode::BAD_REQUEST,
            Cause::MethodRefused => StatusCode::NOT_IMPLEMENTED,
            Cause::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Cause::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Cause::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Cause::HopBroken => StatusCode::BAD_GATEWAY,
            Cause::QueueFull | Cause::WaitedTooLong | Cause::Overloaded | Cause::RunnerGone | Cause::NoReplica | Cause::MemoryShared => StatusCode::SERVICE_UNAVAILABLE,
            Cause::FuelLimit | Cause::CpuTimeLimit | Cause::WallTimeLimit => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// `error` came out of the guest's call; `refused` is the limit it ran into before, which is then why it trapped.
    pub fn of(error: &Error, refused: Option<Refusal>) -> Cause {
        if let Some(Trap::OutOfFuel) = error.downcast_ref::<Trap>() {
            return Cause::FuelLimit;
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Cause::Overloaded;
        }
        match refused {
            Some(Refusal::Memory) => Cause::MemoryLimit,
            Some(Refusal::MemoryShared) => Cause::MemoryShared,
            Some(Refusal::Table) => Cause::TableLimit,
            None => Cause::Trap,
        }
    }
}
