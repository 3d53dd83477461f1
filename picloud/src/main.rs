//! The binary: everything is in the library, where tests reach it.

use picloud_workers::sandbox::memory::Counting;

/// Counts what each thread holds, so that a script's memory has a limit.
#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting::new(mimalloc::MiMalloc);

fn main() -> std::process::ExitCode {
    picloud::cli::main()
}
