//! Prints `docs/conformance.md`.

mod golden;
mod page;
mod sharma;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", page::page()?);
    Ok(())
}
