//! What the three shells share: settings of the engine and the jail; with feature `run`, also instances and the HTTP data plane.
pub mod engine;
pub mod jail;

#[cfg(feature = "run")]
pub mod account;
#[cfg(feature = "run")]
pub mod batch;
#[cfg(feature = "run")]
pub mod body;
#[cfg(feature = "run")]
pub mod cause;
#[cfg(feature = "run")]
pub mod gate;
#[cfg(feature = "run")]
pub mod guest;
#[cfg(feature = "run")]
pub mod limits;
#[cfg(feature = "run")]
pub mod log;
#[cfg(feature = "run")]
pub mod outgoing;
#[cfg(feature = "run")]
pub mod plane;
#[cfg(feature = "run")]
pub mod serve;
#[cfg(feature = "run")]
pub mod trial;
