//! The real binary, from outside: started as people start it, asked over HTTP and by its own command line, and killed
//! in ways that nobody should have to fear.
//!
//! [`home`] is a folder for a service's data, [`service`] a running service in it, [`app`] what is deployed to it,
//! [`history`] the log as operators see it, [`stream`] what is told of it, [`collector`] who takes traces, [`load`] many callers
//! who remember what was acknowledged.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

mod again;
mod app;
mod collector;
mod eventually;
mod history;
mod home;
mod load;
mod service;
mod shared_database;
#[path = "../../../workers/tests/smtp/mod.rs"]
mod smtp;
mod stream;

mod alerted;
mod backups;
mod bounds;
mod bulk;
mod calling_out;
mod cluster;
mod crashes;
mod demo;
mod deploying;
mod examples;
mod exported;
mod faults;
mod figures;
mod found;
mod mailed;
mod owed;
mod people;
mod plans;
mod put_right;
mod realtime;
mod replayed;
mod rights;
mod sealed;
mod secrecy;
mod starting;
mod stopping;
mod tls;
mod traced;
mod triggered;
mod triggers;
