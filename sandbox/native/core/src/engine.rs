//! The engine's settings. Everything that changes generated code is in `codegen`, so that compiler and runner cannot disagree.
use wasmtime::Config;

/// Names the code generator and its settings: part of the name of every cached artefact. Raise the last number when `codegen` changes.
pub const ENGINE: &str = "wasmtime-48.0.8-3";

pub fn codegen() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // Fuel is limit, pre-emption and record of use. Epochs on top would cost 10 to 20 % more and say nothing new.
    config.consume_fuel(true);
    // Nobody unwinds through code of guests: a trap is a jump, and their backtraces follow frame pointers.
    config.native_unwind_info(false);
    // Results differ between processors.
    config.wasm_relaxed_simd(false);
    // p3 waits; without it a p2 call is cheaper. It is part of what compiler and runner must agree on.
    config.concurrency_support(false);
    config
}

#[cfg(feature = "run")]
pub use run::*;

#[cfg(feature = "run")]
mod run {
    use crate::{stacks::STACK_BYTES, swap};
    use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

    /// Instances that one runner can have at once, over all its deployments. Each reserves 4 GiB of address space.
    pub const SLOTS: u32 = 2_500;
    /// The same as LIMITS_MAX.memoryBytesMax and .tableElementsMax of limits.ts.
    pub const MEMORY_BYTES_MAX: usize = 1 << 30;
    pub const TABLE_ELEMENTS_MAX: usize = 20_000;
    /// Memory of an ended instance that stays in its slot (zeroed): a fresh instance then costs 4 µs and not 15.
    const KEEP_BYTES: usize = 256 << 10;
    const KEEP_SMALL_BYTES: usize = 32 << 10;

    /// For many short-lived instances. What one leaves is overwritten, or above KEEP_BYTES given back to the kernel, as it ends.
    pub fn pooling() -> Result<Engine> {
        let mut config = pooling_config();
        crate::code::map_only(&mut config);
        Engine::new(&config)
    }

    /// Of `pooling`, but for where code may come from.
    pub fn pooling_config() -> Config {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(SLOTS)
            .total_core_instances(SLOTS * 4)
            .total_memories(SLOTS)
            .total_tables(SLOTS * 2)
            .total_stacks(SLOTS);
        pool.max_memories_per_component(2)
            .max_tables_per_component(16)
            .max_core_instances_per_component(16)
            .table_elements(TABLE_ELEMENTS_MAX)
            .max_memory_size(MEMORY_BYTES_MAX);
        // At once: in a batch, what an ended instance leaves would wait for others to end.
        pool.max_unused_warm_slots(200).decommit_batch_size(1);
        pool.linear_memory_keep_resident(KEEP_BYTES).table_keep_resident(KEEP_SMALL_BYTES);
        // It takes a page that was swapped out for one that was not written (48.0.8), and the next instance would read it.
        pool.pagemap_scan(if swap::is_possible() { Enabled::No } else { Enabled::Auto });
        let mut config = super::codegen();
        config.memory_init_cow(true);
        // `stacks` does that.
        config.async_stack_size(STACK_BYTES).async_stack_zeroing(false);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config
    }

    /// For one task at a time: nothing is reserved for instances that do not exist.
    pub fn on_demand() -> Result<Engine> {
        let mut config = super::codegen();
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    }
}
