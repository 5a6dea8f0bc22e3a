//! Amounts of CPU, memory, disk and GPUs: what a node has, what an execution takes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One GPU as the node found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Gpu {
    /// Index on the node.
    pub index: u64,
    /// Model.
    pub name: String,
    /// `NVIDIA`, `AMD/ATI` or `Intel`.
    pub vendor: String,
    /// Memory in MiB.
    pub memory: u64,
    /// PCI bus address.
    #[serde(rename = "PCIAddress")]
    pub pci_address: String,
}

/// An amount of resources. Zero fields are left out of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resources {
    /// Cores.
    #[serde(rename = "CPU", skip_serializing_if = "is_zero_f64")]
    pub cpu: f64,
    /// Bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory: u64,
    /// Bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub disk: u64,
    /// Number of GPUs.
    #[serde(rename = "GPU", skip_serializing_if = "is_zero")]
    pub gpu: u64,
    /// The GPUs themselves, where known.
    #[serde(rename = "GPUs", skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_f64(value: &f64) -> bool {
    *value == 0.0
}

/// More cores than any machine has, few enough that sums of them stay exact.
const MAX_CORES: f64 = 1_000_000.0;

/// Tolerance for sums of fractions of a core: a millionth.
const CPU_EPSILON: f64 = 1e-6;

impl Resources {
    /// True when nothing is asked for or available.
    pub fn is_zero(&self) -> bool {
        self.cpu <= CPU_EPSILON && self.memory == 0 && self.disk == 0 && self.gpu == 0
    }

    /// Whether these can be the amounts of a machine; the error says which cannot. JSON has numbers that no machine has.
    pub fn check(&self) -> Result<(), String> {
        if (0.0..=MAX_CORES).contains(&self.cpu) {
            return Ok(());
        }
        Err(format!("CPU is {:e}; it must be a number of cores from 0 to {MAX_CORES}", self.cpu))
    }

    /// True when `self` fits into `limit` in every dimension.
    pub fn fits_in(&self, limit: &Resources) -> bool {
        self.cpu <= limit.cpu + CPU_EPSILON
            && self.memory <= limit.memory
            && self.disk <= limit.disk
            && self.gpu <= limit.gpu
    }

    /// Sum, GPU list not included; saturates.
    #[must_use]
    pub fn plus(&self, other: &Resources) -> Resources {
        Resources {
            cpu: self.cpu + other.cpu,
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
            gpu: self.gpu.saturating_add(other.gpu),
            gpus: Vec::new(),
        }
    }

    /// Difference, never below zero, GPU list not included.
    #[must_use]
    pub fn minus(&self, other: &Resources) -> Resources {
        let cpu = self.cpu - other.cpu;
        Resources {
            cpu: if cpu > CPU_EPSILON { cpu } else { 0.0 },
            memory: self.memory.saturating_sub(other.memory),
            disk: self.disk.saturating_sub(other.disk),
            gpu: self.gpu.saturating_sub(other.gpu),
            gpus: Vec::new(),
        }
    }

    /// Element-wise maximum, GPU list not included.
    #[must_use]
    pub fn max(&self, other: &Resources) -> Resources {
        Resources {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            disk: self.disk.max(other.disk),
            gpu: self.gpu.max(other.gpu),
            gpus: Vec::new(),
        }
    }

    /// Every amount multiplied, GPU list not included.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn scaled(&self, factor: f64) -> Resources {
        let bytes = |value: u64| (value as f64 * factor) as u64;
        Resources {
            cpu: self.cpu * factor,
            memory: bytes(self.memory),
            disk: bytes(self.disk),
            gpu: bytes(self.gpu),
            gpus: Vec::new(),
        }
    }
}

/// Resources by task name. One task a job, so one entry at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocatedResources {
    /// Task name to amount.
    pub tasks: BTreeMap<String, Resources>,
}

impl AllocatedResources {
    /// Sum over the tasks, GPUs included.
    pub fn total(&self) -> Resources {
        let sum = self.tasks.values().fold(Resources::default(), |sum, task| sum.plus(task));
        let gpus = self.tasks.values().flat_map(|task| task.gpus.iter().cloned()).collect();
        Resources { gpus, ..sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tenths_of_a_core_fit_into_one() {
        let tenth = Resources { cpu: 0.1, memory: 10, ..Resources::default() };
        let all = (0..10).fold(Resources::default(), |sum, _| sum.plus(&tenth));
        let one = Resources { cpu: 1.0, memory: 100, ..Resources::default() };
        assert!(all.fits_in(&one));
        assert!(!all.plus(&tenth).fits_in(&one));
        assert!(one.minus(&all).is_zero());
        assert_eq!(crate::json::to_string(&Resources::default()).unwrap(), "{}");
        assert_eq!(crate::json::to_string(&one).unwrap(), r#"{"CPU":1,"Memory":100}"#);
    }
}
