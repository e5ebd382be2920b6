//! d
fn main() -> std::process::ExitCode {
    everhook_simulation::command::main()
}
