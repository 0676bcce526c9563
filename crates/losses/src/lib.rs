//! Loss terms and the objective a manifest builds from them.
