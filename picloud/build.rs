//! The migrations are part of the binary, and cargo does not see that they changed.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
