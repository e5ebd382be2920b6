use everhook_simulation::run::{Worlds, run};
fn main() {
    let mut a = std::env::args().skip(1);
    let first: u64 = a.next().map_or(0, |s| s.parse().unwrap());
    let many: u64 = a.next().map_or(100, |s| s.parse().unwrap());
    if many == 1 {
        let o = everhook_simulation::run_world(first, None, true);
        println!("{o:?}");
        return;
    }
    let s = run(
        Worlds { first, many, without: None, broken_max: 20, limit: None, threads: 1 },
        &|n, b| eprintln!("{n} {b}"),
    );
    println!("{s:#?}");
}
