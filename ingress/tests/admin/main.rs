//! The admin API through its router, on a real database with a real committer and tail. Scripts are a test double.

mod access;
mod accounts;
mod apps;
mod backup;
mod bodies;
mod certificates;
mod dead_letters;
mod deploy;
mod events;
mod first_start;
mod fixture;
mod http_exceptions;
mod invocations;
mod jobs;
mod kv;
mod logs;
mod matrix;
mod openapi;
mod outbox_pause;
mod queues;
mod realtime;
mod routes;
mod scripts;
mod topics;
mod triggers;
mod views;
