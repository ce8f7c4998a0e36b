//! One instance: what it can see (an empty WASI world), and what it is charged for.
use crate::{absent, account::Account, gate::Pass, limits::Limits, outgoing::Outgoing, stacks::{Frames, Stacks, here}};
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};
use wasmtime::{
    CallHook, CallHookHandler, Engine, Error, ResourceLimiter, Result, Store, StoreContextMut, Trap,
    component::{HasData, Linker, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    cli::{WasiCli, WasiCliView},
    clocks::{WasiClocks, WasiClocksView},
    random::WasiRandom,
};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Fuel between two chances to give up the thread: 10 to 20 µs of a tight loop.
pub const SLICE_FUEL: u64 = 100_000;
/// Fuel that a call into the host costs: some 100 ns of a tight loop, so that calls without end meet the same limit as loops.
const HOST_CALL_FUEL: u64 = 1_000;
/// What the host keeps for an instance is looked at once in so many calls.
const HOST_CALLS_UNSEEN: u32 = 16;
/// What the host keeps for every instance, however little it does (measured: 23 to 36 KiB).
pub const HOST_BYTES_MIN: u64 = 64 << 10;
/// What the host keeps for a handle that holds no headers.
const HANDLE_BYTES: u64 = 512;
/// Bytes that one call into the host may make it copy.
const HOSTCALL_BYTES_MAX: usize = 2 << 20;
/// Random bytes that one call gives: making them takes time that costs no fuel.
pub const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Time in host calls after which a guest gives up the thread, as it does after SLICE_FUEL: about a millisecond, by the processor's
/// counter. Two looks at a clock for each call were 3 % of a request.
const SLICE_HOST_TICKS: u64 = 2_500_000;
/// An instance that keeps more than this share of the handles it may have would soon fail a request, so it serves no other.
const HANDLES_KEPT_SHARE: usize = 2;
const TABLES_MAX: usize = 16;
const MEMORIES_MAX: usize = 2;
/// More than the headers of a request can have: the host's form of a header is larger than its bytes.
const FIELD_BYTES_FACTOR: u64 = 4;

type MakeWasi = Box<dyn FnOnce() -> WasiCtx + Send>;

pub struct State {
    table: ResourceTable,
    /// Made when the guest first looks: making one draws random numbers, and a request that only answers needs none of it.
    wasi: Option<WasiCtx>,
    make_wasi: Option<MakeWasi>,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    pub meter: Meter,
    host_called_ticks: u64,
    host_ticks: u64,
    /// What was left when the guest last gave up its thread by itself.
    fuel_seen: u64,
    calls_unseen: u32,
    /// Counted as memory of the guest: what the host was found to keep for it.
    host_bytes: u64,
    field_bytes_max: u64,
    /// Where it last began to run.
    stack_at: usize,
}

impl State {
    /// An estimate from above, at once: each set of headers counts as the largest that there can be.
    fn host_bytes(&mut self) -> u64 {
        let field_bytes_max = self.field_bytes_max;
        let bytes = self.table.iter_mut().map(|entry| match (entry as &mut dyn std::any::Any).downcast_ref::<FieldMap>() {
            Some(fields) if !fields.is_empty() => field_bytes_max,
            _ => HANDLE_BYTES,
        });
        HOST_BYTES_MIN + bytes.sum::<u64>()
    }

    /// Charges the guest for what the host keeps for it; false when that is more than there is.
    fn charge_host(&mut self) -> bool {
        let bytes = self.host_bytes();
        let before = std::mem::replace(&mut self.host_bytes, bytes);
        self.meter.change(before, bytes)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let make = &mut self.make_wasi;
        let ctx = self.wasi.get_or_insert_with(|| make.take().map_or_else(WasiCtx::default, |make| make()));
        WasiCtxView { ctx, table: &mut self.table }
    }
}
impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// What the host does for a guest costs no fuel, so without this a thread would be the guest's for as long as it calls.
struct HostTime;

/// Written out, as what async_trait makes of it takes memory for each of the dozens of events of a request.
impl CallHookHandler<State> for HostTime {
    fn handle_call_event<'a, 'b, 'c>(&'a self, mut store: StoreContextMut<'b, State>, event: CallHook) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        match event {
            CallHook::CallingHost => match calling_host(&mut store) {
                Ok(false) => {}
                Ok(true) => return give_up_thread(),
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            },
            CallHook::ReturningFromHost => {
                let state = store.data_mut();
                // A thread on another core may be a little behind.
                state.host_ticks += ticks().saturating_sub(state.host_called_ticks);
                if state.host_ticks >= SLICE_HOST_TICKS {
                    state.host_ticks = 0;
                    return give_up_thread();
                }
            }
            // All calls of an instance are on one stack.
            CallHook::CallingWasm => store.data_mut().stack_at = here(),
            CallHook::ReturningFromWasm => {}
        }
        Box::pin(Nothing)
    }
}

fn ticks() -> u64 {
    // SAFETY: every x86_64 has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Charges for the call. True when the guest has run for so long that it gives up the thread.
fn calling_host(store: &mut StoreContextMut<'_, State>) -> Result<bool> {
    let left = store.get_fuel()?;
    let state = store.data_mut();
    state.host_called_ticks = ticks();
    state.calls_unseen += 1;
    if state.calls_unseen >= HOST_CALLS_UNSEEN {
        state.calls_unseen = 0;
        if !state.charge_host() {
            return Err(Error::msg("the host keeps more for the guest than its memory limit"));
        }
    }
    let Some(left) = left.checked_sub(HOST_CALL_FUEL) else {
        store.set_fuel(0)?;
        return Err(Trap::OutOfFuel.into());
    };
    // Setting it begins the guest's interval anew: one that calls often would never give up its thread.
    let is_long = state.fuel_seen.saturating_sub(left) >= SLICE_FUEL;
    if is_long {
        state.fuel_seen = left;
    }
    store.set_fuel(left)?;
    Ok(is_long)
}

fn give_up_thread<'a>() -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
    Box::pin(async {
        tokio::task::yield_now().await;
        Ok(())
    })
}

/// Has no size, so its box takes no memory.
struct Nothing;
impl Future for Nothing {
    type Output = Result<()>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Counts an instance's memory against its deployment, and remembers which limit it ran into.
pub struct Meter {
    pass: Pass,
    account: Arc<Account>,
    table_elements_max: usize,
    instances_max: usize,
    pub refused: Option<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Refusal {
    /// More than the deployment has.
    Memory,
    /// More than its other instances leave.
    MemoryShared,
    Table,
}

impl Meter {
    /// Of what counts as memory, `before` becomes `after`.
    fn change(&mut self, before: u64, after: u64) -> bool {
        if after <= before {
            self.pass.shrink(before - after);
            self.account.memory_freed(before - after);
            return true;
        }
        self.grow(after - before)
    }

    fn grow(&mut self, bytes: u64) -> bool {
        if !self.pass.grow(bytes) {
            self.refused = Some(if self.pass.beyond_all(bytes) { Refusal::Memory } else { Refusal::MemoryShared });
            return false;
        }
        self.account.memory_grew(bytes);
        true
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let bytes = (desired - current) as u64;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(bytes))
    }
    fn memory_grow_failed(&mut self, _: Error) -> Result<()> {
        self.refused = Some(Refusal::Memory);
        Ok(())
    }
    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if desired > self.table_elements_max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(Refusal::Table);
            return Ok(false);
        }
        Ok(true)
    }
    fn instances(&self) -> usize {
        self.instances_max
    }
    fn tables(&self) -> usize {
        TABLES_MAX
    }
    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// Owns the store; dropped at whatever point, it books what was used.
pub struct Guest {
    pub store: Store<State>,
    account: Arc<Account>,
    fuel: u64,
    stacks: Stacks,
    frames: Frames,
}

impl Guest {
    pub fn new(
        engine: &Engine,
        limits: &Limits,
        account: Arc<Account>,
        pass: Pass,
        wasi: impl FnOnce() -> WasiCtx + Send + 'static,
        outgoing: Outgoing,
        (stacks, frames): (Stacks, Frames),
    ) -> Result<Guest> {
        let mut meter = Meter {
            pass,
            account: account.clone(),
            table_elements_max: limits.table_elements_max as usize,
            instances_max: limits.instances_max as usize,
            refused: None,
        };
        if !meter.grow(HOST_BYTES_MIN) {
            return Err(Error::msg("less memory than the host needs for an instance"));
        }
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit((limits.header_bytes_max * FIELD_BYTES_FACTOR) as usize);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resource_handles_max as usize);
        let (wasi, make_wasi): (_, Option<MakeWasi>) = (None, Some(Box::new(wasi)));
        let mut store = Store::new(engine, State { table, wasi, make_wasi, http, outgoing, meter, host_called_ticks: 0, host_ticks: 0,
            fuel_seen: limits.fuel_per_call_max, calls_unseen: 0, host_bytes: HOST_BYTES_MIN, field_bytes_max: limits.header_bytes_max * FIELD_BYTES_FACTOR, stack_at: 0 });
        store.limiter(|state| &mut state.meter);
        store.call_hook_async(HostTime);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_fuel(limits.fuel_per_call_max)?;
        store.fuel_async_yield_interval(Some(SLICE_FUEL))?;
        Ok(Guest { store, account, fuel: limits.fuel_per_call_max, stacks, frames })
    }

    pub fn fuel_used(&self) -> u64 {
        self.fuel - self.store.get_fuel().unwrap_or(self.fuel).min(self.fuel)
    }

    /// Whether it may serve another request: somebody needs neither its place nor its memory, and it has not kept what it was given.
    pub fn rest(&mut self) -> bool {
        self.account.fuel.fetch_add(self.fuel_used(), Relaxed);
        let fuel = self.fuel;
        let state = self.store.data_mut();
        state.fuel_seen = fuel;
        let handles_max = state.table.max_capacity() / HANDLES_KEPT_SHARE;
        let may = state.meter.refused.is_none() && state.table.iter_mut().count() <= handles_max && state.meter.pass.rest();
        self.store.set_fuel(fuel).is_ok() && may
    }

    /// False when its deployment has as many running as may be.
    pub fn wake(&mut self) -> bool {
        self.store.data_mut().meter.pass.wake()
    }

    pub fn memory_bytes(&self) -> u64 {
        self.store.data().meter.pass.used()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.account.fuel.fetch_add(self.fuel_used(), Relaxed);
        self.account.memory_freed(self.memory_bytes());
        // SAFETY: nothing runs any more that has the store, which gives its stack back after this.
        unsafe { self.stacks.wipe(self.store.data().stack_at, self.frames) };
    }
}

/// All of WASI 0.2 and wasi:http. What is behind it is empty: no files, no network, no names.
pub fn linker(engine: &Engine) -> Result<Linker<State>> {
    use wasmtime_wasi::p2::bindings::{cli, clocks, random};
    use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    // wasi:io needs the table only, and every answer's body passes through it.
    error::add_to_linker::<State, Table>(l, |state| &mut state.table)?;
    poll::add_to_linker::<State, Table>(l, |state| &mut state.table)?;
    streams::add_to_linker::<State, Table>(l, |state| &mut state.table)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    absent::add_to_linker(l)?;
    Ok(linker)
}

struct Table;
impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}
