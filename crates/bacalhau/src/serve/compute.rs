//! From configuration to what a compute node has and wants: capacity, ports, disk, probes.

use crate::failure::fail;
use bacalhau_compute::core::BidPolicy;
use bacalhau_compute::executor::{ExecutorConfig, ProbeConfig};
use bacalhau_compute::system;
use bacalhau_config::{Config, DataDir};
use bacalhau_model::{Error, Resources, ResourcesConfig, quantity};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What the node may use of the machine, and what it refuses.
pub(super) async fn policy(config: &Config, dir: &DataDir) -> Result<BidPolicy, Error> {
    let gpus = system::gpus().await;
    let machine = Resources {
        gpu: u64::try_from(gpus.len()).unwrap_or(0),
        gpus,
        ..system::physical_resources(dir.path())
    };
    let capacity = capacity(config, &machine)?;
    for warning in beyond(&capacity, &machine) {
        tracing::warn!("{warning}");
    }
    let probed = |key: &str| !config.text(key).is_empty();
    Ok(BidPolicy {
        reject_networked: config.bool("JobAdmissionControl.RejectNetworkedJobs"),
        reject_stateless: config.bool("JobAdmissionControl.RejectStatelessJobs"),
        only_local_inputs: config.text("JobAdmissionControl.Locality") == "local",
        external_probe: probed("JobAdmissionControl.ProbeExec") || probed("JobAdmissionControl.ProbeHTTP"),
        // What a job gets that asks for nothing: Bacalhau 1.9's internal defaults.
        default_resources: Resources { cpu: 0.1, memory: 100 << 20, ..Resources::default() },
        capacity,
        ..BidPolicy::default()
    })
}

fn capacity(config: &Config, machine: &Resources) -> Result<Resources, Error> {
    let text = |key: &str| config.text(&format!("Compute.AllocatedCapacity.{key}")).to_owned();
    let wanted =
        ResourcesConfig { cpu: text("CPU"), memory: text("Memory"), disk: text("Disk"), gpu: text("GPU") };
    let capacity = quantity::scale(&wanted, machine).map_err(|why| {
        fail(format!("Compute.AllocatedCapacity: {why}"))
            .hint("Use a percentage like 80% or an amount like 2 or 4Gi")
    })?;
    if capacity.cpu <= 0.0 || capacity.memory == 0 {
        return Err(fail("system capacity is zero").hint("Correct Compute.AllocatedCapacity"));
    }
    Ok(capacity)
}

/// Says of each amount that is more than the machine has.
fn beyond(capacity: &Resources, machine: &Resources) -> Vec<String> {
    let bytes = quantity::format_bytes;
    let amounts = [
        (
            "CPU",
            capacity.cpu > machine.cpu,
            capacity.cpu.to_string(),
            machine.cpu.to_string(),
            "jobs share its cores",
        ),
        (
            "Memory",
            capacity.memory > machine.memory,
            bytes(capacity.memory),
            bytes(machine.memory),
            "jobs may run out of memory",
        ),
        (
            "Disk",
            capacity.disk > machine.disk,
            bytes(capacity.disk),
            bytes(machine.disk),
            "jobs may fill the disk",
        ),
        (
            "GPU",
            capacity.gpu > machine.gpu,
            capacity.gpu.to_string(),
            machine.gpu.to_string(),
            "jobs may get fewer GPUs than they ask for",
        ),
    ];
    let too_much = amounts.into_iter().filter(|(_, beyond, ..)| *beyond);
    too_much
        .map(|(key, _, promised, found, then)| {
            format!("Compute.AllocatedCapacity.{key} is {promised}, but this machine has {found}: {then}")
        })
        .collect()
}

/// The executor's part of it, beside `defaults`.
pub(super) fn executor(config: &Config, defaults: ExecutorConfig) -> Result<ExecutorConfig, Error> {
    let text = |key: &str| config.text(key).to_owned();
    let disk = system::disk(&defaults.data_folder).map_or(u64::MAX, |disk| disk.total);
    Ok(ExecutorConfig {
        probes: ProbeConfig {
            exec: text("JobAdmissionControl.ProbeExec"),
            http: text("JobAdmissionControl.ProbeHTTP"),
            timeout: config.duration("JobAdmissionControl.ProbeTimeout"),
        },
        port_range: port_range(config)?,
        disk_limit: bytes_of(config, "Compute.Disk.ExecutionLimit", disk)?,
        results_age: match config.duration("Compute.Disk.ResultsAge") {
            Duration::ZERO => Duration::MAX,
            age => age,
        },
        results_together: bytes_of(config, "Compute.Disk.ResultsSize", disk)?.unwrap_or(u64::MAX),
        ..defaults
    })
}

fn port_range(config: &Config) -> Result<RangeInclusive<u16>, Error> {
    let port = |key: &str| u16::try_from(config.int(key)).ok().filter(|port| *port > 0);
    let (start, end) = ("Compute.Network.PortRangeStart", "Compute.Network.PortRangeEnd");
    match (port(start), port(end)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => {
            let message =
                format!("no ports for jobs: {start} is {}, {end} is {}", config.int(start), config.int(end));
            Err(fail(message).hint("Both have to be ports from 1 to 65535, the end not below the start"))
        }
    }
}

/// An amount of bytes or a percentage of `disk`; `None` when it is empty or 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn bytes_of(config: &Config, key: &str, disk: u64) -> Result<Option<u64>, Error> {
    let text = config.text(key).trim();
    let bytes = match text.strip_suffix('%') {
        _ if text.is_empty() => Some(0),
        Some(percent) => {
            let percent =
                percent.trim().parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
            percent.map(|percent| (disk as f64 * percent / 100.0) as u64)
        }
        None => quantity::parse_bytes(text),
    };
    let bytes = bytes.ok_or_else(|| {
        fail(format!("{key}: {text:?} is no size"))
            .hint("Use an amount like 10GB, or a percentage of the disk like 20%")
    })?;
    Ok((bytes > 0).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_config::{Sources, Value};

    fn config(keys: &[(&str, Value)]) -> Config {
        let sources = Sources { home: Some("/nowhere".into()), ..Sources::default() };
        let mut config = Config::load(&sources).unwrap();
        for (key, value) in keys {
            config.set(key, value.clone());
        }
        config
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn more_than_the_machine_has_is_told() {
        let machine =
            Resources { cpu: 2.0, memory: 4_000_000_000, disk: 1_000, gpu: 1, ..Resources::default() };
        let usual = capacity(&config(&[]), &machine).unwrap();
        assert_eq!((usual.cpu, usual.memory, usual.disk, usual.gpu), (1.6, 3_200_000_000, 800, 1));
        assert_eq!(beyond(&usual, &machine), [""; 0]);
        let most = [("CPU", "3"), ("Memory", "8Gb"), ("Disk", "1Tb"), ("GPU", "2")];
        let most: Vec<(String, Value)> = most
            .iter()
            .map(|(key, value)| (format!("Compute.AllocatedCapacity.{key}"), text(value)))
            .collect();
        let most: Vec<(&str, Value)> =
            most.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let promised = capacity(&config(&most), &machine).unwrap();
        let warnings = beyond(&promised, &machine);
        assert_eq!(warnings.len(), 4);
        assert_eq!(
            warnings[1],
            "Compute.AllocatedCapacity.Memory is 8.0 GB, but this machine has 4.0 GB: jobs may run out of memory"
        );
        let nothing =
            capacity(&config(&[("Compute.AllocatedCapacity.CPU", text("0%"))]), &machine).unwrap_err();
        assert_eq!(nothing.message, "system capacity is zero");
    }

    #[test]
    fn ports_and_sizes() {
        assert_eq!(port_range(&config(&[])).unwrap(), 20_000..=32_000);
        for (start, end) in [(0, 32_000), (3_000, 2_000), (20_000, 70_000)] {
            let keys = [
                ("Compute.Network.PortRangeStart", Value::Int(start)),
                ("Compute.Network.PortRangeEnd", Value::Int(end)),
            ];
            assert!(port_range(&config(&keys)).is_err(), "{start} {end}");
        }
        let key = "Compute.Disk.ResultsSize";
        for (written, bytes) in [("", None), ("0", None), ("10GB", Some(10_000_000_000)), ("25 %", Some(250))]
        {
            assert_eq!(bytes_of(&config(&[(key, text(written))]), key, 1000).unwrap(), bytes, "{written}");
        }
        for wrong in ["x", "-1", "101%", "%"] {
            assert!(bytes_of(&config(&[(key, text(wrong))]), key, 1000).is_err(), "{wrong}");
        }
    }
}
