//! `log::`: lines that are kept with the run. More than allowed are counted, not kept; logging never fails a run.

use picloud_core::run::{LogLevel, LogLine};
use rhai::{Dynamic, EvalAltResult};
use serde_json::value::RawValue;

use crate::sandbox::{
    current::with,
    meter,
    registry::Registry,
    value::{Room, WriteError, show, write_json},
};

type Refused = Box<EvalAltResult>;

/// What a line costs besides its text.
const LINE_BYTES: usize = 32;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add("trace(message: ?)", "Logs a line that is usually not shown.", |message: Dynamic| {
            write(LogLevel::Trace, &message, None)
        })
        .add(
            "trace(message: ?, data: ?)",
            "Logs a line that is usually not shown, with data.",
            |m: Dynamic, d: Dynamic| write(LogLevel::Trace, &m, Some(&d)),
        )
        .add("info(message: ?)", "Logs what happened.", |message: Dynamic| write(LogLevel::Info, &message, None))
        .add("info(message: ?, data: ?)", "Logs what happened, with data.", |message: Dynamic, data: Dynamic| {
            write(LogLevel::Info, &message, Some(&data))
        })
        .add("warn(message: ?)", "Logs what was odd but went well.", |message: Dynamic| {
            write(LogLevel::Warn, &message, None)
        })
        .add("warn(message: ?, data: ?)", "Logs what was odd but went well, with data.", |m: Dynamic, d: Dynamic| {
            write(LogLevel::Warn, &m, Some(&d))
        })
        .add("error(message: ?)", "Logs what went wrong.", |message: Dynamic| write(LogLevel::Error, &message, None))
        .add("error(message: ?, data: ?)", "Logs what went wrong, with data.", |message: Dynamic, data: Dynamic| {
            write(LogLevel::Error, &message, Some(&data))
        });
}

/// Logs one line of the run on this thread.
pub(in crate::sandbox) fn write(level: LogLevel, message: &Dynamic, data: Option<&Dynamic>) -> Result<(), Refused> {
    let limits = meter::limits();
    let message = show::to_text(message);
    let data = data.filter(|data| !data.is_unit()).map(|data| {
        let room = Room { bytes: limits.max_log_bytes, limit: "max_log_bytes" };
        match write_json(data, &limits, room) {
            Ok(json) => String::from_utf8(json).expect("JSON is UTF-8"),
            // What cannot be written is described instead: a log call is no place to fail.
            Err(error @ (WriteError::NoForm { .. } | WriteError::Limit { .. } | WriteError::Over)) => {
                serde_json::Value::String(error.describe()).to_string()
            }
        }
    });
    with(|run| {
        let bytes = LINE_BYTES + message.len() + data.as_ref().map_or(0, String::len);
        if run.log_bytes + bytes > limits.max_log_bytes {
            run.logs_dropped += 1;
            return;
        }
        run.log_bytes += bytes;
        run.logs.push(LogLine {
            level,
            after_us: u64::try_from(run.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            message: message.to_string(),
            data: data.map(|json| RawValue::from_string(json).expect("it was just written as JSON")),
        });
    })
}
