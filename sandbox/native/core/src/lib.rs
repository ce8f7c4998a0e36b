//! What the three shells share: settings of the engine and the jail; with feature `run`, also instances and the HTTP data plane.
pub mod attack;
pub mod engine;
pub mod jail;
pub mod passing;
pub mod spaces;
pub mod vault;
pub mod wipe;

#[cfg(feature = "compile")]
mod places;
#[cfg(feature = "compile")]
pub mod unroll;

#[cfg(feature = "run")]
mod absent;
#[cfg(feature = "run")]
pub mod account;
#[cfg(feature = "run")]
pub mod batch;
#[cfg(feature = "run")]
pub mod body;
#[cfg(feature = "run")]
pub mod cause;
#[cfg(feature = "run")]
pub mod code;
#[cfg(feature = "run")]
pub mod elsewhere;
#[cfg(feature = "run")]
pub mod gate;
#[cfg(feature = "run")]
pub mod guest;
#[cfg(feature = "run")]
pub mod headers;
#[cfg(feature = "run")]
pub mod hop;
#[cfg(feature = "run")]
mod kept;
#[cfg(feature = "run")]
pub mod limits;
#[cfg(feature = "run")]
pub mod line;
#[cfg(feature = "run")]
pub mod log;
#[cfg(feature = "run")]
mod onward;
#[cfg(feature = "run")]
pub mod outgoing;
#[cfg(feature = "run")]
pub mod peers;
#[cfg(feature = "run")]
pub mod plane;
#[cfg(feature = "run")]
pub mod replay;
#[cfg(feature = "run")]
pub mod residents;
#[cfg(feature = "run")]
pub mod round;
#[cfg(feature = "run")]
pub mod serve;
#[cfg(feature = "run")]
pub mod stacks;
#[cfg(feature = "run")]
mod stall;
#[cfg(feature = "run")]
pub mod shelf;
#[cfg(feature = "run")]
pub mod strict;
#[cfg(feature = "run")]
mod swap;
#[cfg(feature = "run")]
pub mod task;
#[cfg(feature = "run")]
pub mod text;
#[cfg(feature = "run")]
pub mod trial;
