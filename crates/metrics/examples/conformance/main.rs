mod golden;
fn main() {
    for (r, c) in golden::REFERENCES.iter().zip(golden::comparisons().unwrap()) {
        for c in c { println!("{} {} {} {} {:.1e}", r.measure.spec(), c.pair, c.ours, c.theirs, c.ours - c.theirs); }
    }
}
