//! Kernels on a GPU.

use crate::launch::{Field, Launch, Packed};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute_enum as Attribute;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
    SyncOnDrop,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage, Tensor, bail};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Modules by the ordinal of their GPU and the address of their image: a GPU loads each but once.
static MODULES: LazyLock<Mutex<HashMap<(usize, usize), Arc<CudaModule>>>> = LazyLock::new(Mutex::default);

/// GPU, image, name and type of a kernel.
type Name = (usize, usize, &'static str, &'static str);

/// Kernels that have been launched: to find one by its name takes the driver as long as a small launch.
static FUNCTIONS: LazyLock<Mutex<HashMap<Name, CudaFunction>>> = LazyLock::new(Mutex::default);

/// Shared memory of a block that need not be asked for beforehand.
const SHARED: u32 = 48 << 10;

pub(crate) fn allocate(device: &CudaDevice, dtype: DType, elements: usize) -> Result<Storage> {
    // The driver refuses to allocate nothing.
    let elements = elements.max(1);
    // SAFETY: the memory is not cleared; kernels write all of it before anything reads it, which emulation checks.
    let storage = unsafe {
        match dtype {
            DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(elements)?, device.clone()),
            DType::F64 => CudaStorage::wrap_cuda_slice(device.alloc::<f64>(elements)?, device.clone()),
            DType::BF16 => CudaStorage::wrap_cuda_slice(device.alloc::<half::bf16>(elements)?, device.clone()),
            DType::U32 => CudaStorage::wrap_cuda_slice(device.alloc::<u32>(elements)?, device.clone()),
            DType::U8 => CudaStorage::wrap_cuda_slice(device.alloc::<u8>(elements)?, device.clone()),
            dtype => bail!("CUDA kernels have no {dtype:?}"),
        }
    };
    Ok(Storage::Cuda(storage))
}

// SAFETY: plain bytes, laid out as the kernel's struct; CUDA copies as many as the kernel takes.
unsafe impl DeviceRepr for Packed {}

pub(crate) fn run(launch: Launch, device: &CudaDevice) -> Result<()> {
    let stream = device.cuda_stream();
    let function = function(&launch, &stream)?;
    if launch.shared > SHARED {
        let bytes = i32::try_from(launch.shared).unwrap_or(i32::MAX);
        function.set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes).w()?;
    }
    let guards: Vec<_> = launch
        .fields
        .iter()
        .map(|field| match field {
            Field::Input(x) => Some((*x, x.storage_and_layout())),
            _ => None,
        })
        .collect();
    // Held until the launch is on the stream, so that the stream's order covers the memory.
    let mut uses = Vec::new();
    let mut packed = Packed::new();
    for (field, guard) in launch.fields.into_iter().zip(&guards) {
        match (field, guard) {
            (Field::Input(_), Some((x, (storage, layout)))) => {
                let Some((start, _)) = layout.contiguous_offsets() else {
                    return Err(Launch::wrong(launch.kernel, x, "not contiguous"));
                };
                let Storage::Cuda(storage) = &**storage else {
                    return Err(Launch::wrong(launch.kernel, x, "not on the GPU"));
                };
                packed.push(read(launch.kernel, x, storage, start, &stream, &mut uses)?.to_ne_bytes());
            }
            (Field::Output(buffer), _) => {
                let Storage::Cuda(storage) = &mut buffer.storage else { bail!("a result that is not on the GPU") };
                packed.push(write(storage, &stream, &mut uses)?.to_ne_bytes());
            }
            (Field::InPlace(address), _) => packed.push(address.to_ne_bytes()),
            (Field::Size(size), _) => packed.push(size.to_ne_bytes()),
            (Field::Scalar(number), _) => packed.push(number.to_ne_bytes()),
            (Field::Null | Field::Input(_), _) => packed.push(0u64.to_ne_bytes()),
        }
    }
    let [x, y, z] = launch.blocks;
    let config =
        LaunchConfig { grid_dim: (x, y, z), block_dim: (launch.threads, 1, 1), shared_mem_bytes: launch.shared };
    let mut builder = stream.launch_builder(&function);
    builder.arg(&packed);
    // SAFETY: the arguments are laid out as the kernel's struct, which emulation checks, and point to memory of the sizes
    // among them.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

fn function(launch: &Launch, stream: &CudaStream) -> Result<CudaFunction> {
    let (context, image) = (stream.context(), launch.kernels.image);
    let key = (context.ordinal(), image.as_ptr() as usize, launch.kernel, launch.suffix);
    let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(function) = functions.get(&key) {
        return Ok(function.clone());
    }
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let module = match modules.get(&(key.0, key.1)) {
        Some(module) => module.clone(),
        None => context.load_module(Ptx::from_binary(image.to_vec())).w()?,
    };
    modules.insert((key.0, key.1), module.clone());
    let function = module.load_function(&format!("{}_{}", launch.kernel, launch.suffix)).w()?;
    functions.insert(key, function.clone());
    Ok(function)
}

/// The address of an element, and a guard of its use.
fn address<'a, T>(
    slice: &'a CudaSlice<T>,
    start: usize,
    stream: &'a CudaStream,
    uses: &mut Vec<SyncOnDrop<'a>>,
) -> u64 {
    let (pointer, guard) = slice.device_ptr(stream);
    uses.push(guard);
    pointer + (start * size_of::<T>()) as u64
}

fn read<'a>(
    kernel: &'static str,
    x: &Tensor,
    storage: &'a CudaStorage,
    start: usize,
    stream: &'a CudaStream,
    uses: &mut Vec<SyncOnDrop<'a>>,
) -> Result<u64> {
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => address(slice, start, stream, uses),
        CudaStorageSlice::F64(slice) => address(slice, start, stream, uses),
        CudaStorageSlice::BF16(slice) => address(slice, start, stream, uses),
        CudaStorageSlice::U32(slice) => address(slice, start, stream, uses),
        CudaStorageSlice::U8(slice) => address(slice, start, stream, uses),
        _ => return Err(Launch::wrong(kernel, x, "of a type that kernels do not have")),
    })
}

pub(crate) fn write<'a>(
    storage: &'a mut CudaStorage,
    stream: &'a CudaStream,
    uses: &mut Vec<SyncOnDrop<'a>>,
) -> Result<u64> {
    fn address<'a, T>(slice: &'a mut CudaSlice<T>, stream: &'a CudaStream, uses: &mut Vec<SyncOnDrop<'a>>) -> u64 {
        let (pointer, guard) = slice.device_ptr_mut(stream);
        uses.push(guard);
        pointer
    }
    let dtype = storage.dtype();
    Ok(match &mut storage.slice {
        CudaStorageSlice::F32(slice) => address(slice, stream, uses),
        CudaStorageSlice::F64(slice) => address(slice, stream, uses),
        CudaStorageSlice::BF16(slice) => address(slice, stream, uses),
        CudaStorageSlice::U32(slice) => address(slice, stream, uses),
        CudaStorageSlice::U8(slice) => address(slice, stream, uses),
        _ => bail!("CUDA kernels do not write {dtype:?}"),
    })
}
