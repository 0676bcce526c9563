//! The image that a file's header announces, and how much of it has come.

use super::JpegError;
use super::scan::{Band, Scan, ScanComponent};

/// The header of the image.
pub(super) struct Frame {
    pub height: usize,
    width: usize,
    pub progressive: bool,
    pub components: Vec<Component>,
}

/// A plane of the image.
pub(super) struct Component {
    id: u8,
    /// Blocks of a unit (MCU), across and down.
    pub factors: (usize, usize),
    /// How often a scan named it, and whether ever alone.
    scans: usize,
    alone: bool,
    /// The bits that each of the 64 coefficients lacks; none has come by [`UNSEEN`].
    missing: [u8; 64],
    /// Of a progressive image, by block, which coefficients are not zero, a bit each.
    pub nonzero: Vec<u64>,
    /// Blocks in a row of `nonzero`.
    pub stride: usize,
}

const UNSEEN: u8 = u8::MAX;

impl Frame {
    /// None if the content is no header.
    pub fn parse(content: &[u8], progressive: bool) -> Result<Option<Self>, JpegError> {
        let Some((&[precision, h1, h0, w1, w0, count], mut rest)) = content.split_first_chunk::<6>() else {
            return Ok(None);
        };
        if precision != 8 {
            return Err(JpegError::Unsupported("12-bit"));
        }
        let size = |high, low| usize::from(u16::from_be_bytes([high, low]));
        let (height, width) = (size(h1, h0), size(w1, w0));
        if height == 0 {
            return Err(JpegError::Unsupported("without its height"));
        }
        let mut frame = Self { height, width, progressive, components: Vec::new() };
        for _ in 0..count {
            let Some((&[id, factors, _], after)) = rest.split_first_chunk::<3>() else { return Ok(None) };
            let factors = (usize::from(factors >> 4), usize::from(factors & 15));
            if !(1..=4).contains(&factors.0) || !(1..=4).contains(&factors.1) {
                return Ok(None);
            }
            let missing = [UNSEEN; 64];
            let component = Component { id, factors, scans: 0, alone: false, missing, nonzero: Vec::new(), stride: 0 };
            frame.components.push(component);
            rest = after;
        }
        let fits = width > 0 && (1..=4).contains(&frame.components.len());
        Ok(fits.then_some(frame))
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// Units (MCU) of a scan of several components, across and down.
    pub fn units(&self) -> (usize, usize) {
        let (across, down) = self.most();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Blocks of a scan of one component, across and down.
    pub fn blocks(&self, component: &Component) -> (usize, usize) {
        let (across, down) = self.most();
        let (h, v) = component.factors;
        ((self.width * h).div_ceil(across).div_ceil(8), (self.height * v).div_ceil(down).div_ceil(8))
    }

    fn most(&self) -> (usize, usize) {
        let most = |factor: fn(&Component) -> usize| self.components.iter().map(factor).max().unwrap_or(1);
        (most(|c| c.factors.0), most(|c| c.factors.1))
    }

    /// The scan of a header; none if it fits not this image, or not what has come of it.
    pub fn scan(&mut self, header: &[u8]) -> Option<Scan> {
        let (&count, mut rest) = header.split_first()?;
        let mut components = Vec::new();
        for _ in 0..count {
            let (&[id, tables], after) = rest.split_first_chunk::<2>()?;
            let index = self.components.iter().position(|component| component.id == id)?;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            components.push(ScanComponent { index, dc, ac });
            rest = after;
        }
        let &[first, last, approximation] = rest else { return None };
        let band = match self.progressive {
            true => Band { first, last, high: approximation >> 4, low: approximation & 15 },
            false => Band { first: 0, last: 63, high: 0, low: 0 },
        };
        let fits = match (band.first, band.last) {
            (0, 0) => self.progressive,
            (0, 63) => !self.progressive,
            (first, last) => self.progressive && first <= last && last < 64 && components.len() == 1 && first > 0,
        };
        if !fits || components.is_empty() {
            return None;
        }
        let units = self.units();
        let alone = components.len() == 1;
        for component in &components {
            let component = &mut self.components[component.index];
            component.scans += 1;
            component.alone |= alone;
            component.come(band)?;
            if self.progressive && component.nonzero.is_empty() {
                component.stride = units.0 * component.factors.0;
                component.nonzero = vec![0; component.stride * units.1 * component.factors.1];
            }
        }
        Some(Scan { components, band })
    }

    /// Whether everything has come.
    pub fn finished(&self) -> Result<(), JpegError> {
        let missing = || self.components.iter().flat_map(|component| component.missing);
        if missing().any(|bits| bits == UNSEEN) {
            return Err(JpegError::Incomplete("a part of its image never comes"));
        }
        match missing().all(|bits| bits == 0) {
            true => Ok(()),
            false => Err(JpegError::Incomplete("it holds its image in coarse form only")),
        }
    }

    /// Whether each of several components has come by itself, at once in full precision.
    pub fn separate(&self) -> bool {
        !self.progressive && self.components.len() > 1 && self.components.iter().any(|component| component.alone)
    }
}

impl Component {
    /// Counts what a scan brings; none if it cannot follow what came before.
    fn come(&mut self, band: Band) -> Option<()> {
        for missing in &mut self.missing[usize::from(band.first)..=usize::from(band.last)] {
            let follows = match band.high {
                0 => *missing == UNSEEN,
                high => *missing == high && band.low + 1 == high,
            };
            if !follows {
                return None;
            }
            *missing = band.low;
        }
        Some(())
    }
}
