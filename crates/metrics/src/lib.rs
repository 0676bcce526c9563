//! Image quality measures, each with a spec string that names its protocol.
