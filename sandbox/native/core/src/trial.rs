//! The trial of a load: one instance, of which nothing is asked. What cannot even begin is an error of the load, once, and not of
//! every request.
use crate::{
    account::{CallTime, thread_cpu_ns},
    batch::{Batch, poll_once},
    cause::Cause,
    guest::HOST_BYTES_MIN,
    log::Tap,
    plane::{Deployment, LoadError, Plane},
    wipe,
};
use std::{sync::Arc, time::Duration};

/// Of why a trial failed; all of it is in the deployment's log.
const REASON_CHARACTERS_MAX: usize = 512;

/// Tries a deployment and gives it its routes. `done` is called right here when the trial needs no more than a first slice, else
/// on a batch thread: whoever instantiates slowly holds up nobody.
pub fn load(plane: &Arc<Plane>, batch: &Arc<Batch>, deployment: Deployment, done: impl FnOnce(Result<(), LoadError>) + Send + 'static) {
    let deployment = Arc::new(deployment);
    let time = Arc::new(CallTime::new(deployment.limits.cpu_time_ms_max));
    let party = deployment.party(time.clone());
    let plane = plane.clone();
    let mut work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let tried = tried(&deployment, &plane, &time).await;
        done(tried.and_then(|()| plane.publish(deployment)));
    });
    let begun_ns = thread_cpu_ns();
    let polled = poll_once(&mut work);
    wipe::own_stack();
    let spent_ns = thread_cpu_ns() - begun_ns;
    party.account.spent_inline(spent_ns);
    party.time.spend(spent_ns);
    if polled.is_pending() {
        batch.spawn(party, work).detach();
    }
}

async fn tried(deployment: &Arc<Deployment>, plane: &Arc<Plane>, time: &CallTime) -> Result<(), LoadError> {
    let Some(trial) = deployment.trial else { return Ok(()) };
    let busy = || LoadError("runner_busy", "Every instance that the runner can have is in use".into());
    if deployment.room.instance_bytes_max < HOST_BYTES_MIN {
        return Err(failed(Cause::MemoryLimit, "less memory than the host needs for an instance"));
    }
    let pass = deployment.gate.enter_trial(deployment.room.instance_bytes_max);
    let tap = Tap::new(deployment.log.clone(), String::new());
    let resident = plane.resident(deployment).await?;
    let mut guest = deployment.guest(plane, resident.frames, &tap, None, pass).map_err(|_| busy())?;
    let wall_time = trial.min(Duration::from_millis(deployment.limits.wall_time_ms_max));
    let result = tokio::time::timeout(wall_time, time.within(resident.pre.instantiate_async(&mut guest.store))).await;
    tap.finish();
    let (cause, reason) = match result {
        Ok(Some(Ok(_))) => return Ok(()),
        Ok(None) => (Cause::CpuTimeLimit, format!("more than {} ms of CPU time", deployment.limits.cpu_time_ms_max)),
        Ok(Some(Err(error))) => {
            wipe::signal_stack();
            tap.system(&format!("{error:?}"));
            (Cause::of(&error, guest.store.data().meter.refused), error.root_cause().to_string())
        }
        Err(_) => (Cause::WallTimeLimit, format!("still running after {} ms", wall_time.as_millis())),
    };
    // What it replaces holds the memory: that will pass.
    if matches!(cause, Cause::Overloaded | Cause::MemoryShared) {
        return Err(busy());
    }
    Err(failed(cause, &reason))
}

fn failed(cause: Cause, reason: &str) -> LoadError {
    let reason: String = reason.chars().take(REASON_CHARACTERS_MAX).collect();
    LoadError("load_failed", format!("The component cannot be instantiated: {}: {reason}", cause.code()))
}
