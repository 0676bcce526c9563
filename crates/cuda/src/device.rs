//! Which device to compute on.

use candle_core::Device;
use std::fmt;
use std::str::FromStr;

/// What a user asks for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first GPU if this build can use one and there is one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number, from 0.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text} is no device: auto, cpu, cuda and cuda:N (a GPU's number, from 0) are");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Self::Cuda).ok_or_else(unknown),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The program is one for the processor alone.
    #[error("this build has no CUDA: use --device cpu, or build with --features cuda")]
    NotBuilt,
    /// The driver finds no GPU, or there is none.
    #[error("no CUDA GPU can be used here ({0}): check that nvidia-smi lists one, or use --device cpu")]
    NoGpu(String),
    /// There are fewer GPUs.
    #[error("cuda:{asked} does not exist: {}", gpus(*count))]
    NoSuchGpu {
        /// The number asked for.
        asked: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver is of an earlier CUDA than the kernels.
    #[error(
        "the NVIDIA driver is too old: it supports CUDA {}.{}, this build needs {}.{}: update the driver",
        found.0, found.1, needed.0, needed.1
    )]
    OldDriver {
        /// What the driver supports.
        found: (i32, i32),
        /// What the program was built with.
        needed: (i32, i32),
    },
    /// The kernels were compiled for other GPUs.
    #[error(
        "cuda:{gpu} has compute capability {found}, this build's kernels are for {built}{}: \
         build with CUDA_COMPUTE_CAP={found}",
        if *built < 90 { " and later" } else { "" }
    )]
    Capability {
        /// The GPU's number.
        gpu: usize,
        /// Its capability, 90 for 9.0.
        found: usize,
        /// That of the kernels.
        built: usize,
    },
    /// What CUDA said when the GPU was opened.
    #[error("cuda:{gpu} cannot be used: {message}")]
    Failed {
        /// The GPU's number.
        gpu: usize,
        /// CUDA's message.
        message: String,
    },
}

fn gpus(count: usize) -> String {
    match count {
        1 => "there is one GPU, cuda:0".to_string(),
        n => format!("there are {n} GPUs, cuda:0 to cuda:{}", n - 1),
    }
}

/// Whether kernels for one compute capability run on a GPU of another. Candle compiles its own for 9.0 and later with
/// instructions that no other GPU has.
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "there is no GPU to ask"))]
fn runs_on(built: usize, found: usize) -> bool {
    if built < 90 { found >= built } else { found == built }
}

/// Opens the device.
///
/// # Errors
/// [`DeviceError`], never for [`Choice::Cpu`]; for [`Choice::Auto`] if there is a GPU that cannot be used.
pub fn open(choice: Choice) -> Result<Device, DeviceError> {
    match choice {
        Choice::Cpu => Ok(Device::Cpu),
        Choice::Auto if count() == 0 => Ok(Device::Cpu),
        Choice::Auto => gpu(0),
        Choice::Cuda(n) => gpu(n),
    }
}

/// Whether products of f32 matrices on a GPU are rounded to TF32, of which the whole process has one setting.
pub fn tf32() -> bool {
    candle_core::cuda::gemm_reduced_precision_f32()
}

/// While it lives, products of f32 matrices on a GPU are rounded to TF32, or not.
pub struct Tf32(bool);

impl Tf32 {
    /// Until it is dropped.
    pub fn set(on: bool) -> Self {
        let before = Self(tf32());
        candle_core::cuda::set_gemm_reduced_precision_f32(on);
        before
    }
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        candle_core::cuda::set_gemm_reduced_precision_f32(self.0);
    }
}

/// What a device is called: `cpu`, or `cuda:N` with the GPU's name.
pub fn name(device: &Device) -> String {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => on_gpu::name(device),
        _ => "cpu".to_string(),
    }
}

/// The most bytes of a GPU's memory that tensors have taken at a time; none for the processor.
///
/// # Errors
/// CUDA's.
pub fn peak_memory(device: &Device) -> candle_core::Result<Option<u64>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => on_gpu::peak_memory(device).map(Some),
        _ => Ok(None),
    }
}

#[cfg(feature = "cuda")]
use self::on_gpu::{count, gpu};

#[cfg(not(feature = "cuda"))]
fn count() -> usize {
    0
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

#[cfg(feature = "cuda")]
mod on_gpu {
    use super::DeviceError;
    use super::runs_on;
    use candle_core::cuda_backend::WrapErr;
    use candle_core::cuda_backend::cudarc::cublas::sys as cublas;
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};
    use candle_core::{CudaDevice, Device};

    /// The CUDA version and the capability that the kernels were compiled for.
    const VERSION: (&str, &str) = (env!("KERNELS_CUDA_VERSION"), env!("KERNELS_CAPABILITY"));

    pub(super) fn name(device: &CudaDevice) -> String {
        let stream = device.cuda_stream();
        let context = stream.context();
        format!("cuda:{} {}", context.ordinal(), context.name().unwrap_or_default())
    }

    pub(super) fn peak_memory(device: &CudaDevice) -> candle_core::Result<u64> {
        let mut bytes = 0u64;
        // SAFETY: the pool is the device's own; the attribute is an integer of 64 bits.
        unsafe {
            let pool = result::device::get_mem_pool(device.cuda_stream().context().cu_device()).w()?;
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
            result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()).w()?;
        }
        Ok(bytes)
    }

    /// Freed memory stays with the process. Otherwise the driver would take it back whenever the host waits for the GPU, and
    /// the next operations would wait for the driver.
    fn keep_freed_memory(context: &CudaContext) -> Result<(), result::DriverError> {
        let mut threshold = u64::MAX;
        // SAFETY: the pool is the device's own; the attribute is an integer of 64 bits.
        unsafe {
            let pool = result::device::get_mem_pool(context.cu_device())?;
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())
        }
    }

    /// GPUs that can be seen; none without a usable driver.
    pub(super) fn count() -> usize {
        result::init().and_then(|()| result::device::get_count()).map_or(0, |n| usize::try_from(n).unwrap_or(0))
    }

    pub(super) fn gpu(asked: usize) -> Result<Device, DeviceError> {
        result::init().map_err(|error| DeviceError::NoGpu(error.to_string()))?;
        let count = count();
        if count == 0 {
            return Err(DeviceError::NoGpu("the driver lists none".to_string()));
        }
        if asked >= count {
            return Err(DeviceError::NoSuchGpu { asked, count });
        }
        check_driver()?;
        let failed = |message: String| DeviceError::Failed { gpu: asked, message };
        let context = CudaContext::new(asked).map_err(|error| failed(error.to_string()))?;
        let (major, minor) = context.compute_capability().map_err(|error| failed(error.to_string()))?;
        let (found, built) = ((10 * major + minor) as usize, VERSION.1.parse().unwrap_or(0));
        if !runs_on(built, found) {
            return Err(DeviceError::Capability { gpu: asked, found, built });
        }
        if context.has_async_alloc() {
            keep_freed_memory(&context).map_err(|error| failed(error.to_string()))?;
        }
        let device = CudaDevice::new_with_stream(asked).map_err(|error| failed(error.to_string()))?;
        // SAFETY: all work of the device is on this one stream, whichever thread gives it: its order is the order of use, and
        // events would tell nothing.
        unsafe { device.disable_event_tracking() };
        sum_in_f32(&device).map_err(|error| failed(error.to_string()))?;
        Ok(Device::Cuda(device))
    }

    /// Without this cuBLAS may add up parts of a product of bf16 in bf16.
    fn sum_in_f32(device: &CudaDevice) -> candle_core::Result<()> {
        let mode = cublas::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle lives as long as the device.
        unsafe { cublas::cublasSetMathMode(*device.cublas_handle().handle(), mode) }.result().w()
    }

    fn check_driver() -> Result<(), DeviceError> {
        let mut version = 0;
        // SAFETY: it writes one integer.
        let status = unsafe { sys::cuDriverGetVersion(&mut version) };
        status.result().map_err(|error| DeviceError::NoGpu(error.to_string()))?;
        let found = (version / 1000, version % 1000 / 10);
        let part = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut parts = VERSION.0.split('.');
        let needed = (part(parts.next()), part(parts.next()));
        if found < needed {
            return Err(DeviceError::OldDriver { found, needed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        for (text, choice) in [("auto", Choice::Auto), ("cpu", Choice::Cpu), ("cuda:7", Choice::Cuda(7))] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA"] {
            let message = wrong.parse::<Choice>().unwrap_err();
            assert!(message.contains("cuda:N"), "{message}");
        }
    }

    #[test]
    fn messages_name_what_to_do() {
        let missing = DeviceError::NoSuchGpu { asked: 7, count: 1 };
        assert_eq!(missing.to_string(), "cuda:7 does not exist: there is one GPU, cuda:0");
        let two = DeviceError::NoSuchGpu { asked: 7, count: 2 };
        assert_eq!(two.to_string(), "cuda:7 does not exist: there are 2 GPUs, cuda:0 to cuda:1");
        let old = DeviceError::OldDriver { found: (12, 4), needed: (13, 0) };
        assert!(old.to_string().contains("CUDA 12.4, this build needs 13.0"), "{old}");
        let capability = DeviceError::Capability { gpu: 0, found: 80, built: 90 };
        assert!(capability.to_string().contains("are for 90: build with CUDA_COMPUTE_CAP=80"), "{capability}");
    }

    #[test]
    fn kernels_of_the_latest_cards_run_on_these_alone() {
        for (built, found, runs) in [(80, 80, true), (80, 90, true), (86, 80, false), (90, 90, true), (90, 100, false)]
        {
            assert_eq!(runs_on(built, found), runs, "{built} on {found}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_so() {
        assert!(open(Choice::Auto).unwrap().is_cpu());
        assert_eq!(open(Choice::Cuda(0)).unwrap_err(), DeviceError::NotBuilt);
    }
}
