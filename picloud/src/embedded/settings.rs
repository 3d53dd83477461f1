//! What the private cluster's `postgresql.conf` and `pg_hba.conf` say.
//!
//! Durable first, then quiet: an idle instance should not wake the machine. Written anew at every start, so that a
//! newer PiCloud's settings hold for old clusters; an operator's own go to `local.conf`, which is read last.

use std::path::Path;

use super::memory::shared_buffers_mib;

/// Our superuser in the cluster. Only whoever can enter the socket's directory can be it.
pub(super) const USER: &str = "picloud";

/// Nothing listens on a network, and the directory of the socket is closed to others.
pub(super) const HBA: &str = "# Written by picloud at each start.\nlocal all all trust\n";

/// The text of `postgresql.conf`.
pub(super) fn conf(socket_dir: &Path) -> String {
    let sockets = quoted_list_item(&socket_dir.to_string_lossy());
    let shared_buffers_mib = shared_buffers_mib();
    format!(
        "\
# Written by picloud at each start. Your own settings go to local.conf beside this file.

# Reached through a socket in a closed directory, and in no other way.
listen_addresses = ''
port = 5432
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
max_connections = 120

# What was answered stays, whatever happens.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = '2GB'
min_wal_size = '256MB'
checkpoint_timeout = '15min'
checkpoint_completion_target = 0.9

# Modest, for a small machine.
shared_buffers = '{shared_buffers_mib}MB'
work_mem = '8MB'
maintenance_work_mem = '64MB'
max_wal_senders = 2
max_parallel_workers_per_gather = 0
jit = off

# The log is cut into many partitions, and one statement may touch them all.
max_locks_per_transaction = 256

# Rows of the outbox live briefly; once a minute would let them pile up.
autovacuum_naptime = '10s'
autovacuum_vacuum_cost_delay = '1ms'

# Words for the log file, not for the journal of the disk.
logging_collector = off
log_destination = 'stderr'
log_min_messages = warning
log_checkpoints = off
log_autovacuum_min_duration = -1
log_line_prefix = '%m [%p] '
log_timezone = 'UTC'
timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'

include_if_exists = 'local.conf'
"
    )
}

/// One item of a comma-separated list: double quotes for the list, single quotes for the file.
fn quoted_list_item(text: &str) -> String {
    let item = format!("\"{}\"", text.replace('"', "\"\""));
    format!("'{}'", item.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_commas_and_quotes_stays_one_path() {
        assert_eq!(quoted_list_item("/my data, it's/run"), r#"'"/my data, it''s/run"'"#);
    }
}
