//! Learning rates against PyTorch's formulas.

use colormamba_layers::optim::{OptimError, Schedule, StepPosition};

fn factors(schedule: Schedule, steps_per_epoch: usize, total_steps: usize) -> Vec<f64> {
    let position = |step| StepPosition { step, epoch: step / steps_per_epoch, total_steps };
    (0..total_steps).map(|step| schedule.factor(position(step))).collect()
}

fn assert_near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-15, "{got} {want}");
    }
}

#[test]
fn without_a_warm_up_the_constant_rate_keeps_its_bits() {
    assert_eq!(factors(Schedule::default(), 2, 4), [1.0; 4]);
}

#[test]
fn a_warm_up_rises_by_equal_steps_to_the_whole_rate() {
    assert_eq!(factors(Schedule::Constant { warmup_steps: 4 }, 1, 6), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    let schedule = Schedule::Step { every: 1, factor: 0.5, warmup_steps: 4 };
    assert_eq!(factors(schedule, 2, 6), [0.25, 0.5, 0.375, 0.5, 0.25, 0.25]);
}

#[test]
fn the_step_schedule_has_the_bits_of_its_definition() {
    let (lr, every, factor) = (3e-4, 3, 0.7);
    let schedule = Schedule::Step { every, factor, warmup_steps: 0 };
    for epoch in 0..20 {
        let rate = lr * schedule.factor(StepPosition { step: 100 * epoch, epoch, total_steps: 2000 });
        assert_eq!(rate.to_bits(), (lr * factor.powi((epoch / every) as i32)).to_bits());
    }
}

// torch.optim.lr_scheduler.CosineAnnealingLR's closed form in Python, after a warm-up of `warm` steps:
//
//     def cosine(step, total, warm, low):
//         f = low + (1 - low) * (1 + math.cos(math.pi * max(step - warm, 0) / (total - warm))) / 2
//         return f * min((step + 1) / warm, 1) if warm else f
//     print([cosine(step, 10, 0, 0.1) for step in range(10)])
//     print([cosine(step, 12, 4, 0.0) for step in range(12)])
const TEN: [f64; 10] = [
    1.0,
    0.9779754323328191,
    0.9140576474687263,
    0.8145033635316129,
    0.6890576474687263,
    0.55,
    0.41094235253127376,
    0.2854966364683872,
    0.18594235253127372,
    0.12202456766718092,
];
const TWELVE: [f64; 12] = [
    0.25,
    0.5,
    0.75,
    1.0,
    1.0,
    0.9619397662556434,
    0.8535533905932737,
    0.6913417161825449,
    0.5,
    0.30865828381745514,
    0.14644660940672627,
    0.03806023374435663,
];

#[test]
fn the_cosine_is_pytorchs() {
    assert_near(&factors(Schedule::Cosine { min_factor: 0.1, warmup_steps: 0 }, 5, 10), &TEN);
    assert_near(&factors(Schedule::Cosine { min_factor: 0.0, warmup_steps: 4 }, 5, 12), &TWELVE);
}

#[test]
fn the_cosine_ends_at_its_least_factor_and_stays() {
    let schedule = Schedule::Cosine { min_factor: 0.25, warmup_steps: 2 };
    let at = |step, total_steps| schedule.factor(StepPosition { step, epoch: 0, total_steps });
    assert_eq!([at(10, 10), at(20, 10)], [0.25; 2]);
    // A run that ends within the warm-up.
    assert_eq!([at(0, 1), at(0, 2), at(1, 2)], [0.5, 0.5, 1.0]);
}

#[test]
fn schedules_refuse_numbers_out_of_their_ranges() {
    let key = |schedule: Schedule| match schedule.check() {
        Err(OptimError::Range { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert!(Schedule::Step { every: 1, factor: 2.0, warmup_steps: 0 }.check().is_ok());
    assert_eq!(key(Schedule::Step { every: 0, factor: 0.5, warmup_steps: 0 }), "every");
    assert_eq!(key(Schedule::Step { every: 1, factor: 0.0, warmup_steps: 0 }), "factor");
    assert_eq!(key(Schedule::Cosine { min_factor: 1.5, warmup_steps: 0 }), "min_factor");
    assert_eq!(key(Schedule::Cosine { min_factor: f64::NAN, warmup_steps: 0 }), "min_factor");
}

#[test]
fn schedules_are_written_and_read_by_their_kind() {
    let read = |text: &str| serde_json::from_str::<Schedule>(text);
    let step = Schedule::Step { every: 20, factor: 0.5, warmup_steps: 0 };
    let text = r#"{"kind":"step","every":20,"factor":0.5}"#;
    assert_eq!(serde_json::to_string(&step).unwrap(), text);
    assert_eq!(read(text).unwrap(), step);
    let cosine = Schedule::Cosine { min_factor: 0.0, warmup_steps: 500 };
    assert_eq!(read(r#"{"kind":"cosine","warmup_steps":500}"#).unwrap(), cosine);
    assert!(read(r#"{"kind":"cosine","warm_up":500}"#).is_err());
    assert!(read(r#"{"kind":"linear"}"#).is_err());
}
