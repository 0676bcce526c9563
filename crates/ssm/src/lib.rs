//! The Mamba block: selective scan, four-direction scan, agent attention, Mamba stage.
