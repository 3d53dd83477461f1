//! `migrate!` looks at the files that were there when it last ran: a new one has to make it run again.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
