//! Convolutions by cuDNN. The fastest algorithm that gives the same bits each time is chosen once for each shape.

use super::correlate::Geometry;
use candle_core::cuda_backend::cudarc::cudnn::result::{self as api, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, DeviceRepr};
use candle_core::cuda_backend::{CudaDType, DeviceId};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, bail};
use colormamba_cuda::tf32;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

/// Most bytes of memory that an algorithm may work in.
const WORKSPACE: usize = 1 << 30;

/// How an algorithm multiplies now; cuDNN's default rounds f32 to TF32.
fn math_type(dtype: DType) -> sys::cudnnMathType_t {
    match dtype {
        DType::BF16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        DType::F32 if tf32() => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        _ => sys::cudnnMathType_t::CUDNN_FMA_MATH,
    }
}

/// Which of a convolution's three arrays is computed from the two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// The result, from image and weight.
    Grid,
    /// The image's gradient, or a transposed convolution, from weight and grid.
    Image,
    /// The weight's gradient, from image and grid.
    Weight,
}

/// A convolution, whatever is computed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cudnn {
    wanted: Wanted,
    /// `(batch, channels, height, width)`.
    image: [usize; 4],
    /// `(outputs, channels, height, width)`.
    weight: [usize; 4],
    /// `(batch, outputs, height, width)`.
    grid: [usize; 4],
    stride: usize,
    padding: usize,
}

impl Cudnn {
    pub fn new(
        wanted: Wanted,
        Geometry { stride, padding, .. }: Geometry,
        image: [usize; 4],
        weight: [usize; 4],
        grid: [usize; 4],
    ) -> Self {
        Self { wanted, image, weight, grid, stride, padding }
    }

    /// The wanted array, from the two others in the order of the fields; none if cuDNN has no algorithm for it.
    pub fn of(self, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        let Device::Cuda(device) = a.device() else { return Ok(None) };
        if self.result().contains(&0) || a.elem_count() == 0 || plan(device, (self, a.dtype()))?.is_none() {
            return Ok(None);
        }
        a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &self).map(Some)
    }

    fn result(self) -> [usize; 4] {
        match self.wanted {
            Wanted::Grid => self.grid,
            Wanted::Image => self.image,
            Wanted::Weight => self.weight,
        }
    }

    fn run<T: CudaDType + DeviceRepr>(
        &self,
        (a, a_start): (&CudaStorage, usize),
        (b, b_start): (&CudaStorage, usize),
    ) -> Result<CudaStorage> {
        let device = &a.device;
        let stream = device.cuda_stream();
        let dtype = candle_core::backend::BackendStorage::dtype(a);
        let Some(plan) = plan(device, (*self, dtype))? else { bail!("cuDNN has no algorithm for {self:?}") };
        // SAFETY: cuDNN writes all of the result, and what it reads of the workspace.
        let (mut out, mut workspace) = unsafe {
            let elements = self.result().iter().product();
            (device.alloc::<T>(elements)?, device.alloc::<u8>(plan.workspace.max(1))?)
        };
        {
            let (a, _a_used) = T::as_cuda_slice(a)?.device_ptr(&stream);
            let (b, _b_used) = T::as_cuda_slice(b)?.device_ptr(&stream);
            let (out, _out_used) = out.device_ptr_mut(&stream);
            let (workspace, _workspace_used) = workspace.device_ptr_mut(&stream);
            let at = |start: usize| (start * size_of::<T>()) as u64;
            // SAFETY: the pointers are to live memory of the sizes that the plan's descriptors say.
            unsafe { plan.run(dtype, a + at(a_start), b + at(b_start), out, workspace)? };
        }
        Ok(T::wrap_cuda_slice(out, device.clone()))
    }
}

impl CustomOp2 for Cudnn {
    fn name(&self) -> &'static str {
        "cudnn"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("cuDNN has no convolutions on the CPU")
    }

    fn cuda_fwd(&self, a: &CudaStorage, a_at: &Layout, b: &CudaStorage, b_at: &Layout) -> Result<(CudaStorage, Shape)> {
        let (a, b) = ((a, a_at.start_offset()), (b, b_at.start_offset()));
        let out = match candle_core::backend::BackendStorage::dtype(a.0) {
            DType::F32 => self.run::<f32>(a, b)?,
            DType::F64 => self.run::<f64>(a, b)?,
            DType::BF16 => self.run::<half::bf16>(a, b)?,
            dtype => bail!("cuDNN convolutions of {dtype:?}"),
        };
        Ok((out, Shape::from(self.result().to_vec())))
    }
}

#[derive(Clone, Copy)]
enum Algorithm {
    Grid(sys::cudnnConvolutionFwdAlgo_t),
    Image(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// A descriptor, and what gives it back.
struct Descriptor<T: Copy>(T, unsafe fn(T) -> std::result::Result<(), CudnnError>);

impl<T: Copy> Drop for Descriptor<T> {
    fn drop(&mut self) {
        // A failure leaves its memory to the process.
        // SAFETY: cuDNN made the descriptor, and nothing else gives it back.
        let _ = unsafe { self.1(self.0) };
    }
}

/// A convolution as cuDNN describes it.
struct Plan {
    handle: sys::cudnnHandle_t,
    image: Descriptor<sys::cudnnTensorDescriptor_t>,
    weight: Descriptor<sys::cudnnFilterDescriptor_t>,
    convolution: Descriptor<sys::cudnnConvolutionDescriptor_t>,
    grid: Descriptor<sys::cudnnTensorDescriptor_t>,
    algorithm: Algorithm,
    workspace: usize,
}

type Key = (Cudnn, DType);
/// By device, and whether f32 may be rounded to TF32.
type Plans = HashMap<(DeviceId, bool, Key), Option<Rc<Plan>>>;

// Handles belong to threads. They are never given back: there is one for each thread and device.
thread_local! {
    static HANDLES: RefCell<HashMap<DeviceId, sys::cudnnHandle_t>> = RefCell::default();
    static PLANS: RefCell<Plans> = RefCell::default();
}

/// None if there is no algorithm.
fn plan(device: &CudaDevice, key: Key) -> Result<Option<Rc<Plan>>> {
    let of_device = (device.id(), tf32(), key);
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(&of_device).cloned()) {
        return Ok(plan);
    }
    let plan = match Plan::new(handle(device, &device.cuda_stream())?, key) {
        Ok(plan) => plan.map(Rc::new),
        Err(error) if is_refusal(&error) => None,
        Err(error) => return Err(error),
    };
    PLANS.with_borrow_mut(|plans| plans.insert(of_device, plan.clone()));
    Ok(plan)
}

/// Whether cuDNN says that it cannot describe or search something; it then cannot compute it either.
fn is_refusal(error: &candle_core::Error) -> bool {
    let text = error.to_string();
    ["STATUS_NOT_SUPPORTED", "STATUS_BAD_PARAM"].iter().any(|status| text.contains(status))
}

fn handle(device: &CudaDevice, stream: &CudaStream) -> Result<sys::cudnnHandle_t> {
    if let Some(handle) = HANDLES.with_borrow(|handles| handles.get(&device.id()).copied()) {
        return Ok(handle);
    }
    stream.context().bind_to_thread()?;
    let handle = api::create_handle()?;
    // SAFETY: the handle has just been made, and the stream lives as long as the device.
    unsafe { api::set_stream(handle, stream.cu_stream().cast())? };
    HANDLES.with_borrow_mut(|handles| handles.insert(device.id(), handle));
    Ok(handle)
}

/// The first of an algorithm search's results that succeeds, fits the workspace and is deterministic, or return from the
/// function without one; `$get` is the function that searches, `$perf` its type of result.
macro_rules! choose {
    ($get:path, $perf:ty, $($argument:expr),+) => {{
        let mut found = [const { std::mem::MaybeUninit::<$perf>::zeroed() }; 16];
        let mut count: c_int = 0;
        // SAFETY: the descriptors are set, and there is room for as many results as are asked for, which are plain numbers.
        let found = unsafe {
            $get($($argument,)+ found.len() as c_int, &raw mut count, found.as_mut_ptr().cast())?;
            std::slice::from_raw_parts(found.as_ptr().cast::<$perf>(), count as usize)
        };
        let fits = found.iter().find(|f| {
            f.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && f.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                && f.memory <= WORKSPACE
        });
        match fits {
            Some(f) => (f.algo, f.memory, f.mathType),
            None => return Ok(None),
        }
    }};
}

impl Plan {
    fn new(handle: sys::cudnnHandle_t, (of, dtype): Key) -> Result<Option<Self>> {
        let (image, grid) = (tensor_descriptor(of.image, dtype)?, tensor_descriptor(of.grid, dtype)?);
        let weight = Descriptor(api::create_filter_descriptor()?, api::destroy_filter_descriptor);
        let convolution = Descriptor(api::create_convolution_descriptor()?, api::destroy_convolution_descriptor);
        let (stride, padding) = (of.stride as c_int, of.padding as c_int);
        let (mode, format) =
            (sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW);
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        // SAFETY: the descriptors have just been made.
        unsafe {
            api::set_filter4d_descriptor(weight.0, data_type(dtype)?, format, of.weight.map(|n| n as c_int))?;
            let compute = data_type(wide)?;
            api::set_convolution2d_descriptor(convolution.0, padding, padding, stride, stride, 1, 1, mode, compute)?;
            api::set_convolution_math_type(convolution.0, math_type(dtype))?;
        }
        let (algorithm, workspace, math) = match of.wanted {
            Wanted::Grid => {
                let (algorithm, memory, math) = choose!(
                    api::get_convolution_forward_algorithm,
                    sys::cudnnConvolutionFwdAlgoPerf_t,
                    handle,
                    image.0,
                    weight.0,
                    convolution.0,
                    grid.0
                );
                (Algorithm::Grid(algorithm), memory, math)
            }
            Wanted::Image => {
                let (algorithm, memory, math) = choose!(
                    api::get_convolution_backward_data_algorithm,
                    sys::cudnnConvolutionBwdDataAlgoPerf_t,
                    handle,
                    weight.0,
                    grid.0,
                    convolution.0,
                    image.0
                );
                (Algorithm::Image(algorithm), memory, math)
            }
            Wanted::Weight => {
                let (algorithm, memory, math) = choose!(
                    api::get_convolution_backward_filter_algorithm,
                    sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                    handle,
                    image.0,
                    grid.0,
                    convolution.0,
                    weight.0
                );
                (Algorithm::Weight(algorithm), memory, math)
            }
        };
        // An algorithm's memory goes with its way to multiply, which need not be the one that was allowed.
        // SAFETY: the descriptor is one.
        unsafe { api::set_convolution_math_type(convolution.0, math)? };
        Ok(Some(Self { handle, image, weight, convolution, grid, algorithm, workspace }))
    }

    /// # Safety
    /// The pointers must be to memory of the GPU, of the sizes that the descriptors and the workspace have.
    unsafe fn run(&self, dtype: DType, a: u64, b: u64, out: u64, workspace: u64) -> Result<()> {
        let (ones, zeros) = ((1f32, 1f64), (0f32, 0f64));
        let scale = |numbers: &(f32, f64)| -> *const c_void {
            if dtype == DType::F64 { (&raw const numbers.1).cast() } else { (&raw const numbers.0).cast() }
        };
        let (one, zero) = (scale(&ones), scale(&zeros));
        let (a, b) = (a as *const c_void, b as *const c_void);
        let (out, workspace) = (out as *mut c_void, workspace as *mut c_void);
        let (image, weight, convolution, grid) = (self.image.0, self.weight.0, self.convolution.0, self.grid.0);
        let (handle, bytes) = (self.handle, self.workspace);
        // SAFETY: by the caller's promise.
        unsafe {
            match self.algorithm {
                Algorithm::Grid(algorithm) => api::convolution_forward(
                    handle,
                    one,
                    image,
                    a,
                    weight,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    bytes,
                    zero,
                    grid,
                    out,
                )?,
                Algorithm::Image(algorithm) => api::convolution_backward_data(
                    handle,
                    one,
                    weight,
                    a,
                    grid,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    bytes,
                    zero,
                    image,
                    out,
                )?,
                Algorithm::Weight(algorithm) => api::convolution_backward_filter(
                    handle,
                    one,
                    image,
                    a,
                    grid,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    bytes,
                    zero,
                    weight,
                    out,
                )?,
            }
        }
        Ok(())
    }
}

fn data_type(dtype: DType) -> Result<sys::cudnnDataType_t> {
    Ok(match dtype {
        DType::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        DType::F64 => sys::cudnnDataType_t::CUDNN_DATA_DOUBLE,
        DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        dtype => bail!("cuDNN convolutions of {dtype:?}"),
    })
}

fn tensor_descriptor(dims: [usize; 4], dtype: DType) -> Result<Descriptor<sys::cudnnTensorDescriptor_t>> {
    let descriptor = Descriptor(api::create_tensor_descriptor()?, api::destroy_tensor_descriptor);
    let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
    // SAFETY: the descriptor has just been made.
    unsafe { api::set_tensor4d_descriptor(descriptor.0, format, data_type(dtype)?, dims.map(|n| n as c_int))? };
    Ok(descriptor)
}
