//! Kernels as C++ on the threads of the processor.

use crate::launch::{Field, Launch, Packed};
use crate::record::{self, Record};
use candle_core::{CpuStorage, DType, Result, Storage, Tensor, bail};
use std::ffi::{CStr, c_char, c_void};

/// A kernel, as `emulation.h` lays it out.
#[repr(C)]
pub struct Emulated {
    kernel: Kernel,
    launch: unsafe extern "C" fn(*const Kernel, *const u32, u32, u32, *const c_void),
}

#[repr(C)]
struct Kernel {
    name: *const c_char,
    args_size: usize,
    cooperates: bool,
    run: unsafe extern "C" fn(*const c_void),
}

/// Memory full of NaN, so that tests see what a kernel left out.
pub(crate) fn allocate(dtype: DType, elements: usize) -> Result<Storage> {
    Ok(Storage::Cpu(match dtype {
        DType::F32 => CpuStorage::F32(vec![f32::NAN; elements]),
        DType::F64 => CpuStorage::F64(vec![f64::NAN; elements]),
        DType::BF16 => CpuStorage::BF16(vec![half::bf16::NAN; elements]),
        DType::U32 => CpuStorage::U32(vec![u32::MAX; elements]),
        DType::U8 => CpuStorage::U8(vec![u8::MAX; elements]),
        dtype => bail!("emulated kernels have no {dtype:?}"),
    }))
}

pub(crate) fn run(launch: Launch) -> Result<()> {
    let name = format!("{}_{}", launch.kernel, launch.suffix);
    let Some(found) = find(&launch, &name) else {
        bail!("{}.cu exports no kernel {name}", launch.kernels.name);
    };
    let (mut guards, mut memory, mut can_repeat) = (Vec::new(), Vec::new(), found.kernel.cooperates);
    let mut packed = Packed::new();
    for field in launch.fields {
        match field {
            Field::Input(x) => {
                let (storage, pointer) = read(launch.kernel, x)?;
                packed.push((pointer as usize).to_ne_bytes());
                memory.push((packed.size(), pointer, x.elem_count() * x.dtype().size_in_bytes()));
                guards.push(storage);
            }
            Field::Output(buffer) => {
                let (elements, dtype) = (buffer.elements(), buffer.storage.dtype());
                let Storage::Cpu(storage) = &mut buffer.storage else {
                    bail!("emulated kernels write to the CPU only")
                };
                let pointer = write(storage)?;
                packed.push((pointer as usize).to_ne_bytes());
                memory.push((packed.size(), pointer.cast_const(), elements * dtype.size_in_bytes()));
            }
            Field::InPlace(address) => {
                can_repeat = false;
                packed.push(address.to_ne_bytes());
            }
            Field::Null => packed.push(0usize.to_ne_bytes()),
            Field::Size(size) => packed.push(size.to_ne_bytes()),
            Field::Scalar(number) => packed.push(number.to_ne_bytes()),
        }
    }
    let Kernel { args_size, .. } = found.kernel;
    if packed.size() != args_size {
        bail!("{name}: the host passes {} bytes of arguments, the kernel takes {args_size}", packed.size());
    }
    if let Some(folder) = record::folder().filter(|_| can_repeat) {
        // SAFETY: the pointers are to live memory of these sizes.
        let slice = |(end, start, bytes): (usize, *const c_void, usize)| unsafe {
            (end - size_of::<usize>(), std::slice::from_raw_parts(start.cast::<u8>(), bytes))
        };
        let memory = memory.into_iter().map(slice).collect();
        let Launch { blocks, threads, shared, .. } = launch;
        Record { memory, name: &name, blocks, threads, shared, arguments: packed.as_bytes() }.keep(folder)?;
    }
    // SAFETY: the pointers are to live memory, the size of the arguments has been checked, and the kernel keeps to the
    // sizes among them.
    unsafe {
        (found.launch)(
            &found.kernel,
            launch.blocks.as_ptr(),
            launch.threads,
            launch.shared,
            packed.as_bytes().as_ptr().cast(),
        );
    }
    Ok(())
}

fn find(launch: &Launch, name: &str) -> Option<&'static Emulated> {
    let mut count = 0;
    // SAFETY: the function is made by the macro of `emulation.h`; its table is complete before main and never changes.
    let table = unsafe {
        let start = (launch.kernels.table)(&mut count);
        std::slice::from_raw_parts(start, count)
    };
    // SAFETY: the names are string literals.
    table.iter().find(|entry| unsafe { CStr::from_ptr(entry.kernel.name) }.to_bytes() == name.as_bytes())
}

fn read<'a>(
    kernel: &'static str,
    x: &'a Tensor,
) -> Result<(impl std::ops::Deref<Target = Storage> + 'a, *const c_void)> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else {
        return Err(Launch::wrong(kernel, x, "not contiguous"));
    };
    let pointer = match &*storage {
        Storage::Cpu(CpuStorage::F32(data)) => data[start..].as_ptr().cast(),
        Storage::Cpu(CpuStorage::F64(data)) => data[start..].as_ptr().cast(),
        Storage::Cpu(CpuStorage::BF16(data)) => data[start..].as_ptr().cast(),
        Storage::Cpu(CpuStorage::U32(data)) => data[start..].as_ptr().cast(),
        Storage::Cpu(CpuStorage::U8(data)) => data[start..].as_ptr().cast(),
        _ => return Err(Launch::wrong(kernel, x, "of a type or on a device that emulation does not have")),
    };
    Ok((storage, pointer))
}

pub(crate) fn write(storage: &mut CpuStorage) -> Result<*mut c_void> {
    Ok(match storage {
        CpuStorage::F32(data) => data.as_mut_ptr().cast(),
        CpuStorage::F64(data) => data.as_mut_ptr().cast(),
        CpuStorage::BF16(data) => data.as_mut_ptr().cast(),
        CpuStorage::U32(data) => data.as_mut_ptr().cast(),
        CpuStorage::U8(data) => data.as_mut_ptr().cast(),
        _ => bail!("emulated kernels do not write this type"),
    })
}
