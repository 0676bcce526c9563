//! Frames from standard input to standard output, in the format of mjpegtools (yuv4mpeg(5)), which ffmpeg reads and
//! writes.
//!
//! No crate is used for reading: `y4m` tells a stream that was cut within a frame from one that has ended by nothing.

use super::Colorize;
use crate::system::terminal::Verbosity;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, bail, ensure};
use colormamba_colorize::{Colorizer, Depth, Options, Picture};
use image::{GrayImage, RgbImage};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

/// The name of standard input among photographs.
const STDIN: &str = "-";

/// The largest width and height of films of standard definition, in pixels.
const STANDARD: (u32, u32) = (1279, 576);

/// No line of a stream is longer, in bytes.
const LONGEST_LINE: u64 = 4096;

/// Whether frames of standard input are to be colorized.
///
/// # Errors
/// [`UsageError`] if photographs are named too, or options for them are given.
pub(super) fn asked_for(args: &Colorize) -> Result<bool> {
    if !args.images.iter().any(|image| image == Path::new(STDIN)) {
        return Ok(false);
    }
    ensure!(args.images.len() == 1, UsageError("- stands for frames of standard input: it comes alone".into()));
    let of_photographs = [
        ("--out", args.out.is_some()),
        ("--force", args.force),
        ("--skip-existing", args.skip_existing),
        ("--format", args.format.is_some()),
        ("--bits-out 16", args.options.depth == Some(Depth::Sixteen)),
        ("--side-by-side", args.side_by_side),
        ("--bits", args.reading.bits.is_some()),
        ("--channel", args.reading.channel.is_some()),
        ("--page", args.reading.page.is_some()),
        ("--json", args.verbosity == Verbosity::Json),
    ];
    match of_photographs.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(UsageError(format!("{option} is for photographs, not for frames")).into()),
        None => Ok(true),
    }
}

/// Colorizes every frame of standard input, whose luma is the near infrared, onto standard output.
///
/// # Errors
/// A stream of another form, one that was cut, and one that cannot be written; names the frame.
pub(super) fn colorize(colorizer: &Colorizer, options: &Options, most_pixels: u64) -> Result<()> {
    let options = Options { depth: Some(Depth::Eight), ..*options };
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut output = BufWriter::new(std::io::stdout().lock());
    let header = Header::read(&mut input, most_pixels).context("standard input")?;
    let written = || "cannot write to standard output";
    output.write_all(header.of_colours().as_bytes()).with_context(written)?;
    for number in 1.. {
        let Some(nir) = header.frame(&mut input).with_context(|| format!("frame {number}"))? else { break };
        let picture = colorizer.colorize(&nir.into(), &options).with_context(|| format!("frame {number}"))?;
        let Picture::Bits8(picture) = picture else { bail!("frame {number}: the picture has not 8 bits") };
        output.write_all(&header.encoded(&picture)).with_context(written)?;
    }
    output.flush().with_context(written)
}

/// What the first line of a stream says.
struct Header {
    parameters: Vec<String>,
    width: u32,
    height: u32,
    /// Bytes of both chroma planes of a frame.
    chroma: u64,
    /// Whether black is 0 and white 255, not 16 and 235.
    full: bool,
}

impl Header {
    fn read(input: &mut impl BufRead, most_pixels: u64) -> Result<Self> {
        let line = line(input)?.context("no frames: it is empty")?;
        let mut parameters = line.split(' ').filter(|parameter| !parameter.is_empty()).map(str::to_string);
        ensure!(
            parameters.next().as_deref() == Some("YUV4MPEG2"),
            "no YUV4MPEG2 stream: ffmpeg writes one by -f yuv4mpegpipe"
        );
        let parameters: Vec<String> = parameters.collect();
        let value = |key: char| parameters.iter().find_map(|parameter| parameter.strip_prefix(key));
        let side = |key: char| value(key).and_then(|side| side.parse().ok()).filter(|side| *side > 0);
        let (Some(width), Some(height)) = (side('W'), side('H')) else { bail!("the header has no width and height") };
        let (w, h) = (u64::from(width), u64::from(height));
        ensure!(w * h <= most_pixels, "frames of {width}x{height}: more than {most_pixels} pixels need --max-pixels");
        let chroma = match value('C').unwrap_or("420") {
            "mono" => 0,
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => 2 * w.div_ceil(2) * h.div_ceil(2),
            "422" => 2 * w.div_ceil(2) * h,
            "444" => 2 * w * h,
            other => bail!("frames of form C{other}: 8 bits in C420, C422, C444 or Cmono are read"),
        };
        let full = parameters.iter().any(|parameter| parameter == "XCOLORRANGE=FULL");
        Ok(Self { parameters, width, height, chroma, full })
    }

    /// The first line of the result, of frames with as many values of chroma as of luma.
    fn of_colours(&self) -> String {
        let kept = self.parameters.iter().filter(|text| !text.starts_with('C') && !text.starts_with("XYSCSS="));
        kept.fold("YUV4MPEG2".to_string(), |line, parameter| format!("{line} {parameter}")) + " C444\n"
    }

    /// The luma of the next frame from 0 to 255; none at the end.
    fn frame(&self, input: &mut impl BufRead) -> Result<Option<GrayImage>> {
        let Some(line) = line(input)? else { return Ok(None) };
        ensure!(
            line == "FRAME" || line.starts_with("FRAME "),
            "the stream is damaged: no frame begins where one should"
        );
        let cut = |error: std::io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => anyhow::anyhow!("the stream was cut"),
            _ => error.into(),
        };
        let mut luma = GrayImage::new(self.width, self.height);
        input.read_exact(&mut luma).map_err(cut)?;
        let passed = std::io::copy(&mut input.take(self.chroma), &mut std::io::sink())?;
        ensure!(passed == self.chroma, "the stream was cut");
        let (black, range) = self.luma();
        let levels: [u8; 256] = std::array::from_fn(|level| ((level as f32 - black) * 255.0 / range).round() as u8);
        luma.iter_mut().for_each(|level| *level = levels[usize::from(*level)]);
        Ok(Some(luma))
    }

    /// Black, and how much more white is.
    fn luma(&self) -> (f32, f32) {
        if self.full { (0.0, 255.0) } else { (16.0, 219.0) }
    }

    /// Shares of red and blue in luma. The format does not say which matrix its frames have; programs that read them
    /// take that of ITU-R BT.709 for films of high definition, and of BT.601 for others.
    fn shares(&self) -> (f32, f32) {
        let high = self.width > STANDARD.0 || self.height > STANDARD.1;
        if high { (0.2126, 0.0722) } else { (0.299, 0.114) }
    }

    /// A frame of a picture: luma and chroma, plane by plane.
    fn encoded(&self, picture: &RgbImage) -> Vec<u8> {
        let (black, range) = self.luma();
        let chroma = if self.full { 255.0 } else { 224.0 };
        let (red, blue) = self.shares();
        let mut frame = b"FRAME\n".to_vec();
        let yuv = picture.pixels().map(|pixel| {
            let [r, g, b] = pixel.0.map(|level| f32::from(level) / 255.0);
            let y = red * r + (1.0 - red - blue) * g + blue * b;
            let difference = |difference: f32| (128.0 + chroma * difference).round() as u8;
            [
                (black + range * y).round() as u8,
                difference((b - y) / (2.0 - 2.0 * blue)),
                difference((r - y) / (2.0 - 2.0 * red)),
            ]
        });
        let yuv: Vec<[u8; 3]> = yuv.collect();
        (0..3).for_each(|plane| frame.extend(yuv.iter().map(|values| values[plane])));
        frame
    }
}

/// A line without its end; none at the end of the stream.
fn line(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = Vec::new();
    input.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    ensure!(line.pop() == Some(b'\n'), "the stream was cut, or is no YUV4MPEG2 stream");
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Y', Cb and Cr of red as the two standards round them.
    #[test]
    fn the_matrix_is_that_which_readers_take_for_films_of_this_size() {
        let red = |size: &str| {
            let header = Header::read(&mut format!("YUV4MPEG2 {size} Cmono\n").as_bytes(), u64::MAX).unwrap();
            header.encoded(&RgbImage::from_pixel(1, 1, Rgb([255, 0, 0])))[b"FRAME\n".len()..].to_vec()
        };
        assert_eq!(red("W1024 H576"), [81, 90, 240]);
        assert_eq!(red("W1280 H720"), [63, 102, 240]);
        assert_eq!(red("W720 H720"), [63, 102, 240]);
    }
}
