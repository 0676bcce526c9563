//! Prints `docs/conformance.md`.

mod computed;
mod constants;
mod golden;
mod numpy_random;
mod page;
mod published;
mod section;
mod sharma;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", page::page(&page::chapters()?)?);
    Ok(())
}
