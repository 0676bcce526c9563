//! Values of 8 and of 16 bits.

use colormamba_data::Protocol;

/// A value of an image.
pub(crate) trait Level: Copy + Ord + Send + Sync + Default + 'static {
    /// How many there are.
    const COUNT: usize;

    /// Its place in a table of all.
    fn index(self) -> usize;

    /// The nearest to `value`, which counts as 0 or 1 beyond these.
    fn nearest(value: f32) -> Self;
}

macro_rules! level {
    ($($level:ty),*) => {$(
        impl Level for $level {
            const COUNT: usize = <$level>::MAX as usize + 1;

            #[inline(always)]
            fn index(self) -> usize {
                self as usize
            }

            #[inline(always)]
            fn nearest(value: f32) -> Self {
                (value.clamp(0.0, 1.0) * <$level>::MAX as f32 + 0.5) as i32 as $level
            }
        }
    )*};
}

level!(u8, u16);

/// A level in units of 8 bits, from 0 to 255.
pub(crate) fn in_8_bits<T: Level>(index: usize) -> f64 {
    index as f64 * 255.0 / (T::COUNT - 1) as f64
}

/// What is made of the levels of a photograph, in units of 8 bits; as [`Protocol::levels`] and
/// [`colormamba_data::NirHsv`] say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    zero: f64,
    span: f64,
    max: f64,
}

impl Scale {
    pub(crate) fn of<T: Level>(protocol: Protocol, levels: &[T]) -> Self {
        let (min, max) = levels.iter().fold((T::COUNT - 1, 0), |(min, max), level| {
            let index = level.index();
            (min.min(index), max.max(index))
        });
        let (min, max) = (in_8_bits::<T>(min), in_8_bits::<T>(max));
        let (zero, span) = protocol.scale((min, max));
        Self { zero, span, max }
    }

    /// The network's input.
    pub(crate) fn nir(&self, level: f64) -> f32 {
        ((level - self.zero) / self.span) as f32
    }

    /// The value of its HSV in the form of published weights.
    pub(crate) fn published_value(&self, level: f64) -> f32 {
        (level / (self.max + 1e-3)) as f32
    }

    /// [`Self::nir`] of every level.
    pub(crate) fn table<T: Level>(&self) -> Vec<f32> {
        (0..T::COUNT).map(|index| self.nir(in_8_bits::<T>(index))).collect()
    }
}
