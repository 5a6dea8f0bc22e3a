//! Amounts as people write them: CPU in Kubernetes' form, bytes with units, percentages of what a machine has.

use crate::resources::Resources;
use crate::task::ResourcesConfig;

/// Units of bytes, decimal and binary, in lower case without a final `b`.
const UNITS: [(&str, u64); 12] = [
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("p", 1_000_000_000_000_000),
    ("e", 1_000_000_000_000_000_000),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
    ("pi", 1 << 50),
    ("ei", 1 << 60),
];

/// Suffixes of Kubernetes quantities, longest first. Their case counts: `m` is a thousandth, `M` a million.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Most cores that count as an amount: what Kubernetes can hold in thousandths.
const MOST_CORES: f64 = 9.2e15;

/// Cores: `2`, `0.5`, `500m` (thousandths), `1e1`, and the other suffixes of Kubernetes. Not negative.
pub fn parse_cpu(text: &str) -> Option<f64> {
    let text = text.trim();
    let suffixed = SUFFIXES.into_iter().find_map(|(name, factor)| Some((text.strip_suffix(name)?, factor)));
    let (digits, factor) = suffixed.unwrap_or((text, 1.0));
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let cores: f64 = digits.parse().ok().filter(|_| plain)?;
    // Millionths are finer than anything that is measured; rounding keeps 100m at exactly a tenth.
    let cores = (cores * factor * 1e6).round() / 1e6;
    (cores <= MOST_CORES).then_some(cores)
}

/// Bytes: `512`, `512mb` (decimal), `1gib` or `1gi` (binary), `1.5 GB`, in any case.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let unit = unit.trim();
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let factor = match unit {
        "" => 1,
        _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    let digits = digits.replace(',', "");
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let amount: f64 = digits.parse().ok().filter(|_| !digits.is_empty())?;
    let bytes = amount * factor as f64;
    (bytes < 1.8e19).then_some(bytes as u64)
}

/// Bytes for people: decimal units, one digit below ten (`6.2 GB`, `27 GB`, `0 B`).
#[allow(clippy::cast_precision_loss)]
pub fn format_bytes(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for name in NAMES {
        if value < 999.5 {
            break;
        }
        value /= 1e3;
        unit = name;
    }
    let rounded = (value * 10.0).round() / 10.0;
    if rounded < 10.0 && unit != "B" {
        format!("{rounded:.1} {unit}")
    } else {
        format!("{rounded:.0} {unit}")
    }
}

impl ResourcesConfig {
    /// Amounts; empty fields are 0. Case and blanks do not matter, see [`ResourcesConfig::normalized`].
    ///
    /// # Errors
    /// One line per field that cannot be read, in Bacalhau 1.9's words, with the value as the user wrote it.
    pub fn parse(&self) -> Result<Resources, String> {
        let clean = self.normalized();
        let mut errors = Vec::new();
        let amounts = Resources {
            cpu: read(&clean.cpu, parse_cpu, "CPU", &self.cpu, &mut errors),
            memory: read(&clean.memory, parse_bytes, "memory", &self.memory, &mut errors),
            disk: read(&clean.disk, parse_bytes, "disk", &self.disk, &mut errors),
            gpu: read(&clean.gpu, |text| text.parse().ok(), "GPU", &self.gpu, &mut errors),
            gpus: Vec::new(),
        };
        if errors.is_empty() { Ok(amounts) } else { Err(errors.join("\n")) }
    }

    /// Lower-case, without blanks: the form that is stored.
    #[must_use]
    pub fn normalized(&self) -> ResourcesConfig {
        let clean =
            |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
        ResourcesConfig {
            cpu: clean(&self.cpu),
            memory: clean(&self.memory),
            disk: clean(&self.disk),
            gpu: clean(&self.gpu),
        }
    }
}

/// One amount; notes in `errors` when there is text that cannot be read.
fn read<T: Default>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    what: &str,
    as_typed: &str,
    errors: &mut Vec<String>,
) -> T {
    if text.is_empty() {
        return T::default();
    }
    parse(text).unwrap_or_else(|| {
        errors.push(format!("invalid {what} value: {}", as_typed.trim()));
        T::default()
    })
}

/// What a node may use of what the machine has: each field a percentage (`80%`) or an amount. Amounts may exceed the
/// machine. Of the machine's GPUs, the first ones are taken.
///
/// # Errors
/// The field that cannot be read.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn scale(config: &ResourcesConfig, machine: &Resources) -> Result<Resources, String> {
    let share = |text: &str, what: &str| -> Result<Option<f64>, String> {
        let Some(number) = text.trim().strip_suffix('%') else { return Ok(None) };
        match number.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Some(percent / 100.0)),
            _ => Err(format!("{what} capacity percentage must be between 0% and 100%, got {}", text.trim())),
        }
    };
    let mut absolute = ResourcesConfig::default();
    let mut scaled = Resources::default();
    match share(&config.cpu, "cpu")? {
        Some(share) => scaled.cpu = machine.cpu * share,
        None => absolute.cpu.clone_from(&config.cpu),
    }
    match share(&config.memory, "memory")? {
        Some(share) => scaled.memory = (machine.memory as f64 * share) as u64,
        None => absolute.memory.clone_from(&config.memory),
    }
    match share(&config.disk, "disk")? {
        Some(share) => scaled.disk = (machine.disk as f64 * share) as u64,
        None => absolute.disk.clone_from(&config.disk),
    }
    match share(&config.gpu, "gpu")? {
        // At least one of the GPUs there are, unless none is wanted.
        Some(share) if share > 0.0 && machine.gpu > 0 => {
            scaled.gpu = ((machine.gpu as f64 * share) as u64).max(1)
        }
        Some(_) => {}
        None => absolute.gpu.clone_from(&config.gpu),
    }
    let amounts = scaled.max(&absolute.parse()?);
    let gpus = machine.gpus.iter().zip(0..amounts.gpu).map(|(gpu, _)| gpu.clone()).collect();
    Ok(Resources { gpus, ..amounts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts() {
        for (text, cores) in [("2", 2.0), ("0.5", 0.5), ("500m", 0.5), ("100m", 0.1), ("10m", 0.01)] {
            assert_eq!(parse_cpu(text), Some(cores), "{text}");
        }
        for text in ["", "m", "x", "-1", "+1", "1e", "e3", "inf", "nan", "1.2.3", ".", "1e400", "1mm"] {
            assert_eq!(parse_cpu(text), None, "{text}");
        }
        for (text, bytes) in [
            ("512", 512),
            ("512Mb", 512_000_000),
            ("16mb", 16_000_000),
            ("1gi", 1 << 30),
            ("1GiB", 1 << 30),
            ("1.5 GB", 1_500_000_000),
            ("2TB", 2_000_000_000_000),
            ("1k", 1000),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "mb", "1xb", "-5", "1..5mb", "99999999999999999999gb"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (6_230_000_000, "6.2 GB"),
            (27_000_000_000, "27 GB"),
            (999_999, "1.0 MB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn settings_and_shares() {
        let config = ResourcesConfig { cpu: " 500M ".into(), memory: "1 Gb".into(), ..Default::default() };
        assert_eq!(config.normalized().cpu, "500m");
        let amounts = config.normalized().parse().unwrap();
        assert_eq!((amounts.cpu, amounts.memory), (0.5, 1_000_000_000));
        let wrong = ResourcesConfig { cpu: "x".into(), memory: "y".into(), ..Default::default() };
        assert_eq!(wrong.parse().unwrap_err(), "invalid CPU value: x\ninvalid memory value: y");
        let machine = Resources { cpu: 4.0, memory: 1000, disk: 100, gpu: 0, gpus: vec![] };
        let config = ResourcesConfig {
            cpu: "50%".into(),
            memory: "80%".into(),
            disk: "10".into(),
            gpu: "100%".into(),
        };
        let scaled = scale(&config, &machine).unwrap();
        assert_eq!((scaled.cpu, scaled.memory, scaled.disk, scaled.gpu), (2.0, 800, 10, 0));
        let config = ResourcesConfig { cpu: "120%".into(), ..Default::default() };
        assert!(scale(&config, &machine).unwrap_err().contains("between 0% and 100%"));
    }

    #[test]
    fn resources_are_cleaned_before_they_are_read() {
        let typed = ResourcesConfig { cpu: " 500M ".into(), memory: "1 Gb".into(), ..Default::default() };
        assert_eq!(typed.parse().unwrap().cpu, 0.5);
        let wrong = ResourcesConfig { cpu: "Two".into(), ..Default::default() };
        assert_eq!(wrong.parse().unwrap_err(), "invalid CPU value: Two");
        let huge = ResourcesConfig { cpu: "9".repeat(400), ..Default::default() };
        assert!(huge.parse().is_err());
    }

    #[test]
    fn more_units() {
        for (text, cores) in [
            ("250000u", 0.25),
            ("1000000n", 0.001),
            ("1k", 1000.0),
            ("1Ki", 1024.0),
            ("2e1", 20.0),
            (".5", 0.5),
        ] {
            assert_eq!(parse_cpu(text), Some(cores), "{text}");
        }
        assert_eq!((parse_bytes("1EB"), parse_bytes("1eib")), (Some(10_u64.pow(18)), Some(1 << 60)));
        assert_eq!(format_bytes(13_460_000_000), "14 GB", "rounded to a tenth first, as Bacalhau 1.9 does");
    }

    #[test]
    fn a_share_of_the_gpus_names_them() {
        let card = |index| crate::resources::Gpu { index, ..Default::default() };
        let machine = Resources { gpu: 3, gpus: vec![card(0), card(1), card(2)], ..Default::default() };
        let of =
            |gpu: &str| scale(&ResourcesConfig { gpu: gpu.into(), ..Default::default() }, &machine).unwrap();
        assert_eq!((of("70%").gpu, of("70%").gpus.len()), (2, 2));
        assert_eq!((of("1%").gpu, of("5").gpus.len()), (1, 3));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,20}", bytes: u64) {
            let _ = (parse_bytes(&text), format_bytes(bytes));
            if let Some(cores) = parse_cpu(&text) {
                prop_assert!(cores.is_finite() && cores >= 0.0);
            }
        }

        #[test]
        fn amounts_are_read_as_written(bytes in 0..1_u64 << 53, thousandths in 0..10_000_000_u32) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Some(bytes));
            prop_assert_eq!(parse_bytes(&format!("{bytes} B")), Some(bytes));
            prop_assert_eq!(parse_cpu(&format!("{thousandths}m")), Some(f64::from(thousandths) / 1000.0));
        }
    }
}
