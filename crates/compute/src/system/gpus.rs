//! Which GPUs the machine has, by asking the tools of their vendors. A tool that is not installed knows of none.

use crate::command;
use bacalhau_model::Gpu;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::io;
use std::time::Duration;
use tokio::process::Command;

/// A tool gets this long: the first one after a start of the machine has to wake its cards.
const LIMIT: Duration = Duration::from_secs(20);
/// Names of the vendors, as Bacalhau 1.9 writes them.
const NVIDIA: &str = "NVIDIA";
const AMD: &str = "AMD/ATI";
const INTEL: &str = "Intel";
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// All GPUs, those of NVIDIA first, then AMD's and Intel's, each by index. All tools are asked at the same time, and the
/// log says which of them did not answer as it should.
pub async fn gpus() -> Vec<Gpu> {
    find(None).await
}

/// The same, with the tools of a `PATH`.
async fn find(path: Option<&OsStr>) -> Vec<Gpu> {
    let (nvidia, amd, intel) = tokio::join!(nvidia(path), amd(path), intel(path));
    let mut all = Vec::new();
    for (tool, found) in [("nvidia-smi", nvidia), ("rocm-smi", amd), ("xpu-smi", intel)] {
        match found {
            Ok(gpus) => all.extend(gpus),
            Err(why) => tracing::warn!(tool, why, "the GPUs that this tool knows of are not used"),
        }
    }
    all
}

/// `index, name, MiB` in each line.
async fn nvidia(path: Option<&OsStr>) -> Result<Vec<Gpu>, String> {
    let args = ["--query-gpu=index,gpu_name,memory.total", "--format=csv,noheader,nounits"];
    let Some(output) = ask(path, "nvidia-smi", &args).await? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&output).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| nvidia_line(line).ok_or_else(|| format!("cannot read its line {line:?}"))).collect()
}

fn nvidia_line(line: &str) -> Option<Gpu> {
    // A name may have a comma.
    let (index, rest) = line.split_once(',')?;
    let (name, memory) = rest.rsplit_once(',')?;
    Some(Gpu {
        index: index.trim().parse().ok()?,
        name: name.trim().to_owned(),
        vendor: NVIDIA.to_owned(),
        // Some cards share the memory of the machine: "[N/A]".
        memory: memory.trim().parse().unwrap_or(0),
        pci_address: String::new(),
    })
}

/// An object with a field `card<index>` for each.
async fn amd(path: Option<&OsStr>) -> Result<Vec<Gpu>, String> {
    let args = ["--showproductname", "--showbus", "--showmeminfo", "vram", "--json"];
    let Some(output) = ask(path, "rocm-smi", &args).await? else { return Ok(Vec::new()) };
    // Older versions say nothing at all where there is none.
    if output.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let cards: Map<String, Value> = parse(&output)?;
    let mut gpus = Vec::new();
    for (key, card) in &cards {
        // There may be a field about the system as a whole.
        let Some(index) = key.strip_prefix("card") else { continue };
        // Capitals have changed between versions.
        let field = |name: &str| {
            let fields = card.as_object().into_iter().flatten();
            let found = fields
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .find_map(|(_, value)| value.as_str());
            found.unwrap_or_default().trim().to_owned()
        };
        gpus.push(Gpu {
            index: index.parse().map_err(|_| format!("cannot read its card {key:?}"))?,
            name: field("Card series"),
            vendor: AMD.to_owned(),
            memory: field("VRAM Total Memory (B)").parse::<u64>().unwrap_or(0) / MIB,
            pci_address: field("PCI Bus").to_ascii_lowercase(),
        });
    }
    gpus.sort_by_key(|gpu| gpu.index);
    Ok(gpus)
}

#[derive(Deserialize)]
struct XpuList {
    #[serde(default)]
    device_list: Vec<XpuDevice>,
}

#[derive(Deserialize)]
struct XpuDevice {
    device_id: u64,
    #[serde(default)]
    device_name: String,
    #[serde(default)]
    pci_bdf_address: String,
    #[serde(default)]
    memory_physical_size_byte: String,
}

/// A list, which does not say how much memory they have; each is asked for that.
async fn intel(path: Option<&OsStr>) -> Result<Vec<Gpu>, String> {
    let Some(output) = ask(path, "xpu-smi", &["discovery", "--json"]).await? else { return Ok(Vec::new()) };
    let list: XpuList = parse(&output)?;
    let mut gpus = Vec::new();
    for device in list.device_list {
        let id = device.device_id.to_string();
        let more = ask(path, "xpu-smi", &["discovery", "--json", "--device", &id]).await?.unwrap_or_default();
        let more: XpuDevice = parse(&more)?;
        gpus.push(Gpu {
            index: device.device_id,
            name: device.device_name,
            vendor: INTEL.to_owned(),
            memory: more.memory_physical_size_byte.trim().parse::<u64>().unwrap_or(0) / MIB,
            pci_address: device.pci_bdf_address.to_ascii_lowercase(),
        });
    }
    gpus.sort_by_key(|gpu| gpu.index);
    Ok(gpus)
}

fn parse<T: DeserializeOwned>(output: &[u8]) -> Result<T, String> {
    serde_json::from_slice(output).map_err(|e| format!("cannot read what it says: {e}"))
}

/// What a tool says; `None` where it is not installed.
async fn ask(path: Option<&OsStr>, tool: &str, args: &[&str]) -> Result<Option<Vec<u8>>, String> {
    let mut command = Command::new(tool);
    command.args(args);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    match command::run(command, Vec::new(), LIMIT).await {
        Ok(output) if output.code == Some(0) => Ok(Some(output.stdout)),
        Ok(output) => {
            // Some of them complain on standard output.
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said)
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect::<String>();
            Err(format!("it failed (exit code {:?}): {said}", output.code))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(format!("it does not answer within {LIMIT:?}"))
        }
        Err(error) => Err(format!("it cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Installs a program, written by a process of its own: nobody else must hold it open for writing when it starts.
    fn install(folder: &Path, name: &str, script: &str) {
        let written = std::process::Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod +x \"$2\"", "sh", script])
            .arg(folder.join(name))
            .status();
        assert!(written.unwrap().success());
    }

    async fn found(tools: &[(&str, &str)]) -> Vec<Gpu> {
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in tools {
            install(dir.path(), name, script);
        }
        find(Some(format!("{}:/usr/bin:/bin", dir.path().display()).as_ref())).await
    }

    fn gpu(index: u64, name: &str, vendor: &str, memory: u64, pci: &str) -> Gpu {
        Gpu { index, name: name.into(), vendor: vendor.into(), memory, pci_address: pci.into() }
    }

    const NVIDIA_SMI: &str = r#"[ "$*" = "--query-gpu=index,gpu_name,memory.total --format=csv,noheader,nounits" ] || exit 6
echo "0, Tesla T4, 15360"
echo "1, NVIDIA GB10, Rev. A, [N/A]""#;

    const ROCM_SMI: &str = r#"cat <<'END'
{"card1": {"PCI Bus": "0000:E7:00.0", "VRAM Total Memory (B)": "68702699520", "VRAM Total Used Memory (B)": "10960896", "Card Series": "Instinct MI210", "Card Model": "0x0c34", "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]"},
 "card0": {"VRAM Total Memory (B)": "8587837440", "Card series": "Instinct MI100", "PCI Bus": "0000:63:00.0"},
 "system": {"Driver version": "6.7.0"}}
END"#;

    const XPU_SMI: &str = r#"case "$*" in
"discovery --json") cat <<'END'
{"device_list": [
 {"device_function_type": "physical", "device_id": 0, "device_name": "Intel Corporation Device 56c1 (rev 05)", "device_type": "GPU", "drm_device": "/dev/dri/card1", "pci_bdf_address": "0000:e9:00.0", "vendor_name": "Intel(R) Corporation"},
 {"device_function_type": "physical", "device_id": 1, "device_name": "Intel Corporation Device 56c1 (rev 05)", "device_type": "GPU", "drm_device": "/dev/dri/card2", "pci_bdf_address": "0000:ea:00.0", "vendor_name": "Intel(R) Corporation"}]}
END
;;
"discovery --json --device "*) printf '{"device_id": %s, "device_name": "x", "memory_physical_size_byte": "5314183168"}' "$4" ;;
*) exit 1 ;;
esac"#;

    #[tokio::test]
    async fn every_vendor_is_asked() {
        let found = found(&[("nvidia-smi", NVIDIA_SMI), ("rocm-smi", ROCM_SMI), ("xpu-smi", XPU_SMI)]).await;
        let arc = "Intel Corporation Device 56c1 (rev 05)";
        let expected = [
            gpu(0, "Tesla T4", "NVIDIA", 15360, ""),
            gpu(1, "NVIDIA GB10, Rev. A", "NVIDIA", 0, ""),
            gpu(0, "Instinct MI100", "AMD/ATI", 8190, "0000:63:00.0"),
            gpu(1, "Instinct MI210", "AMD/ATI", 65520, "0000:e7:00.0"),
            gpu(0, arc, "Intel", 5068, "0000:e9:00.0"),
            gpu(1, arc, "Intel", 5068, "0000:ea:00.0"),
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn tools_that_fail_or_are_missing_know_of_none() {
        assert_eq!(found(&[]).await, []);
        let tools = [
            ("nvidia-smi", "echo 'No devices were found'; exit 6"),
            ("rocm-smi", "echo 'ERROR: no JSON'"),
            ("xpu-smi", XPU_SMI),
        ];
        assert_eq!(found(&tools).await.len(), 2, "one vendor's trouble is not another's");
        assert_eq!(found(&[("rocm-smi", "true"), ("xpu-smi", "echo '{}'")]).await, []);
    }
}
