//! What a study leaves on disk, and where.

pub mod folder;
pub mod found;
pub mod provenance;
pub mod record;
pub mod recorded;
pub mod scored;
