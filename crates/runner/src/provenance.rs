//! Where and from what a run was made.

use candle_core::{DType, Device, Tensor};
use colormamba_data::Dataset;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// The content of `provenance.toml`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// Version of this program.
    pub version: String,
    /// Commit it was built from, if the build was told (`COLORMAMBA_COMMIT`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The dataset's name.
    pub dataset: String,
    /// Digest of everything that defines its splits.
    pub fingerprint: String,
    /// BLAKE3 of all weights before the first step.
    pub init: String,
    /// Name of the machine.
    pub host: String,
    /// `cpu`.
    pub device: String,
    /// Worker threads; results are the same bits only for the same number.
    pub threads: usize,
    /// When the run was started, UTC.
    pub started: String,
}

impl Provenance {
    /// Of a run that starts here and now from `weights`.
    ///
    /// # Errors
    /// If a weight cannot be read back.
    pub fn now(dataset: &dyn Dataset, weights: &BTreeMap<String, Tensor>) -> candle_core::Result<Self> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            commit: option_env!("COLORMAMBA_COMMIT").map(String::from),
            dataset: dataset.name().to_string(),
            fingerprint: dataset.fingerprint(),
            init: digest(weights)?,
            host: host(),
            device: "cpu".to_string(),
            threads: rayon::current_num_threads(),
            started: utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
        })
    }
}

/// BLAKE3 over names, shapes and little-endian f64 values, in the order of the names.
fn digest(tensors: &BTreeMap<String, Tensor>) -> candle_core::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for (name, tensor) in tensors {
        hasher.update(format!("{name} {:?}\n", tensor.dims()).as_bytes());
        let values: Vec<f64> = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn host() -> String {
    let named = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|key| std::env::var(key).ok());
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    named.or_else(kernel).map_or_else(|| "unknown".to_string(), |name| name.trim().to_string())
}

/// Seconds since 1970 as `YYYY-MM-DDTHH:MM:SSZ`.
///
/// Source: the civil calendar in eras of 400 years that begin in March (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    // date -u -d @951827696 +%FT%TZ and so on
    #[test]
    fn utc_is_the_civil_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
