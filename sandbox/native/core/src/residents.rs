//! Which components are mapped: those that were asked lately. All others are a name, and a file that the supervisor keeps.
//!
//! A component is mapped at its trial, or at the first request after it left, on a thread that may block; deployments of the same
//! component share it. What is mapped costs descriptors, memory maps and heap, so it is bounded in number and in bytes; those
//! that nobody asked for longest leave. What still serves stays until it has ended.
use crate::{code::Code, guest::State, plane::LoadError, stacks::Frames};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use wasmtime::{
    Engine, Error,
    component::{Component, Linker},
};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// Each takes up to five memory maps of the 65,530 that a process may have, and a descriptor.
const RESIDENTS_MAX: usize = 4_096;
const BYTES_MAX: u64 = 512 << 20;
/// What one takes beside its code (measured: 56 KiB).
const OVERHEAD_BYTES: u64 = 64 << 10;
/// Looking for those that leave takes a look at all: so this share of them leaves at once.
const LEAVING_SHARE: usize = 8;

pub struct Resident {
    pub pre: ProxyPre<State>,
    /// What every instance of it begins with.
    pub memory_bytes_min: u64,
    pub frames: Frames,
    bytes: u64,
    /// How many had been mapped when it was last asked for.
    used: AtomicU64,
}

#[derive(Default)]
pub struct Residents {
    code: OnceLock<Code>,
    mapped: Mutex<HashMap<String, Arc<Resident>>>,
    /// One at a time: the supervisor answers one at a time.
    mapping: Mutex<()>,
    clock: AtomicU64,
}

impl Residents {
    /// Once, before anything is loaded.
    pub fn serve_from(&self, code: Code) {
        _ = self.code.set(code);
    }

    pub fn touch(&self, resident: &Resident) {
        let now = self.clock.load(Relaxed);
        if resident.used.load(Relaxed) != now {
            resident.used.store(now, Relaxed);
        }
    }

    /// As `get`, and asks the supervisor even for what is mapped: a load is to fail where the next runner's would.
    pub fn load(&self, engine: &Engine, linker: &Linker<State>, name: &str) -> Result<Arc<Resident>, LoadError> {
        let known = self.mapped.lock().unwrap().get(name).cloned();
        let (Some(resident), Some(code)) = (known, self.code.get()) else { return self.get(engine, linker, name) };
        code.fetch(name).map_err(|error| LoadError("artefact_corrupt", format!("Cannot load {name}: {error}")))?;
        Ok(resident)
    }

    /// For a task, which runs once: mapped for it alone. Blocks meanwhile.
    pub fn component(&self, engine: &Engine, name: &str) -> Result<Component, LoadError> {
        let Some(code) = self.code.get() else { return Err(LoadError("load_failed", "There is nobody to ask for code".into())) };
        let _turn = self.mapping.lock().unwrap();
        code.component(engine, name).map(|(component, _)| component)
    }

    /// Mapped now if it is not yet. Blocks meanwhile.
    pub fn get(&self, engine: &Engine, linker: &Linker<State>, name: &str) -> Result<Arc<Resident>, LoadError> {
        let known = || self.mapped.lock().unwrap().get(name).cloned();
        if let Some(resident) = known() {
            return Ok(resident);
        }
        let _turn = self.mapping.lock().unwrap();
        if let Some(resident) = known() {
            return Ok(resident);
        }
        let Some(code) = self.code.get() else { return Err(LoadError("load_failed", "There is nobody to ask for code".into())) };
        let failed = |error: Error| LoadError("load_failed", format!("{error:#}"));
        let (component, frames) = code.component(engine, name)?;
        let pre = linker.instantiate_pre(&component).and_then(ProxyPre::new).map_err(failed)?;
        component.initialize_copy_on_write_image().map_err(failed)?;
        let memory_bytes_min = component.resources_required().and_then(|required| required.max_initial_memory_size).unwrap_or(0);
        let image = component.image_range();
        let bytes = (image.end as usize - image.start as usize) as u64 + OVERHEAD_BYTES;
        let used = AtomicU64::new(self.clock.fetch_add(1, Relaxed) + 1);
        let resident = Arc::new(Resident { pre, memory_bytes_min, frames, bytes, used });
        let gone = {
            let mut mapped = self.mapped.lock().unwrap();
            mapped.insert(name.to_string(), resident.clone());
            let known = mapped.iter().map(|(name, resident)| (resident.used.load(Relaxed), resident.bytes, name.as_str())).collect();
            let names: Vec<String> = leaving(known).into_iter().map(str::to_string).collect();
            names.iter().filter_map(|name| mapped.remove(name)).collect::<Vec<_>>()
        };
        drop(gone);
        Ok(resident)
    }
}

/// Of (when used, bytes, name), those that nobody asked for longest, once there are too many. Never the one that was used last.
fn leaving(mut known: Vec<(u64, u64, &str)>) -> Vec<&str> {
    let mut bytes: u64 = known.iter().map(|(_, bytes, _)| bytes).sum();
    if known.len() <= RESIDENTS_MAX && bytes <= BYTES_MAX {
        return vec![];
    }
    known.sort_unstable();
    let share = known.len() / LEAVING_SHARE;
    let mut names = Vec::new();
    for (_, its_bytes, name) in &known[..known.len() - 1] {
        let left = known.len() - names.len();
        if names.len() >= share && left <= RESIDENTS_MAX && bytes <= BYTES_MAX {
            break;
        }
        bytes -= its_bytes;
        names.push(*name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_leave_that_nobody_asked_for_longest_and_never_the_one_that_is_asked_now() {
        assert!(leaving(vec![(1, BYTES_MAX, "a")]).is_empty());
        assert_eq!(leaving(vec![(3, 1, "c"), (1, 1, "a"), (2, BYTES_MAX, "b")]), ["a", "b"]);
        assert_eq!(leaving(vec![(1, 1, "a"), (2, BYTES_MAX + 1, "b")]), ["a"]);
        let names: Vec<String> = (0..=RESIDENTS_MAX).map(|number| number.to_string()).collect();
        let gone = leaving(names.iter().enumerate().map(|(number, name)| (number as u64, 1, name.as_str())).collect());
        assert_eq!(gone.len(), RESIDENTS_MAX / LEAVING_SHARE);
        assert_eq!(gone[0], "0");
    }
}
