//! Memories, tables and stacks kept ready for guests: to map and unmap them is most of what a short guest costs.
//!
//! The pool serves a fixed number of ordinary guests. Whoever does not find a place, or is larger than a place, gets
//! what it needs from the operating system; it sees no difference.

use super::WasmConfig;
use super::limits::MAX_TABLE_ELEMENTS;
use super::roots::Roots;
use super::runtime::Runtime;
use bacalhau_model::Error;
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};

/// Guests served at the same time.
const PLACES: u32 = 64;

/// What one guest may have of each. A component with the usual adapter has four instances with one memory.
const INSTANCES: u32 = 16;
const MEMORIES: u32 = 2;
const TABLES: u32 = 16;

/// Bytes of a memory and of a table that stay with the node, cleared, for the next guest.
const KEPT_OF_MEMORY: usize = 64 << 10;
const KEPT_OF_TABLE: usize = 4 << 10;

/// Bytes of a memory at most: all that 32 bits reach.
const MEMORY: usize = 4 << 30;

/// How guests' memories come about, and whether their instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the pool.
    Pooled,
    /// From the operating system.
    Plain,
    /// The same for guests with fuel: code that counts its instructions is compiled differently, and slower.
    Fuelled,
}

/// The strategy of [`Kind::Pooled`]. Reserves address space for all places at once, and no memory.
pub(super) fn strategy() -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(PLACES).total_core_instances(PLACES * INSTANCES);
    pool.total_memories(PLACES * MEMORIES).total_tables(PLACES * TABLES).total_stacks(PLACES * 2);
    pool.max_core_instances_per_component(INSTANCES).max_memories_per_component(MEMORIES);
    pool.max_tables_per_component(TABLES).max_memories_per_module(1).max_tables_per_module(1);
    pool.max_memory_size(MEMORY).table_elements(MAX_TABLE_ELEMENTS);
    pool.linear_memory_keep_resident(KEPT_OF_MEMORY).table_keep_resident(KEPT_OF_TABLE);
    InstanceAllocationStrategy::Pooling(pool)
}

/// The runtimes of one engine, each set up when first needed.
pub(super) struct Runtimes {
    config: WasmConfig,
    slots: [OnceLock<Result<Arc<Runtime>, Error>>; 3],
    places: Arc<Semaphore>,
    roots: Arc<Roots>,
}

impl Runtimes {
    pub(super) fn new(config: WasmConfig) -> Runtimes {
        let places = Arc::new(Semaphore::new(PLACES as usize));
        let roots = Arc::new(Roots::new(config.roots_folder.clone()));
        Runtimes { config, slots: Default::default(), places, roots }
    }

    pub(super) fn get(&self, kind: Kind) -> Result<Arc<Runtime>, Error> {
        let [pooled, plain, fuelled] = &self.slots;
        let slot = match kind {
            Kind::Pooled => pooled,
            Kind::Plain => plain,
            Kind::Fuelled => fuelled,
        };
        slot.get_or_init(|| Runtime::new(&self.config, kind, Arc::clone(&self.roots)).map(Arc::new)).clone()
    }

    /// A place in the pool, to be held until the guest is gone. `None` if all are taken, or where address space is too
    /// scarce for a pool.
    pub(super) fn place(&self) -> Option<(Arc<Runtime>, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((self.get(Kind::Pooled).ok()?, place))
    }
}
