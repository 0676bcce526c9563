//! How a raw manifest trains, checked.

use super::check::{Check, Result, in_f32};
use super::raw;
use super::{Augmentation, Diagnostics, Model, Optimizer, Precision, Train};
use candle_core::DType;
use colormamba_layers::optim::{EmaConfig, OptimError, ParameterGroups, Schedule};
use toml::Spanned;

/// Widest discriminators.
const WIDEST: usize = 1024;
/// Most updates a step, and most batches an update.
const MOST_UPDATES: usize = 1000;
/// Largest `tone`: powers from 1/20 to 20.
const STRONGEST_TONE: f64 = 3.0;
/// Most pairs a step.
const LARGEST_BATCH: usize = 4096;

impl Check<'_> {
    fn precision(&self, raw: &raw::Train, model: &Model) -> Result<Precision> {
        let Some(word) = &raw.precision else { return Ok(Precision::default()) };
        let precision = self.word(word, "precision", Precision::ALL)?;
        if precision.activations() == DType::BF16 && !model.architecture.options().takes_bf16() {
            return self.fail(word, in_f32(model));
        }
        Ok(precision)
    }

    pub(super) fn train(&self, raw: &raw::Train, model: &Model) -> Result<Train> {
        let optional = |value: &Option<Spanned<i64>>, what, default| {
            value.as_ref().map_or(Ok(default), |value| self.up_to(MOST_UPDATES, value, what))
        };
        Ok(Train {
            epochs: self.positive(&raw.epochs, "epochs")?,
            batch: self.up_to(LARGEST_BATCH, &raw.batch, "batch")?,
            steps_per_epoch: match &raw.steps_per_epoch {
                Some(steps) => Some(self.positive(steps, "steps_per_epoch")?),
                None => None,
            },
            critic_steps: optional(&raw.critic_steps, "critic_steps", 1)?,
            generator_steps: optional(&raw.generator_steps, "generator_steps", 2)?,
            critic_width: match &raw.critic_width {
                Some(width) => self.up_to(WIDEST, width, "critic_width")?,
                None => colormamba::PUBLISHED_NDF,
            },
            precision: self.precision(raw, model)?,
            diagnostics: self.diagnostics(raw)?,
            optimizer: self.optimizer(&raw.optimizer)?,
            schedule: raw.schedule.as_ref().map(|schedule| self.schedule(schedule)).transpose()?,
            groups: self.groups(raw)?,
            clip_norm: raw.clip_norm.as_ref().map(|norm| self.above_zero(norm, "clip_norm")).transpose()?,
            accumulate: optional(&raw.accumulate, "accumulate", 1)?,
            ema_decay: raw.ema_decay.as_ref().map(|decay| self.ema_decay(decay)).transpose()?,
        })
    }

    fn groups(&self, raw: &raw::Train) -> Result<ParameterGroups> {
        let lr_factors = raw.lr_factors.as_ref().map(|factors| factors.get_ref().clone()).unwrap_or_default();
        let freeze = raw.freeze.as_ref().map(|prefixes| prefixes.get_ref().clone()).unwrap_or_default();
        let groups = ParameterGroups { lr_factors, freeze };
        match (groups.check(), &raw.lr_factors) {
            (Err(e), Some(factors)) => self.fail(factors, e.to_string()),
            _ => Ok(groups),
        }
    }

    fn ema_decay(&self, decay: &Spanned<f64>) -> Result<f64> {
        let config = EmaConfig { decay: *decay.get_ref() };
        config.check().map(|()| config.decay).or_else(|e| self.fail(decay, format!("ema_{e}")))
    }

    fn diagnostics(&self, raw: &raw::Train) -> Result<Option<Diagnostics>> {
        match (&raw.diagnostics, &raw.diagnostics_every) {
            (None, None) => Ok(None),
            (None, Some(every)) => self.fail(every, "`diagnostics_every` is for diagnostics = \"gradients\""),
            (Some(kind), every) => {
                self.choice(kind, "diagnostics", &[("gradients", ())])?;
                let every = every.as_ref().map_or(Ok(10), |every| self.positive(every, "diagnostics_every"))?;
                Ok(Some(Diagnostics::Gradients { every }))
            }
        }
    }

    fn optimizer(&self, raw: &raw::Table) -> Result<Optimizer> {
        let optimizer: Optimizer = self.table(raw)?;
        let lr = optimizer.lr();
        if !(lr.is_finite() && lr > 0.0) {
            return self.fail_at_key(raw, "lr", format!("lr is {lr}: it must be above 0"));
        }
        optimizer.config().check().or_else(|e| self.out_of_range(raw, &e))?;
        Ok(optimizer)
    }

    fn schedule(&self, raw: &raw::Table) -> Result<Schedule> {
        let schedule: Schedule = self.table(raw)?;
        schedule.check().or_else(|e| self.out_of_range(raw, &e))?;
        Ok(schedule)
    }

    /// Fails at the key that the error names.
    fn out_of_range<T>(&self, raw: &raw::Table, error: &OptimError) -> Result<T> {
        let key = match error {
            OptimError::Range { key, .. } => key.as_str(),
            _ => "",
        };
        // A manifest has both betas under one key.
        self.fail_at_key(raw, if key.starts_with("beta") { "betas" } else { key }, error.to_string())
    }

    pub(super) fn augmentation(&self, raw: &raw::Augmentation, model: &Model) -> Result<Augmentation> {
        let crop = raw.crop.as_ref().map(|crop| self.side(crop, "crop")).transpose()?;
        let probability = |value: &Option<Spanned<f64>>, what| match value {
            Some(p) if !(0.0..=1.0).contains(p.get_ref()) => self.fail(p, format!("{what} is a probability, 0 to 1")),
            p => Ok(p.as_ref().map_or(0.0, |p| *p.get_ref())),
        };
        let mirror = probability(&raw.mirror, "mirror")?;
        let crop_share = raw.crop_share.as_ref().map(|share| self.crop_share(share, crop)).transpose()?;
        let tone = match &raw.tone {
            Some(tone) if !(0.0..=STRONGEST_TONE).contains(tone.get_ref()) => {
                self.fail(tone, format!("tone is {}: it must be between 0 and {STRONGEST_TONE}", tone.get_ref()))?
            }
            tone => tone.as_ref().map_or(0.0, |tone| *tone.get_ref()),
        };
        let size = raw.size.as_ref().map(|raw| self.side_for(raw, model)).transpose()?;
        Ok(Augmentation { mirror, contrast: probability(&raw.contrast, "contrast")?, crop, crop_share, tone, size })
    }

    fn crop_share(&self, share: &Spanned<Vec<f64>>, crop: Option<u32>) -> Result<[f64; 2]> {
        if crop.is_some() {
            return self.fail(share, "`crop` and `crop_share` say two things of one square: leave one out");
        }
        match share.get_ref()[..] {
            [low, high] if 0.0 < low && low <= high && high <= 1.0 => Ok([low, high]),
            _ => self.fail(share, "`crop_share` is two shares, [low, high], above 0 and up to 1"),
        }
    }
}
