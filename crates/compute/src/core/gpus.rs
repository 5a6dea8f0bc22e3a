//! Which GPUs an execution gets: the first ones that nobody has. Pure.

use bacalhau_model::{Gpu, Resources};

/// Those of all that no running execution has, in their order. One vendor's tool knows nothing of another's cards, so
/// an index says nothing without the vendor.
pub(super) fn free<'a>(all: &[Gpu], running: impl Iterator<Item = &'a Resources>) -> Vec<Gpu> {
    if all.is_empty() {
        return Vec::new();
    }
    let key = |gpu: &Gpu| (gpu.vendor.clone(), gpu.index);
    let taken: std::collections::BTreeSet<_> = running.flat_map(|usage| usage.gpus.iter().map(key)).collect();
    all.iter().filter(|gpu| !taken.contains(&key(gpu))).cloned().collect()
}

/// The first `count` of them; fewer where an operator has promised more GPUs than there are.
pub(super) fn first(free: &[Gpu], count: u64) -> Vec<Gpu> {
    free.iter().take(usize::try_from(count).unwrap_or(usize::MAX)).cloned().collect()
}
