//! The `switcher` command.

fn main() -> std::process::ExitCode {
    switcher_user::cli::main()
}
