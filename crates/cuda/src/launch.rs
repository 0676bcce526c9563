//! A launch: its arguments as the kernel's struct has them, and where it runs.

use crate::{CudaError, Kernels};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, Error, InplaceOp1, Layout, Result, Shape, Storage, Tensor};
use std::cell::Cell;

/// Whether operations on this tensor run as kernels.
pub fn applies(x: &Tensor) -> bool {
    runs_on(x.device()) && matches!(x.dtype(), DType::F32 | DType::F64 | DType::BF16)
}

fn runs_on(device: &Device) -> bool {
    match device {
        Device::Cuda(_) => cfg!(feature = "cuda"),
        Device::Cpu => cfg!(feature = "emulation"),
        Device::Metal(_) => false,
    }
}

/// Threads for a block that goes over a row of `n` elements: whole warps, with some elements for each thread.
pub fn threads_for(n: usize) -> u32 {
    // Emulated threads are dear; two warps show what several do.
    let most = if cfg!(feature = "emulation") { 64 } else { 1024 };
    (n / 4).next_power_of_two().clamp(32, most) as u32
}

/// Memory for a kernel to write: every element of it, as it is not cleared.
pub struct DeviceMemory {
    pub(crate) storage: Storage,
    elements: usize,
}

impl DeviceMemory {
    /// `elements` of type `dtype` where `like` is.
    ///
    /// # Errors
    /// If there is no memory for it, or no kernel for the type.
    pub fn new(like: &Tensor, dtype: DType, elements: usize) -> Result<Self> {
        let storage = match like.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => crate::gpu::allocate(device, dtype, elements)?,
            #[cfg(feature = "emulation")]
            Device::Cpu => crate::emulated::allocate(dtype, elements)?,
            _ => return Err(CudaError::NoKernels { kernel: "buffer" }.into()),
        };
        Ok(Self { storage, elements })
    }

    /// As many elements as `like` has, of its type.
    ///
    /// # Errors
    /// As [`DeviceMemory::new`].
    pub fn like(like: &Tensor) -> Result<Self> {
        Self::new(like, like.dtype(), like.elem_count())
    }

    /// `elements` of the type that statistics of `like` have: f32 for bf16, else its own.
    ///
    /// # Errors
    /// As [`DeviceMemory::new`].
    pub fn statistics(like: &Tensor, elements: usize) -> Result<Self> {
        Self::new(like, wide(like.dtype()), elements)
    }

    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The tensor of these elements.
    ///
    /// # Errors
    /// If the shape has another number of elements.
    pub fn tensor(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.elem_count() != self.elements {
            candle_core::bail!("{} elements do not make a tensor of shape {shape:?}", self.elements);
        }
        Ok(Tensor::from_storage(self.storage, shape, BackpropOp::none(), false))
    }
}

/// What values of a type are computed as, and what statistics and gradients of weights are.
pub fn wide(dtype: DType) -> DType {
    if dtype == DType::BF16 { DType::F32 } else { dtype }
}

/// One field of a kernel's arguments.
pub(crate) enum Field<'a> {
    Input(&'a Tensor),
    Output(&'a mut DeviceMemory),
    InPlace(u64),
    Null,
    Size(u32),
    Scalar(f64),
}

/// A kernel about to be launched. The arguments are those of its struct, in their order.
pub struct Launch<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) kernel: &'static str,
    pub(crate) suffix: &'static str,
    pub(crate) device: Device,
    pub(crate) blocks: [u32; 3],
    pub(crate) threads: u32,
    pub(crate) shared: u32,
    pub(crate) fields: Vec<Field<'a>>,
    error: Option<Error>,
}

impl<'a> Launch<'a> {
    /// The kernel `kernel` of `kernels` for the type of `x`, where `x` is.
    pub fn new(kernels: &'static Kernels, kernel: &'static str, x: &Tensor) -> Self {
        Self::of_type(kernels, kernel, x, x.dtype())
    }

    /// The kernel for `dtype`, where `x` is.
    pub fn of_type(kernels: &'static Kernels, kernel: &'static str, x: &Tensor, dtype: DType) -> Self {
        let (suffix, error) = match dtype {
            DType::F32 => ("f32", None),
            DType::F64 => ("f64", None),
            DType::BF16 => ("bf16", None),
            dtype => ("", Some(CudaError::DType { kernel, dtype }.into())),
        };
        let (device, fields) = (x.device().clone(), Vec::new());
        Self { kernels, kernel, suffix, device, blocks: [1; 3], threads: 1, shared: 0, fields, error }
    }

    fn checked(&mut self, size: usize) -> u32 {
        u32::try_from(size).unwrap_or_else(|_| {
            self.error.get_or_insert(CudaError::Size { kernel: self.kernel, size }.into());
            0
        })
    }

    /// As many blocks of `threads` as `elements` need with one for each thread.
    pub fn over(self, elements: usize, threads: u32) -> Self {
        self.blocks([elements.div_ceil(threads as usize), 1, 1], threads)
    }

    /// So many blocks along x, y and z, of `threads` along x. None of them may be 0; nothing is launched if one is.
    pub fn blocks(mut self, blocks: [usize; 3], threads: u32) -> Self {
        self.blocks = blocks.map(|n| self.checked(n));
        self.threads = threads;
        self
    }

    /// Bytes of dynamic shared memory a block.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = self.checked(bytes);
        self
    }

    /// A pointer to the elements of a contiguous tensor.
    pub fn input(mut self, x: &'a Tensor) -> Self {
        self.fields.push(Field::Input(x));
        self
    }

    /// [`Launch::input`], or a null pointer.
    pub fn maybe(mut self, x: Option<&'a Tensor>) -> Self {
        self.fields.push(x.map_or(Field::Null, Field::Input));
        self
    }

    /// A pointer to memory to write.
    pub fn output(mut self, buffer: &'a mut DeviceMemory) -> Self {
        self.fields.push(Field::Output(buffer));
        self
    }

    /// [`Launch::output`], or a null pointer.
    pub fn maybe_output(mut self, buffer: Option<&'a mut DeviceMemory>) -> Self {
        self.fields.push(buffer.map_or(Field::Null, Field::Output));
        self
    }

    /// A pointer to the elements of a contiguous tensor that the kernel overwrites, or a null pointer. No other argument of the
    /// launch may share its memory, and nothing else may use it until the launch has run.
    pub fn maybe_in_place(mut self, x: Option<&'a Tensor>) -> Self {
        match x.map(|x| self.place(x)).transpose() {
            Ok(address) => self.fields.push(address.map_or(Field::Null, Field::InPlace)),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    fn place(&self, x: &Tensor) -> Result<u64> {
        if !x.is_contiguous() {
            return Err(Self::wrong(self.kernel, x, "not contiguous"));
        }
        if !x.device().same_device(&self.device) {
            return Err(Self::wrong(self.kernel, x, "not where the kernel runs"));
        }
        let place = Place::default();
        x.inplace_op1(&place)?;
        Ok(place.0.get() + (x.layout().start_offset() * x.dtype().size_in_bytes()) as u64)
    }

    /// An unsigned.
    pub fn size(mut self, size: usize) -> Self {
        let size = self.checked(size);
        self.fields.push(Field::Size(size));
        self
    }

    /// Several unsigneds.
    pub fn sizes<const N: usize>(self, sizes: [usize; N]) -> Self {
        sizes.into_iter().fold(self, Self::size)
    }

    /// A double.
    pub fn number(mut self, number: f64) -> Self {
        self.fields.push(Field::Scalar(number));
        self
    }

    /// Launches it.
    ///
    /// # Errors
    /// A size beyond 32 bits, a type without kernel, a tensor that is not contiguous or elsewhere, CUDA's errors.
    pub fn run(mut self) -> Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.blocks.contains(&0) {
            return Ok(());
        }
        match self.device.clone() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => crate::gpu::run(self, &device),
            #[cfg(feature = "emulation")]
            Device::Cpu => crate::emulated::run(self),
            _ => Err(CudaError::NoKernels { kernel: self.kernel }.into()),
        }
    }

    /// The error for a tensor argument.
    pub(crate) fn wrong(kernel: &'static str, x: &Tensor, problem: &'static str) -> candle_core::Error {
        CudaError::Argument { kernel, shape: x.dims().to_vec(), problem }.into()
    }
}

/// Finds out where a tensor's memory begins, to be written: only an operation in place is given it so.
#[derive(Default)]
struct Place(Cell<u64>);

impl InplaceOp1 for Place {
    fn name(&self) -> &'static str {
        "in_place"
    }

    #[cfg(feature = "emulation")]
    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        crate::emulated::write(storage).map(|pointer| self.0.set(pointer as u64))
    }

    #[cfg(not(feature = "emulation"))]
    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        Err(CudaError::NoKernels { kernel: self.name() }.into())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        let stream = storage.device.cuda_stream();
        crate::gpu::write(storage, &stream, &mut Vec::new()).map(|pointer| self.0.set(pointer))
    }
}

/// The arguments as C lays out a struct of them.
#[repr(C, align(16))]
pub(crate) struct Packed {
    bytes: [u8; Self::ROOM],
    len: usize,
}

impl Packed {
    /// As many bytes of arguments as CUDA allows on every GPU.
    const ROOM: usize = 4096;

    pub(crate) fn new() -> Self {
        Self { bytes: [0; Self::ROOM], len: 0 }
    }

    pub(crate) fn push<const N: usize>(&mut self, field: [u8; N]) {
        let start = self.len.next_multiple_of(N);
        self.bytes[start..start + N].copy_from_slice(&field);
        self.len = start + N;
    }

    /// The size of the struct: all of its fields are of at most 8 bytes, and one is a pointer.
    #[cfg(feature = "emulation")]
    pub(crate) fn size(&self) -> usize {
        self.len.next_multiple_of(8)
    }

    #[cfg(feature = "emulation")]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.size()]
    }
}
