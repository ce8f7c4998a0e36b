//! What can only be measured from inside: `npm run bench:start`, `bench:density` and `bench:fuel` start this, nobody else does.
//!
//!   godwit-bench instantiate CODE COUNT LIMITS   making and dropping one instance after the other, as a request does, without a socket
//!   godwit-bench live CODE COUNT LIMITS          what an idle instance holds
//!   godwit-bench task CODE fuel|none NAME        CPU time of one run of a task, compiled with or without fuel; without slices
//!
//! LIMITS is JSON of limits.ts. CODE is what the compiler writes, of a component that whoever calls this trusts. Prints one line of JSON.
use godwit_core::{
    account::{Account, thread_cpu_ns},
    engine,
    gate::{Gate, Room},
    guest::{Guest, State, linker},
    limits::Limits,
    outgoing::Outgoing,
    stacks::{Frames, Stacks},
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::{
    Engine, Result, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2::bindings::CommandPre};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

const WARM_UP: usize = 1_000;

/// The runner's, as part of what an instance costs.
#[global_allocator]
static ALLOCATOR: godwit_core::wipe::Wiping = godwit_core::wipe::Wiping;

fn main() -> Result<()> {
    godwit_core::wipe::keep_blocks();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match texts.as_slice() {
        ["instantiate", code, count, limits] => block_on(instantiate(Plane::new(code, limits)?, count.parse()?))?,
        ["live", code, count, limits] => block_on(live(Plane::new(code, limits)?, count.parse()?))?,
        ["task", code, fuel, name] => block_on(task(code, *fuel == "fuel", name))?,
        _ => wasmtime::bail!("usage: godwit-bench instantiate|live CODE COUNT LIMITS | task CODE fuel|none NAME"),
    };
    println!("{result}");
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

struct Plane {
    engine: Engine,
    pre: ProxyPre<State>,
    gate: Arc<Gate>,
    account: Arc<Account>,
    limits: Limits,
    stacks: Stacks,
    frames: Frames,
}

impl Plane {
    fn new(code: &str, limits: &str) -> Result<Plane> {
        let limits: Limits = serde_json::from_str(limits)?;
        let engine = Engine::new(&engine::pooling_config())?;
        let code = std::fs::read(code)?;
        // SAFETY: see above.
        let component = unsafe { Component::deserialize(&engine, &code) }?;
        let pre = ProxyPre::new(linker(&engine)?.instantiate_pre(&component)?)?;
        component.initialize_copy_on_write_image()?;
        let room = Room {
            concurrency: u32::MAX,
            memory_bytes_max: 1 << 50,
            instance_bytes_max: 1 << 30,
            memory_bytes_min: 0,
            queue_length_max: 0,
            queue_wait: Duration::ZERO,
        };
        let gate = Gate::new(room);
        let stacks = Stacks::find(&engine, engine::SLOTS as usize)?;
        Ok(Plane { engine, pre, gate, account: Arc::default(), limits, stacks, frames: Frames::of(&code) })
    }
    async fn instance(&self) -> Result<(Guest, Proxy)> {
        let Ok(pass) = self.gate.enter().await else { wasmtime::bail!("the gate is closed") };
        let mut guest = Guest::new(&self.engine, &self.limits, self.account.clone(), pass, WasiCtx::default, Outgoing(None), (self.stacks, self.frames))?;
        let proxy = self.pre.instantiate_async(&mut guest.store).await?;
        Ok((guest, proxy))
    }
}

fn us(begun: Instant) -> f64 {
    begun.elapsed().as_nanos() as f64 / 1e3
}

fn quantiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |fraction: f64| values[((values.len() - 1) as f64 * fraction) as usize];
    json!({ "p50": at(0.5), "p99": at(0.99) })
}

async fn instantiate(plane: Plane, count: usize) -> Result<Value> {
    let (mut made, mut dropped, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..WARM_UP + count {
        let begun = Instant::now();
        let instance = plane.instance().await?;
        let (made_us, begun_drop) = (us(begun), Instant::now());
        drop(instance);
        if i >= WARM_UP {
            made.push(made_us);
            dropped.push(us(begun_drop));
            both.push(us(begun));
        }
    }
    Ok(json!({ "count": count, "instantiateUs": quantiles(made), "dropUs": quantiles(dropped), "bothUs": quantiles(both) }))
}

/// (anonymous, file, shared) KiB
fn resident_kib() -> Result<[f64; 3]> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    Ok(["RssAnon:", "RssFile:", "RssShmem:"].map(|name| field(name).unwrap_or(f64::NAN)))
}

fn maps() -> Result<f64> {
    Ok(std::fs::read_to_string("/proc/self/maps")?.lines().count() as f64)
}

async fn live(plane: Plane, count: usize) -> Result<Value> {
    let mut instances = vec![plane.instance().await?];
    instances.reserve(count);
    let (before, maps_before) = (resident_kib()?, maps()?);
    for _ in 0..count {
        instances.push(plane.instance().await?);
    }
    let (after, maps_after) = (resident_kib()?, maps()?);
    let each = |kind: usize| (after[kind] - before[kind]) / count as f64;
    Ok(json!({
        "count": count, "kibEach": each(0) + each(1) + each(2), "anonymousKibEach": each(0), "fileKibEach": each(1), "sharedKibEach": each(2),
        "mapsEach": (maps_after - maps_before) / count as f64, "residentMib": after.iter().sum::<f64>() / 1024.0,
    }))
}

struct Bare(WasiCtx, ResourceTable);
impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.0, table: &mut self.1 }
    }
}

async fn task(code: &str, has_fuel: bool, name: &str) -> Result<Value> {
    const FUEL: u64 = 1 << 50;
    let mut config = engine::codegen();
    config.consume_fuel(has_fuel);
    let engine = Engine::new(&config)?;
    // SAFETY: see above.
    let component = unsafe { Component::deserialize(&engine, std::fs::read(code)?) }?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    let pre = CommandPre::new(linker.instantiate_pre(&component)?)?;
    let wasi = WasiCtx::builder().args(&["kernels", name]).inherit_stderr().build();
    let mut store = Store::new(&engine, Bare(wasi, ResourceTable::new()));
    if has_fuel {
        store.set_fuel(FUEL)?;
    }
    let command = pre.instantiate_async(&mut store).await?;
    let (begun, begun_ns) = (Instant::now(), thread_cpu_ns());
    let ended = command.wasi_cli_run().call_run(&mut store).await?;
    let (wall_us, cpu_us) = (us(begun), (thread_cpu_ns() - begun_ns) as f64 / 1e3);
    if ended.is_err() {
        wasmtime::bail!("the task failed");
    }
    Ok(json!({ "wallUs": wall_us, "cpuUs": cpu_us, "fuel": if has_fuel { FUEL - store.get_fuel()? } else { 0 } }))
}
