//! Sixteen channels side by side, as each processor handles them best.

// Index loops over several arrays of equal length read better here than zipped iterators, and vectorise as well.
#![allow(clippy::needless_range_loop)]

use colormamba_cpu::Real;
use pulp::{Arch, Simd, WithSimd};

/// Channels that a kernel handles together: one AVX-512 register of `f32`.
pub(crate) const LANES: usize = 16;

/// One value for each of [`LANES`] channels, in memory.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Lanes<T>(pub [T; LANES]);

impl<T: Real> Lanes<T> {
    pub(crate) const ZERO: Self = Self([T::ZERO; LANES]);

    /// The first `used` elements of `source`; the remaining lanes are zero.
    #[inline(always)]
    pub(crate) fn load(source: &[T], used: usize) -> Self {
        if used == LANES
            && let Some(full) = source.first_chunk()
        {
            return Self(*full);
        }
        let mut lanes = Self::ZERO;
        lanes.0[..used].copy_from_slice(&source[..used]);
        lanes
    }

    /// Writes the first lanes, as many as `to` has room for.
    #[inline(always)]
    pub(crate) fn store(&self, to: &mut [T]) {
        match to.first_chunk_mut() {
            Some(full) => *full = self.0,
            None => to.copy_from_slice(&self.0[..to.len()]),
        }
    }

    /// Adds the first lanes to as many numbers as there are in `to`.
    #[inline(always)]
    pub(crate) fn add_to<M: Machine<T>>(&self, m: M, to: &mut [T]) {
        let mut sum = Self::load(to, to.len().min(LANES));
        m.store(m.plus(m.load(&sum), m.load(self)), &mut sum);
        sum.store(to);
    }
}

/// Arithmetic on [`LANES`] numbers in registers. Inlined into the kernel that [`Scalar::dispatch`] runs.
pub(crate) trait Machine<T>: Copy {
    /// The numbers.
    type Vector: Copy;
    fn load(self, from: &Lanes<T>) -> Self::Vector;
    fn store(self, v: Self::Vector, to: &mut Lanes<T>);
    /// The same number [`LANES`] times.
    fn splat(self, x: T) -> Self::Vector;
    /// a + b
    fn plus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b
    fn times(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b + c
    fn fused(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// 2^x for the decay of a state: relative error below 2e-7 in `f32` for x from -100 to 127.
    fn exp2(self, x: Self::Vector) -> Self::Vector;
    /// The sum over the lanes of each of eight vectors.
    fn sums(self, v: [Self::Vector; 8]) -> [T; 8];
    /// Fetches the memory at `at` into the caches, if it is known how.
    fn prefetch(self, _at: &[T]) {}
    /// Lane i of vector j as lane j of vector i.
    fn transposed(self, v: [Self::Vector; LANES]) -> [Self::Vector; LANES];
}

/// Work for a [`Machine`]. A structure and not a closure: nothing forces the compiler to inline a closure into the
/// function that has the vector instructions, and one as large as a scan it does not, which makes it fifty times slower.
pub(crate) trait Kernel<T> {
    fn run<M: Machine<T>>(self, machine: M);
}

/// A scalar that scans are written for.
pub(crate) trait Scalar: Real {
    /// 2^self, as [`Machine::exp2`].
    fn exp2(self) -> Self;
    /// ln(1 + self) for 0 ≤ self ≤ 1; relative error below 2e-7 in `f32`.
    fn ln_1p(self) -> Self;
    /// Runs a kernel with the best instructions of this processor.
    fn dispatch(kernel: impl Kernel<Self>) {
        Arch::new().dispatch(Anywhere(kernel, std::marker::PhantomData));
    }
}

/// A polynomial in x, the coefficient of the highest power first.
#[inline(always)]
fn polynomial(x: f32, coefficients: &[f32]) -> f32 {
    coefficients.iter().fold(0.0, |p: f32, &c| p.mul_add(x, c))
}

/// 2^x for |x| ≤ 1/2: of all polynomials of degree 5 with the right value and slope at 0, where states that decay slowly are,
/// the one with the least relative error.
const EXP2: [f32; 6] = [1.330_060_5e-3, 9.669_691e-3, 5.550_558_5e-2, 0.240_222_83, std::f32::consts::LN_2, 1.0];

impl Scalar for f32 {
    #[inline(always)]
    fn exp2(self) -> f32 {
        // Adding and subtracting 1.5 · 2^23 rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        // 2^-100 is nothing beside a state that does not decay, and keeps products with it away from the denormal
        // numbers, which are slow. Written so that NaN stays NaN.
        let x = if self < -100.0 { -100.0 } else { self };
        let x = if x > 127.0 { 127.0 } else { x };
        let shifted = x + ROUND;
        let p = polynomial(x - (shifted - ROUND), &EXP2);
        // The low bits of `shifted` are the integer, which goes to the exponent.
        f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
    }

    #[inline(always)]
    fn ln_1p(self) -> f32 {
        // Of degree 8, with the least relative error for ln(1 + x) / x.
        const LN_1P: [f32; 9] = [
            0.005_232_694_6,
            -0.029_505_244,
            0.078_225_96,
            -0.136_632_47,
            0.191_060_08,
            -0.248_429_82,
            0.333_190_98,
            -0.499_994_93,
            0.999_999_94,
        ];
        polynomial(self, &LN_1P) * self
    }

    #[cfg(target_arch = "x86_64")]
    fn dispatch(kernel: impl Kernel<f32>) {
        match pulp::x86::V4::try_new() {
            Some(simd) => simd.vectorize(x86::Run(kernel, simd)),
            None => Arch::new().dispatch(Anywhere(kernel, std::marker::PhantomData)),
        }
    }
}

impl Scalar for f64 {
    #[inline(always)]
    fn exp2(self) -> f64 {
        f64::exp2(self)
    }

    #[inline(always)]
    fn ln_1p(self) -> f64 {
        f64::ln_1p(self)
    }
}

/// softplus(x) = max(x, 0) + ln(1 + e^-|x|) and its slope, the logistic function, lane by lane; in `f32` the relative
/// errors stay below 5e-7.
#[inline(always)]
pub(crate) fn softplus<T: Scalar>(x: &Lanes<T>) -> (Lanes<T>, Lanes<T>) {
    let (mut value, mut slope) = (Lanes::ZERO, Lanes::ZERO);
    for i in 0..LANES {
        let x = x.0[i];
        let e = (-Real::max(x, -x)).exp();
        value.0[i] = Real::max(x, T::ZERO) + e.ln_1p();
        slope.0[i] = (if x < T::ZERO { e } else { T::ONE }) / (T::ONE + e);
    }
    (value, slope)
}

/// Plain loops, which the compiler turns into the vector instructions that there are.
#[derive(Clone, Copy)]
struct Plain;

impl<T: Scalar> Machine<T> for Plain {
    type Vector = Lanes<T>;

    #[inline(always)]
    fn load(self, from: &Lanes<T>) -> Lanes<T> {
        *from
    }

    #[inline(always)]
    fn store(self, v: Lanes<T>, to: &mut Lanes<T>) {
        *to = v;
    }

    #[inline(always)]
    fn splat(self, x: T) -> Lanes<T> {
        Lanes([x; LANES])
    }

    #[inline(always)]
    fn plus(self, mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
        for i in 0..LANES {
            a.0[i] += b.0[i];
        }
        a
    }

    #[inline(always)]
    fn times(self, mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
        for i in 0..LANES {
            a.0[i] *= b.0[i];
        }
        a
    }

    #[inline(always)]
    fn fused(self, a: Lanes<T>, b: Lanes<T>, mut c: Lanes<T>) -> Lanes<T> {
        for i in 0..LANES {
            c.0[i] = a.0[i].mul_add(b.0[i], c.0[i]);
        }
        c
    }

    #[inline(always)]
    fn exp2(self, mut x: Lanes<T>) -> Lanes<T> {
        for i in 0..LANES {
            x.0[i] = Scalar::exp2(x.0[i]);
        }
        x
    }

    #[inline(always)]
    fn sums(self, v: [Lanes<T>; 8]) -> [T; 8] {
        // By halves, in loops that the compiler does not unroll together: sums within a vector it would not vectorise.
        let mut eights = [[T::ZERO; 8]; 8];
        for (eight, v) in eights.iter_mut().zip(&v) {
            for i in 0..8 {
                eight[i] = v.0[i] + v.0[i + 8];
            }
        }
        eights.map(|v| {
            let four = [v[0] + v[4], v[1] + v[5], v[2] + v[6], v[3] + v[7]];
            (four[0] + four[2]) + (four[1] + four[3])
        })
    }

    #[inline(always)]
    fn transposed(self, v: [Lanes<T>; LANES]) -> [Lanes<T>; LANES] {
        let mut out = v;
        for (i, out) in out.iter_mut().enumerate() {
            for j in 0..LANES {
                out.0[j] = v[j].0[i];
            }
        }
        out
    }
}

/// A kernel on [`Plain`].
struct Anywhere<K, T>(K, std::marker::PhantomData<T>);

impl<T: Scalar, K: Kernel<T>> WithSimd for Anywhere<K, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.0.run(Plain);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{EXP2, Kernel, LANES, Lanes, Machine};
    use pulp::x86::V4;
    use std::arch::x86_64::{__m512, _MM_HINT_T0, _mm_prefetch};

    /// A kernel on AVX-512.
    pub(super) struct Run<K>(pub K, pub V4);

    impl<K: Kernel<f32>> pulp::NullaryFnOnce for Run<K> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            self.0.run(self.1);
        }
    }

    impl Machine<f32> for V4 {
        type Vector = __m512;

        #[inline(always)]
        fn load(self, from: &Lanes<f32>) -> __m512 {
            pulp::cast(from.0)
        }

        #[inline(always)]
        fn store(self, v: __m512, to: &mut Lanes<f32>) {
            to.0 = pulp::cast(v);
        }

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            self.avx512f._mm512_set1_ps(x)
        }

        #[inline(always)]
        fn plus(self, a: __m512, b: __m512) -> __m512 {
            self.avx512f._mm512_add_ps(a, b)
        }

        #[inline(always)]
        fn times(self, a: __m512, b: __m512) -> __m512 {
            self.avx512f._mm512_mul_ps(a, b)
        }

        #[inline(always)]
        fn fused(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            self.avx512f._mm512_fmadd_ps(a, b, c)
        }

        #[inline(always)]
        fn exp2(self, x: __m512) -> __m512 {
            let x = self.avx512f._mm512_max_ps(self.splat(-100.0), x);
            let rest = self.avx512dq._mm512_reduce_ps::<0>(x);
            let p = EXP2[1..].iter().fold(self.splat(EXP2[0]), |p, &c| self.fused(p, rest, self.splat(c)));
            self.avx512f._mm512_scalef_ps(p, self.avx512f._mm512_sub_ps(x, rest))
        }

        #[inline(always)]
        fn sums(self, v: [__m512; 8]) -> [f32; 8] {
            let avx = self.avx512f;
            // Halves of two vectors side by side, four times.
            let pair = |a, b| {
                let (low, high) = (avx._mm512_shuffle_f32x4::<0x44>(a, b), avx._mm512_shuffle_f32x4::<0xee>(a, b));
                avx._mm512_add_ps(low, high)
            };
            // [0 0 1 1], [2 2 3 3], .. in quarters.
            let (a, b, c, d) = (pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
            let four = |a, b| {
                let (even, odd) = (avx._mm512_shuffle_f32x4::<0x88>(a, b), avx._mm512_shuffle_f32x4::<0xdd>(a, b));
                avx._mm512_add_ps(even, odd)
            };
            // Quarter i of the first is of vector i, of the second of vector i + 4; four numbers each to add.
            let (a, b) = (four(a, b), four(c, d));
            let (even, odd) = (avx._mm512_shuffle_ps::<0x88>(a, b), avx._mm512_shuffle_ps::<0xdd>(a, b));
            // In quarter i: two numbers of vector i, two of vector i + 4.
            let both = avx._mm512_add_ps(even, odd);
            let all = avx._mm512_add_ps(both, avx._mm512_permute_ps::<0xb1>(both));
            // Vector i in lane 4 i, vector i + 4 in lane 4 i + 2.
            let order = avx._mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
            let ordered: [[f32; 8]; 2] = pulp::cast(avx._mm512_permutexvar_ps(order, all));
            ordered[0]
        }

        #[inline(always)]
        fn prefetch(self, at: &[f32]) {
            // SAFETY: it reads nothing and may be given any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast()) };
        }

        #[inline(always)]
        fn transposed(self, v: [__m512; LANES]) -> [__m512; LANES] {
            let avx = self.avx512f;
            // Within quarters, four vectors at a time: quarter q of by_four[4 i + j] has lane 4 q + j of vectors 4 i on.
            let (mut by_two, mut by_four) = (v, v);
            for i in (0..LANES).step_by(2) {
                by_two[i] = avx._mm512_unpacklo_ps(v[i], v[i + 1]);
                by_two[i + 1] = avx._mm512_unpackhi_ps(v[i], v[i + 1]);
            }
            for i in (0..LANES).step_by(4) {
                for j in 0..2 {
                    by_four[i + 2 * j] = avx._mm512_shuffle_ps::<0x44>(by_two[i + j], by_two[i + j + 2]);
                    by_four[i + 2 * j + 1] = avx._mm512_shuffle_ps::<0xee>(by_two[i + j], by_two[i + j + 2]);
                }
            }
            // Then whole quarters: even ones and odd ones of two vectors, twice.
            let (mut by_eight, mut out) = (v, v);
            for j in 0..4 {
                for i in [0, 8] {
                    let (a, b) = (by_four[i + j], by_four[i + j + 4]);
                    by_eight[i + j] = avx._mm512_shuffle_f32x4::<0x88>(a, b);
                    by_eight[i + j + 4] = avx._mm512_shuffle_f32x4::<0xdd>(a, b);
                }
                for i in [0, 4] {
                    let (a, b) = (by_eight[i + j], by_eight[i + j + 8]);
                    out[i + j] = avx._mm512_shuffle_f32x4::<0x88>(a, b);
                    out[i + j + 8] = avx._mm512_shuffle_f32x4::<0xdd>(a, b);
                }
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error of [`Machine::exp2`] over many arguments, what it gives at extreme ones, and what sums and
    /// a transposition give for numbers in order.
    #[derive(Default)]
    struct Seen<T> {
        worst: f64,
        ends: Vec<T>,
        sums: [T; 8],
        transposed: Vec<T>,
    }

    impl<T: Scalar> Kernel<T> for &mut Seen<T> {
        #[inline(always)]
        fn run<M: Machine<T>>(self, m: M) {
            let mut lanes = Lanes::ZERO;
            for i in -100_000..127_000 {
                let x = T::of(f64::from(i) * 1e-3);
                m.store(m.exp2(m.splat(x)), &mut lanes);
                self.worst = self.worst.max((lanes.0[5].wide() / x.wide().exp2() - 1.0).abs());
            }
            for x in [f64::NAN, -1e9, f64::NEG_INFINITY, 0.0] {
                m.store(m.exp2(m.splat(T::of(x))), &mut lanes);
                self.ends.push(lanes.0[0]);
            }
            let mut numbers = [m.splat(T::ZERO); LANES];
            for (j, v) in numbers.iter_mut().enumerate() {
                for (i, lane) in lanes.0.iter_mut().enumerate() {
                    *lane = T::of((LANES * j + i) as f64);
                }
                *v = m.load(&lanes);
            }
            let [v0, v1, v2, v3, v4, v5, v6, v7, ..] = numbers;
            self.sums = m.sums([v0, v1, v2, v3, v4, v5, v6, v7]);
            for v in m.transposed(numbers) {
                m.store(v, &mut lanes);
                self.transposed.extend(lanes.0);
            }
        }
    }

    fn check<T: Scalar>(seen: &Seen<T>, tolerance: f64) {
        println!("2^x: {:.1e}", seen.worst);
        assert!(seen.worst < tolerance, "{}", seen.worst);
        let ends: Vec<f64> = seen.ends.iter().map(|x| x.wide()).collect();
        assert!(ends[0].is_nan() && ends[1] < 1e-30 && ends[2] < 1e-30 && ends[3] == 1.0, "{ends:?}");
        assert_eq!(seen.sums.map(T::wide), std::array::from_fn(|j| (LANES * LANES * j + 120) as f64));
        let want: Vec<f64> = (0..LANES * LANES).map(|i| (i % LANES * LANES + i / LANES) as f64).collect();
        assert_eq!(seen.transposed.iter().map(|x| x.wide()).collect::<Vec<_>>(), want);
    }

    #[test]
    fn every_machine_computes_the_same() {
        let mut single = [Seen::default(), Seen::default()];
        single[0].run(Plain);
        f32::dispatch(&mut single[1]);
        single.iter().for_each(|seen| check::<f32>(seen, 2e-7));
        let mut double = Seen::default();
        f64::dispatch(&mut double);
        check::<f64>(&double, 1e-15);
    }

    #[test]
    fn softplus_is_accurate() {
        let mut worst = [0.0f64; 4];
        for i in -80_000..80_000 {
            let x = f64::from(i) * 1e-3;
            let single = softplus(&Lanes([x as f32; LANES]));
            let double = softplus(&Lanes([x; LANES]));
            let want = |x: f64| (x.max(0.0) + (-x.abs()).exp().ln_1p(), 1.0 / (1.0 + (-x).exp()));
            let (value, slope) = want(f64::from(x as f32));
            worst[0] = worst[0].max((f64::from(single.0.0[3]) / value - 1.0).abs());
            worst[1] = worst[1].max((f64::from(single.1.0[3]) / slope - 1.0).abs());
            let (value, slope) = want(x);
            worst[2] = worst[2].max((double.0.0[3] / value - 1.0).abs());
            worst[3] = worst[3].max((double.1.0[3] / slope - 1.0).abs());
        }
        println!("{worst:?}");
        assert!(worst[0] < 5e-7 && worst[1] < 5e-7 && worst[2] < 1e-15 && worst[3] < 1e-15, "{worst:?}");
    }

    #[test]
    fn short_slices_take_the_first_lanes() {
        let lanes = Lanes::load(&[1.0f32, 2.0, 3.0], 2);
        assert_eq!(lanes.0[..3], [1.0, 2.0, 0.0]);
        let mut to = [5.0; 3];
        lanes.add_to(Plain, &mut to);
        assert_eq!(to, [6.0, 7.0, 5.0]);
    }
}
