//! The trial of a load: one instance, of which nothing is asked. What cannot even begin is an error of the load, once, and not of
//! every request.
use crate::{
    account::thread_cpu_ns,
    batch::{Batch, poll_once},
    cause::Cause,
    gate::Gate,
    log::Tap,
    plane::{Deployment, LoadError, Plane},
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use wasmtime::Engine;

/// Of why a trial failed; all of it is in the deployment's log.
const REASON_CHARACTERS_MAX: usize = 512;

/// Tries a deployment and gives it its routes. `done` is called right here when the trial needs no more than a first slice, else
/// on a batch thread: whoever instantiates slowly holds up nobody.
pub fn load(plane: &Arc<Plane>, batch: &Arc<Batch>, deployment: Deployment, done: impl FnOnce(Result<(), LoadError>) + Send + 'static) {
    let deployment = Arc::new(deployment);
    let (tenant, account) = (deployment.tenant, deployment.account.clone());
    let plane = plane.clone();
    let mut work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let tried = tried(&deployment, &plane.engine).await;
        done(tried.and_then(|()| plane.publish(deployment)));
    });
    let begun_ns = thread_cpu_ns();
    let polled = poll_once(&mut work);
    account.cpu_ns.fetch_add(thread_cpu_ns() - begun_ns, Relaxed);
    if polled.is_pending() {
        batch.spawn(tenant, account, work).detach();
    }
}

async fn tried(deployment: &Arc<Deployment>, engine: &Engine) -> Result<(), LoadError> {
    let Some(trial) = deployment.trial else { return Ok(()) };
    let busy = || LoadError("runner_busy", "Every instance that the runner can have is in use".into());
    // All of the memory, as an instance has it that is alone.
    let gate = Gate::new(1, (0, deployment.limits.memory_bytes_max), 0, Duration::ZERO);
    let pass = gate.enter().await.map_err(|_| busy())?;
    let tap = Tap::new(deployment.log.clone(), String::new());
    let mut guest = deployment.guest(engine, &tap, pass).map_err(|_| busy())?;
    let wall_time = trial.min(Duration::from_millis(deployment.limits.wall_time_ms_max));
    let result = tokio::time::timeout(wall_time, deployment.pre.instantiate_async(&mut guest.store)).await;
    tap.finish();
    let (cause, reason) = match result {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => {
            tap.system(&format!("{error:?}"));
            (Cause::of(&error, guest.store.data().meter.refused), error.root_cause().to_string())
        }
        Err(_) => (Cause::WallTimeLimit, format!("still running after {} ms", wall_time.as_millis())),
    };
    if cause == Cause::Overloaded {
        return Err(busy());
    }
    let reason: String = reason.chars().take(REASON_CHARACTERS_MAX).collect();
    Err(LoadError("load_failed", format!("The component cannot be instantiated: {}: {reason}", cause.code())))
}
