//! The service and its command line: what joins the other crates to one program.

pub mod embedded;
