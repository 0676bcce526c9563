//! Values that scikit-image's own tests assert.

use crate::numpy_random::RandomState;
use crate::section::{Chapter, Outcome, Row, Section};
use colormamba_data::read_gray;
use colormamba_metrics::{Image, Measure};
use colormamba_testkit::fixtures_dir;

const INTRODUCTION: &str = "\
Constants in the tests of scikit-image 0.25.2 whose inputs can be rebuilt: its photograph `camera` (CC0, by Lav Varshney;
`tests/fixtures/camera.png`) against the same with noise of deviation 20 from NumPy's generator with seed 5, four numbers, and
eight colour bars in CIELAB. Their other tests assert bounds, or compare the library with itself.";

pub fn chapter() -> Outcome<Chapter> {
    let (camera, noisy) = camera()?;
    let section = |measure: Measure, against: &str, tolerance: f64, row: Row| Section {
        subject: format!("`{}`", measure.spec()),
        against: against.into(),
        tolerance,
        rows: vec![row],
    };
    let photograph = |measure: Measure, theirs: f64| -> Outcome<Row> {
        Ok(Row { name: "camera with noise".into(), ours: measure.compute(&camera, &noisy)?, theirs })
    };
    let legacy = photograph(Measure::SSIM_UNIFORM7, 0.3674518327910367)?;
    let gaussian = photograph(Measure::SSIM_GAUSSIAN, 0.357959091663361)?;
    let psnr = photograph(Measure::PSNR, 22.409353363576034)?;
    let sections = vec![
        section(Measure::SSIM_UNIFORM7, "`test_mssim_vs_legacy`, which asks for 1e-7", 1e-9, legacy),
        section(
            Measure::SSIM_GAUSSIAN,
            "`test_gaussian_structural_similarity_vs_IPOL`, the value of IPOL's program, which asks for 1e-3",
            1e-5,
            gaussian,
        ),
        section(Measure::PSNR, "`test_PSNR_vs_IPOL`, the value of IPOL's program, which asks for 1e-4", 1e-6, psnr),
        section(Measure::RMSE, "`test_NRMSE`, over the range", 1e-15, four_numbers()?),
        section(
            Measure::HUE,
            "`test_rgb2lab_brucelindbloom`: the hues of its table of CIELAB, which asks for two decimals",
            1e-2,
            colour_bars()?,
        ),
    ];
    Ok(Chapter { heading: "Published test values of scikit-image", introduction: INTRODUCTION, sections })
}

/// `camera` and `camera` with noise, each grey in three equal channels.
fn camera() -> Outcome<(Image, Image)> {
    let photograph = read_gray(fixtures_dir().join("camera.png"))?;
    let mut random = RandomState::new(5);
    let noisy: Vec<u8> =
        photograph.iter().map(|v| (f64::from(*v) + 20.0 * random.normal()).clamp(0.0, 255.0) as u8).collect();
    let image = |bytes: &[u8]| {
        let plane: Vec<f64> = bytes.iter().map(|v| f64::from(*v) / 255.0).collect();
        Image::new(&plane.repeat(3), photograph.height() as usize, photograph.width() as usize)
    };
    Ok((image(photograph.as_raw())?, image(&noisy)?))
}

/// 1, 1, 1, 1 against 0, 2, 2, 2, halved: the range is 1 then, and the error over the range stays.
fn four_numbers() -> Outcome<Row> {
    let image = |row: [f64; 4]| Image::new(&row.map(|v| v / 2.0).repeat(3), 1, 4);
    let ours = Measure::RMSE.compute(&image([1.0; 4])?, &image([0.0, 2.0, 2.0, 2.0])?)?;
    Ok(Row { name: "1, 1, 1, 1 and 0, 2, 2, 2".into(), ours, theirs: 0.5 })
}

/// Hue error of each saturated bar (sRGB, then a* and b* of the table) against the next.
fn colour_bars() -> Outcome<Row> {
    const BARS: [([f64; 3], [f64; 2]); 6] = [
        ([1.0, 1.0, 0.0], [-21.5537, 94.4780]),
        ([0.0, 1.0, 1.0], [-48.0875, -14.1312]),
        ([0.0, 1.0, 0.0], [-86.1827, 83.1793]),
        ([1.0, 0.0, 1.0], [98.2343, -60.8249]),
        ([1.0, 0.0, 0.0], [80.0925, 67.2032]),
        ([0.0, 0.0, 1.0], [79.1875, -107.8602]),
    ];
    let image = |first: usize| {
        let planar: Vec<f64> = (0..18).map(|i| BARS[(first + i % 6) % 6].0[i / 6]).collect();
        Image::new(&planar, 1, 6)
    };
    let (mut angles, mut weights) = (0.0, 0.0);
    for (i, (_, [a, b])) in BARS.iter().enumerate() {
        let [next_a, next_b] = BARS[(i + 1) % 6].1;
        let apart = (next_b.atan2(next_a) - b.atan2(*a)).to_degrees().abs();
        angles += a.hypot(*b) * apart.min(360.0 - apart);
        weights += a.hypot(*b);
    }
    let ours = Measure::HUE.compute(&image(1)?, &image(0)?)?;
    Ok(Row { name: "saturated colour bars against the next".into(), ours, theirs: angles / weights })
}
